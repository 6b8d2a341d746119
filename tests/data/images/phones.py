"""Makes phones/: small pictures as phones and cameras write them, and what their reference decoders make of each.

Run from this folder with Pillow 12.3, pillow-heif 1.8, pillow-jxl-plugin 1.3, numpy and imagecodecs, and with avifenc
(libavif 0.11), cjxl (libjxl 0.7) and ffmpeg with libx265: `python phones.py`. Everything is synthetic, so nothing here
carries a licence of its own.

  phones/*               the pictures; containers that no encoder writes are put together box by box (`heif`), RAW files
                         tag by tag (`tiff`)
  phones.json            as kinds.json
  phones/expected/*.png  the pixels where `levels` is not 0
"""

import hashlib
import io
import json
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import pillow_jxl
from PIL import Image, ImageOps

pillow_heif.register_heif_opener()
HERE = Path(__file__).parent / "phones"
if HERE.exists():
    shutil.rmtree(HERE)
(HERE / "expected").mkdir(parents=True)
SCRATCH = Path(tempfile.mkdtemp())
ROWS = {}


def pillow(data):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def write(name, data, levels=0, error=None, by="Pillow", pixels=None):
    """`pixels` is what is expected where Pillow's plugin reads the file in no or another way; `by` says whose they are."""
    (HERE / name).write_bytes(data)
    if error:
        ROWS[name] = {"error": error, "by": by, "pillow": "-"}
        return
    pixels = pillow(data) if pixels is None else np.ascontiguousarray(pixels)
    height, width, _ = pixels.shape
    ROWS[name] = {"size": [width, height], "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(), "by": by}
    if levels:
        ROWS[name]["levels"] = levels
        Image.fromarray(pixels).save(HERE / "expected" / f"{name}.png", optimize=True)
    ROWS[name]["pillow"] = "reads"


def scene(width, height):
    """Colours that change in both directions, and edges."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    red = 255 * x / (width - 1)
    green = 255 * y / (height - 1)
    blue = 128 + 120 * np.sign(np.sin(x / 7) * np.cos(y / 5))
    return Image.fromarray(np.rint(np.stack([red, green, blue], -1)).astype(np.uint8))


W, H = 72, 64
RGB = scene(W, H)
GREY = RGB.convert("L")
RGBA = RGB.copy()
RGBA.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, W).astype(np.uint8), (H, 1))))
DEEP = np.asarray(RGB).astype(np.uint16) * 257 - np.asarray(RGB).astype(np.uint16) % 7 * 16
DEEP_PNG = imagecodecs.png_encode(DEEP)


def saved(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def tool(*command, image=RGB, suffix=".avif", data=None):
    """What a program makes of a PNG; IN and OUT stand for the two files."""
    source, target = SCRATCH / "in.png", SCRATCH / f"out{suffix}"
    source.write_bytes(data or saved(image, "PNG"))
    paths = {"IN": str(source), "OUT": str(target)}
    subprocess.run([paths.get(word, word) for word in command], check=True, capture_output=True)
    return target.read_bytes()


# --- HEIF, box by box ------------------------------------------------------------------------------------------------


def box(kind, *content, version=None):
    data = b"".join(content)
    if version is not None:
        data = struct.pack(">I", version << 24) + data
    return struct.pack(">I4s", 8 + len(data), kind) + data


def boxes(data):
    while data:
        length, kind = struct.unpack_from(">I4s", data)
        yield kind, data[8:length]
        data = data[length:]


def find(data, *path):
    for kind in path:
        data = next(content for found, content in boxes(data) if found == kind)
    return data


def coded(file):
    """Data, configuration and colours of the only item of a file of pillow-heif's."""
    meta = find(file, b"meta")[4:]
    location = find(meta, b"iloc")
    assert location[0] in (0, 1) and location[4] == 0x44, location[:8]
    at = 14 if location[0] == 1 else 12
    base = int.from_bytes(location[at : at + (location[5] >> 4)], "big")
    at += location[5] >> 4
    offset, length = struct.unpack_from(">II", location, at + 2)
    offset += base
    properties = list(boxes(find(meta, b"iprp", b"ipco")))
    keep = [box(kind, data) for kind, data in properties if kind == b"hvcC" or kind == b"colr" and data[:4] == b"nclx"]
    return file[offset : offset + length], keep


def size_box(width, height):
    return box(b"ispe", struct.pack(">II", width, height), version=0)


def heif(items, primary, references=(), brands=(b"heic", b"mif1", b"heic")):
    """`items` are (type, data, properties); they are numbered from 1. `references` are (type, from, to)."""
    properties = []
    for _, _, own in items:
        properties += [one for one in own if one not in properties]
    essential = (b"hvcC", b"irot", b"imir", b"clap")

    def meta(start):
        infos, places, links = [], [], []
        for number, (kind, data, own) in enumerate(items, 1):
            infos.append(box(b"infe", struct.pack(">HH4sB", number, 0, kind, 0), version=2))
            places.append(struct.pack(">HHHII", number, 0, 1, start, len(data)))
            start += len(data)
            marks = [properties.index(one) + 1 | (128 if one[4:8] in essential else 0) for one in own]
            links.append(struct.pack(">HB", number, len(marks)) + bytes(marks))
        count = struct.pack(">H", len(items))
        parts = [
            box(b"hdlr", b"\0\0\0\0pict" + b"\0" * 13, version=0),
            box(b"pitm", struct.pack(">H", primary), version=0),
            box(b"iinf", count, *infos, version=0),
            box(b"iloc", b"\x44\0", count, *places, version=0),
            box(b"iprp", box(b"ipco", *properties), box(b"ipma", b"\0\0", count, *links, version=0)),
        ]
        if references:
            lists = [
                box(kind, struct.pack(f">{2 + len(to)}H", source, len(to), *to)) for kind, source, to in references
            ]
            parts.append(box(b"iref", *lists, version=0))
        return box(b"meta", *parts, version=0)

    start = box(b"ftyp", brands[0], b"\0\0\0\0", *brands[1:])
    data = box(b"mdat", *[data for _, data, _ in items])
    return start + meta(len(start) + len(meta(0)) + 8) + data


def heic_of(image, **options):
    return saved(image, "HEIF", quality=80, **options)


def grid(columns, rows, width, height, chroma=420):
    """The tiles of a grid, and its own data."""
    whole = Image.new("RGB", (columns * 64, rows * 64))
    whole.paste(scene(width, height))
    items = []
    for row in range(rows):
        for column in range(columns):
            tile = whole.crop((column * 64, row * 64, column * 64 + 64, row * 64 + 64))
            data, properties = coded(heic_of(tile, chroma=chroma))
            items.append((b"hvc1", data, properties + [size_box(64, 64)]))
    return items, bytes([0, 0, rows - 1, columns - 1]) + struct.pack(">HH", width, height)


def of_grid(columns, rows, width, height, extra=(), chroma=420):
    items, data = grid(columns, rows, width, height, chroma)
    number = len(items) + 1
    items.append((b"grid", data, [size_box(width, height), *extra]))
    return heif(items, number, [(b"dimg", number, list(range(1, number)))])


IROT = lambda quarters: box(b"irot", bytes([quarters]))
IMIR = lambda axis: box(b"imir", bytes([axis]))
CLAP = lambda width, height, x, y: box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, *x, *y))

for chroma in (420, 422, 444):
    write(f"heic-{chroma}.heic", heic_of(RGB, chroma=chroma), levels=int(chroma == 420))
write("heic-limited.heic", heic_of(RGB, chroma=420, full_range_flag=0), levels=1)
write("heic-lossless.heic", saved(RGB, "HEIF", quality=-1, chroma=444, matrix_coefficients=0))
write("heic-709.heic", heic_of(RGB, chroma=444, matrix_coefficients=1), levels=1)
write("heic-alpha.heic", heic_of(RGBA), levels=1)
write("heic-grey.heic", heic_of(GREY))
for depth, chroma in ((10, 420), (10, 422), (12, 444)):
    pillow_heif.options.SAVE_HDR_TO_12_BIT = depth == 12
    deep = pillow_heif.from_bytes(mode="RGB;16", size=(W, H), data=DEEP.tobytes())
    buffer = io.BytesIO()
    deep.save(buffer, quality=80, chroma=chroma)
    write(f"heic-{depth}-{chroma}.heic", buffer.getvalue(), levels=1)
pillow_heif.options.SAVE_HDR_TO_12_BIT = False
for orientation in (3, 6, 7):
    exif = Image.Exif()
    exif[274] = orientation
    write(f"heic-orientation-{orientation}.heic", heic_of(RGB, exif=exif.tobytes(), chroma=444))

write("heic-grid.heic", of_grid(3, 2, 150, 100), levels=1)
write("heic-grid-odd.heic", of_grid(3, 2, 151, 99, chroma=444))
write("heic-grid-rotated.heic", of_grid(3, 2, 150, 100, [IROT(1)]), levels=1)
write("heic-grid-mirrored.heic", of_grid(3, 2, 150, 100, [IROT(3), IMIR(1)]), levels=1)
write("heic-grid-cropped.heic", of_grid(3, 2, 150, 100, [CLAP(100, 50, (3, 1), (-5, 1))], chroma=444))
# What parts pixels that share chroma.
write("heic-grid-cropped-420.heic", of_grid(3, 2, 150, 100, [CLAP(101, 50, (1, 2), (-5, 1)), IROT(1)]), levels=1)
write("heic-grid-odd-rotated.heic", of_grid(3, 2, 151, 99, [IROT(1)]), levels=1)
write("heic-grid-422-rotated.heic", of_grid(3, 2, 150, 100, [IROT(1)], chroma=422), levels=1)

square = scene(64, 64)
data, properties = coded(heic_of(square, chroma=444))
one = [(b"hvc1", data, properties + [size_box(64, 64)])]
upright = pillow(heif(one, 1))
for brands in ((b"heix", b"mif1", b"heix"), (b"mif1", b"mif1", b"heic", b"miaf"), (b"heim", b"mif1")):
    write(f"heic-brand-{brands[0].decode()}.heic", heif(one, 1, brands=brands))
# Brands that libheif leaves to others, around the same picture.
for brands in ((b"hevc", b"msf1", b"mif1", b"heic"), (b"heis", b"mif1"), (b"hevx", b"msf1"), (b"mif2", b"mif2", b"heic"), (b"miaf", b"miaf", b"mif1")):
    data = heif(one, 1, brands=brands)
    write(f"heic-brand-{brands[0].decode()}.heic", data, by="the file of brand heic", pixels=upright)
write("heic-trailer.heic", heif(one, 1) + b"SEFH\x6b\0\0\0MCC_Data310SEFT", by="the file without a trailer", pixels=upright)
# EXIF says something else than the container, which counts.
exif = Image.Exif()
exif[274] = 6
data = heif([*one, (b"Exif", b"\0\0\0\6" + exif.tobytes(), [])], 1, [(b"cdsc", 2, [1])])
write("heic-exif-ignored.heic", data, by="libheif", pixels=upright)
small, properties = coded(heic_of(scene(96, 64).rotate(180), chroma=444))
thumbnail = (b"hvc1", small, properties + [size_box(96, 64)])
write("heic-thumbnail.heic", heif([thumbnail, *one], 2, [(b"thmb", 1, [2])]))
identity = (b"iden", b"", [size_box(64, 64), IROT(1)])
write("heic-identity.heic", heif([*one, identity], 2, [(b"dimg", 2, [1])]))
for kind, found in ((b"avc1", "H.264 in HEIF"), (b"j2k1", "JPEG 2000 in HEIF"), (b"vvc1", "H.266 (VVC) in HEIF"), (b"unci", "uncompressed samples in HEIF"), (b"jpeg", "JPEG in HEIF"), (b"iovl", "a picture laid over others")):
    write(f"heic-of-{kind.decode()}.heic", heif([(kind, *one[0][1:])], 1), error=f"unsupported HEIC: {found}", by="ours")

# A film without a still picture: its first frame, by way of a still one.
source = [SCRATCH / f"{number}.png" for number in (1, 2)]
scene(64, 64).save(source[0])
scene(64, 64).transpose(Image.Transpose.ROTATE_90).save(source[1])
film = SCRATCH / "film.mp4"
command = ["ffmpeg", "-y", "-i", str(SCRATCH / "%d.png"), "-c:v", "libx265", "-x265-params", "info=0", "-tag:v", "hvc1"]
subprocess.run([*command, "-pix_fmt", "yuv444p", str(film)], check=True, capture_output=True)
film = bytearray(film.read_bytes())
table = find(bytes(film), b"moov", b"trak", b"mdia", b"minf", b"stbl")
offset, length = struct.unpack(">I", find(table, b"stco")[8:12])[0], struct.unpack(">I", find(table, b"stsz")[12:16])[0]
configuration = find(find(table, b"stsd")[8 + 8 + 78 :], b"hvcC")
still = heif([(b"hvc1", bytes(film[offset : offset + length]), [box(b"hvcC", configuration), size_box(64, 64)])], 1)
film[8:12] = b"hevc"
write("heic-sequence.heics", bytes(film), levels=1, by="libheif, of the same frame as a still picture", pixels=pillow(still))

# --- AVIF ------------------------------------------------------------------------------------------------------------

AVIFENC = ("avifenc", "-s", "8", "--min", "10", "--max", "20")


def avif(*options, **inputs):
    return tool(*AVIFENC, *options, "IN", "OUT", **inputs)


for chroma in ("420", "422", "444"):
    write(f"avif-{chroma}.avif", avif("-y", chroma), levels=2)
write("avif-limited.avif", avif("-y", "420", "-r", "limited"), levels=2)
for depth, chroma in (("10", "420"), ("10", "444"), ("12", "422")):
    write(f"avif-{depth}-{chroma}.avif", avif("-d", depth, "-y", chroma, data=DEEP_PNG), levels=2)
write("avif-10-limited.avif", avif("-d", "10", "-r", "limited", data=DEEP_PNG), levels=2)
for matrix in ("0", "1", "4", "7", "8", "9", "12"):
    write(f"avif-matrix-{matrix}.avif", avif("-y", "444", "--cicp", f"1/13/{matrix}"), levels=1)
write("avif-lossless.avif", tool("avifenc", "-l", "IN", "OUT"))
write("avif-grey.avif", avif("-y", "400", image=GREY))
write("avif-grey-limited.avif", avif("-y", "400", "-r", "limited", image=GREY), levels=1)
write("avif-alpha.avif", avif(image=RGBA), levels=2)
write("avif-grain.avif", avif("-a", "film-grain-test=3"), levels=2)
write("avif-grid.avif", avif("--grid", "3x2", image=scene(192, 128)), levels=2)
for turn in ("1", "2", "3"):
    write(f"avif-irot-{turn}.avif", avif("-y", "444", "--irot", turn), levels=1)
for mirror in ("0", "1"):
    write(f"avif-imir-{mirror}.avif", avif("-y", "444", "--irot", "1", "--imir", mirror), levels=1)
# Pillow doesn't crop.
data = avif("-y", "444", "--crop", "6,8,40,30")
write("avif-cropped.avif", data, levels=1, by="Pillow, then cropped", pixels=pillow(data)[8:38, 6:46])
film = tool(*AVIFENC, str(source[0]), str(source[1]), "OUT")
write("avif-sequence.avifs", film, levels=2)
write("avif-sequence-alone.avifs", film.replace(b"meta", b"free", 1), levels=2, by="Pillow, of the file with a still picture", pixels=pillow(film))

# --- JPEG XL ---------------------------------------------------------------------------------------------------------


def jxl(*options, **inputs):
    return tool("cjxl", "IN", "OUT", *options, suffix=".jxl", **inputs)


write("jxl-lossless.jxl", jxl("-d", "0"))
write("jxl-lossy.jxl", jxl("-d", "1"), levels=1)
write("jxl-modular.jxl", jxl("-d", "1", "-m", "1"), levels=1)
write("jxl-progressive.jxl", jxl("-d", "1", "-p"), levels=1)
write("jxl-container.jxl", jxl("-d", "0", "--container=1"))
write("jxl-grey.jxl", jxl("-d", "0", image=GREY))
write("jxl-alpha.jxl", jxl("-d", "0", image=RGBA))
write("jxl-16.jxl", jxl("-d", "0", data=DEEP_PNG), levels=1)
write("jxl-12-in-16.jxl", imagecodecs.jpegxl_encode((np.asarray(RGB).astype(int) * 4095 // 255).astype(np.uint16), lossless=True),
      levels=1, by="12 bits in 16 are stretched; nearly black in Pillow", pixels=RGB)
exif[274] = 6
jpeg = saved(RGB, "JPEG", quality=90, subsampling=0, exif=exif.tobytes())
write("jxl-of-jpeg.jxl", jxl(data=jpeg), levels=3)
write("jxl-of-jpeg-420.jxl", jxl(data=saved(RGB, "JPEG", quality=90)), levels=3)
gif = saved(RGB, "GIF", save_all=True, append_images=[RGB.rotate(180)])
write("jxl-animated.jxl", jxl("-d", "0", data=gif))

# --- RAW -------------------------------------------------------------------------------------------------------------

LARGE, MIDDLE, THUMBNAIL = (saved(scene(*size), "JPEG", quality=85) for size in ((168, 120), (164, 100), (160, 120)))
# Samples of a sensor are often lossless JPEG too.
SENSOR = imagecodecs.ljpeg_encode(np.full((180, 240), 100, np.uint8))


def tiff(directories, order="<", magic=42, start=8, header=b""):
    """A list of dictionaries of tags. A value is a number, bytes, a Blob (its offset) or a Below (more directories)."""
    mark = b"II" if order == "<" else b"MM"
    out = bytearray(mark + struct.pack(order + "HI", magic, start) + header)
    assert len(out) == start

    def put(tags, is_last):
        at = len(out)
        out.extend(bytes(2 + 12 * len(tags) + 4))
        struct.pack_into(order + "H", out, at, len(tags))
        for index, (tag, value) in enumerate(sorted(tags.items())):
            kind, count, inline = 4, 1, None
            if isinstance(value, Blob):
                inline = len(out)
                out.extend(value.data)
            elif isinstance(value, Below):
                places = [put(below, True) for below in value.directories]
                count = len(places)
                inline = places[0]
                if count > 1:
                    inline = len(out)
                    out.extend(struct.pack(order + f"{count}I", *places))
            elif isinstance(value, bytes):
                kind, count, inline = 7, len(value), len(out)
                out.extend(value)
                if len(value) <= 4:
                    kind, inline = 7, struct.unpack(order + "I", value.ljust(4, b"\0"))[0]
            else:
                inline = value
            struct.pack_into(order + "HHII", out, at + 2 + 12 * index, tag, kind, count, inline)
        if not is_last:
            struct.pack_into(order + "I", out, at + 2 + 12 * len(tags), len(out))
        return at

    for index, tags in enumerate(directories):
        put(tags, index == len(directories) - 1)
    return bytes(out)


class Blob:
    def __init__(self, data):
        self.data = data


class Below:
    def __init__(self, *directories):
        self.directories = directories


def strip(data, **more):
    return {259: 6, 273: Blob(data), 279: len(data)}


def interchange(data):
    return {259: 6, 513: Blob(data), 514: len(data)}


MAKE = {271: b"Maker\0", 272: b"Model\0"}
turned = lambda jpeg, orientation: np.rot90(pillow(jpeg), {1: 0, 3: 2, 6: 3, 8: 1}[orientation])
raws = {
    "raw.cr2": (tiff([MAKE | strip(LARGE) | {274: 6}, interchange(THUMBNAIL), strip(SENSOR)], header=b"CR\2\0\0\0\0\0", start=16), LARGE, 6),
    "raw.nef": (tiff([MAKE | {254: 1, 259: 1, 274: 8, 273: Blob(bytes(300)), 279: 300, 330: Below(interchange(LARGE) | {254: 1}, strip(SENSOR) | {254: 0})}], order=">"), LARGE, 8),
    "raw.arw": (tiff([MAKE | interchange(LARGE) | {254: 1, 274: 1, 330: Below(strip(bytes(500)))}, interchange(THUMBNAIL)]), LARGE, 1),
    "raw.dng": (tiff([MAKE | {254: 1, 259: 7, 262: 6, 273: Blob(THUMBNAIL), 279: len(THUMBNAIL), 274: 3, 50706: b"\1\4\0\0", 330: Below(strip(SENSOR) | {254: 0, 262: 32803}, strip(MIDDLE) | {254: 1}, strip(LARGE) | {254: 1})}]), LARGE, 3),
    "raw.rw2": (tiff([MAKE | {46: LARGE, 274: 1, 273: 0xFFFFFFFF, 279: 500}], magic=0x55, start=24, header=bytes(16)), LARGE, 1),
}
for name, (data, preview, orientation) in raws.items():
    write(name, data, levels=3, by="Pillow, of the preview", pixels=turned(preview, orientation))
with_exif = saved(scene(168, 120), "JPEG", quality=85, exif=exif.tobytes())
header = b"FUJIFILMCCD-RAW 0201FF000000Model" + bytes(51)
header += struct.pack(">II", 148, len(with_exif)) + bytes(56)
write("raw.raf", header + with_exif + bytes(300), levels=3, by="Pillow, of the preview", pixels=pillow(with_exif))
metadata = box(b"CMT1", tiff([MAKE | {274: 8}]))
uuid = lambda digits, content: box(b"uuid", bytes.fromhex(digits), content)
preview = box(b"PRVW", struct.pack(">IHHHHI", 0, 1, 168, 120, 1, len(LARGE)), LARGE)
data = box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", uuid("85c0b687820f11e08111f4ce462b6a48", metadata))
data += uuid("eaf42b5e1c984b88b9fbb7dc406e4d16", struct.pack(">II", 0, 1) + preview) + box(b"mdat", bytes(300))
write("raw.cr3", data, levels=3, by="Pillow, of the preview", pixels=turned(LARGE, 8))
write("raw-without-preview.dng", tiff([MAKE | {254: 0, 262: 32803, 50706: b"\1\4\0\0"} | strip(SENSOR)]), error="unsupported RAW: it holds no preview in JPEG", by="ours")
write("raw-thumbnail.arw", tiff([MAKE | interchange(THUMBNAIL) | {254: 1, 330: Below(strip(SENSOR))}]), error="unsupported RAW: its largest preview is a thumbnail of 160×120 pixels", by="ours")
write("raw-cut.nef", raws["raw.nef"][0][:-3000], error="truncated: the RAW data ends early", by="ours")

(HERE.parent / "phones.json").write_text(json.dumps(ROWS, indent=0, ensure_ascii=False) + "\n")
print(len(ROWS), sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file()))
