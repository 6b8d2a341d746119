"""Makes kinds/: a small picture of every kind and tag of the formats that are read, and what Pillow makes of each.

Run from this folder with Pillow 13, numpy, imagecodecs, and `cjpeg` and `jpegtran` of libjpeg-turbo: `python kinds.py`.
Everything is synthetic, so nothing here carries a licence of its own.

  kinds/*.{tif,gif,png,webp,bmp,jpg}   the pictures, most of them put together byte by byte
  kinds.json                           per picture one row:
      size, sha256   of the upright RGB bytes that are expected
      by             "Pillow", or who else expects them and why (Pillow refuses the file, or makes something else of it)
      levels         how far a value may be off; 0 where nothing is said
      error          how the message begins, for a picture that is refused
      pillow         "reads" or "refuses"
  kinds/expected/*.png                 the pixels where `levels` is not 0
"""

import hashlib
import io
import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import PIL
from PIL import Image, ImageOps

assert int(PIL.__version__.split(".")[0]) >= 13, "Pillow 13 is the judge"
HERE = Path(__file__).parent / "kinds"
if HERE.exists():
    shutil.rmtree(HERE)
(HERE / "expected").mkdir(parents=True)

# name -> (who, pixels): what is expected where it isn't Pillow's reading.
OTHERS = {}
# name -> how the message begins.
ERRORS = {}
# name -> levels that a value may be off.
LEVELS = {}


def write(name, data, levels=0, error=None, by=None, pixels=None):
    assert not (HERE / name).exists(), name
    (HERE / name).write_bytes(data)
    if levels:
        LEVELS[name] = levels
    if error:
        ERRORS[name] = error
    if by:
        OTHERS[name] = (by, np.asarray(pixels).astype(np.uint8))


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def run(command, data):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def scene(width, height):
    """Colours that change in both directions, every row and column its own."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    red = 255 * x / (width - 1)
    green = 255 * y / (height - 1)
    blue = 128 + 120 * np.sin(x / 3 + y / 2)
    return np.rint(np.stack([red, green, blue], -1)).astype(np.uint8)


W, H = 23, 14
RGB = scene(W, H)
GREY = RGB[:, :, 0] // 2 + RGB[:, :, 1] // 2
ALPHA = np.tile(np.linspace(0, 255, W).astype(np.uint8), (H, 1))
INDEX = (np.arange(W)[None, :] * 3 + np.arange(H)[:, None] * 5) % 251
GREY3 = lambda grey: np.repeat(np.asarray(grey)[:, :, None], 3, 2)
RGB_SOFT = np.asarray(Image.fromarray(scene(40, 32)))  # for JPEG: whole blocks

# --- TIFF ------------------------------------------------------------------------------------------
SIZES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 16: "Q"}
BYTE, SHORT, LONG, RATIONAL, UNDEFINED, FLOAT, DOUBLE = 1, 3, 4, 5, 7, 11, 12


def directory(tags, at, endian, big=False, follow=0):
    """A directory that lies at `at`, with its values behind it."""
    count, entry, inline, offset = ("Q", 20, 8, "Q") if big else ("H", 12, 4, "I")
    head = struct.calcsize(endian + count) + entry * len(tags) + struct.calcsize(endian + offset)
    entries, values = b"", b""
    for tag, (kind, items) in sorted(tags.items()):
        if isinstance(items, (bytes, bytearray)):
            data, number = bytes(items), len(items)
        else:
            flat = [part for item in items for part in (item if isinstance(item, tuple) else (item,))]
            number = len(items)
            data = struct.pack(endian + SIZES[kind] * number, *flat)
        entries += struct.pack(endian + "HH" + offset, tag, kind, number)
        if len(data) <= inline:
            entries += data.ljust(inline, b"\0")
        else:
            entries += struct.pack(endian + offset, at + head + len(values))
            values += data + b"\0" * (len(data) % 2)
    return struct.pack(endian + count, len(tags)) + entries + struct.pack(endian + offset, follow) + values


def tiff(tags, chunks, endian="<", big=False, tiled=False, omit=(), order=None, size=(W, H)):
    """A file of one directory; `chunks` are strips or tiles."""
    header = 16 if big else 8
    at, offsets, data = header, [], b""
    for chunk in chunks:
        offsets.append(at + len(data))
        data += chunk + b"\0" * (len(chunk) % 2)
    long = 16 if big else LONG
    places, lengths = (324, 325) if tiled else (273, 279)
    every = {256: (SHORT, [size[0]]), 257: (SHORT, [size[1]]), 259: (SHORT, [1])}
    every |= {places: (long, offsets), lengths: (long, [len(chunk) for chunk in chunks])}
    every |= tags
    for tag in omit:
        del every[tag]
    first = at + len(data)
    mark = b"II" if endian == "<" else b"MM"
    if big:
        start = mark + struct.pack(endian + "HHHQ", 43, 8, 0, first)
    else:
        start = mark + struct.pack(endian + "HI", 42, first)
    return start + data + directory(every, first, endian, big)


def kind(photometric, bits, extra=None, **more):
    """The tags that say what a sample means; bits is a list with one number for each sample."""
    tags = {258: (SHORT, bits), 262: (SHORT, [photometric]), 277: (SHORT, [len(bits)]), 278: (SHORT, [H])}
    if extra is not None:
        tags[338] = (SHORT, list(extra))
    return tags | {int(tag[1:]): value for tag, value in more.items()}


def packed(samples, bits):
    """Rows of samples of so many bits, each row ending on a byte."""
    rows = np.asarray(samples).reshape(len(samples), -1)
    lines = [("".join(format(int(v), f"0{bits}b") for v in row)) for row in rows]
    return b"".join(int(line.ljust(-(-len(line) // 8) * 8, "0"), 2).to_bytes(-(-len(line) // 8), "big") for line in lines)


def reversed_bits(data):
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)


def deep(array, endian, code):
    return np.asarray(array).astype(endian + code).tobytes()


PALETTE = np.stack([(np.arange(256) * 37) % 256, (np.arange(256) * 91 + 20) % 256, 255 - np.arange(256)], 1)


def colormap(bits, scale=257):
    return (SHORT, [int(v) * scale for v in PALETTE[: 1 << bits].T.ravel()])


for bits in (1, 2, 4, 8):
    few = GREY >> (8 - bits)
    for photometric, word in ((0, "white"), (1, "black")):
        for order in (1, 2):
            data = packed(few, bits)
            data = reversed_bits(data) if order == 2 else data
            endian = "<" if (bits + order + photometric) % 2 else ">"
            who = {"by": "as with fewer bits; Pillow has no such raw mode", "pixels": GREY3(255 - GREY)} if (bits, photometric, order) == (8, 0, 2) else {}
            write(f"grey{bits}-{word}-is-zero-fill{order}.tif", tiff(kind(photometric, [bits], t266=(SHORT, [order])), [data], endian), **who)
    index = INDEX % (1 << bits)
    for order in (1, 2):
        data = packed(index, bits)
        data = reversed_bits(data) if order == 2 else data
        who = {"by": "as with FillOrder 1; Pillow has no such raw mode", "pixels": PALETTE[index]} if order == 2 and bits < 8 else {}
        write(f"palette{bits}-fill{order}.tif", tiff(kind(3, [bits], t266=(SHORT, [order]), t320=colormap(bits)), [data]), **who)
write("palette8-small-map.tif", tiff(kind(3, [8], t320=colormap(8, 1)), [packed(INDEX, 8)]),
      by="libtiff: a colour map without a value above 255 has 8 bits; black in Pillow", pixels=PALETTE[INDEX])
write("palette8-extra0.tif", tiff(kind(3, [8, 8], (0,), t320=colormap(8)), [np.stack([INDEX, ALPHA], -1).astype("u1").tobytes()]))
write("palette8-alpha.tif", tiff(kind(3, [8, 8], (2,), t320=colormap(8)), [np.stack([INDEX, ALPHA], -1).astype("u1").tobytes()]))
write("palette-without-map.tif", tiff(kind(3, [8]), [packed(INDEX, 8)]), error="damaged TIFF")
write("rgb-fill2.tif", tiff(kind(2, [8] * 3, t266=(SHORT, [2])), [reversed_bits(RGB.tobytes())]))
write("rgb16-fill2.tif", tiff(kind(2, [16] * 3, t266=(SHORT, [2])), [reversed_bits(deep(RGB * np.uint16(257), "<", "u2"))]),
      by="the TIFF specification; Pillow refuses 16-bit colours of FillOrder 2", pixels=RGB)

# Depths. Pillow clips 16-bit grey at 255; here the high byte stays, and less than 16 bits are stretched.
G16 = GREY.astype(np.uint16) * 257
LAB = Image.fromarray(RGB // 2 + 64).convert("LAB").tobytes()
HIGH = "16-bit grey: its high byte; Pillow clips at 255"
for endian, word in (("<", "le"), (">", "be")):
    write(f"grey16-{word}.tif", tiff(kind(1, [16]), [deep(G16, endian, "u2")], endian), by=HIGH, pixels=GREY3(GREY))
    write(f"rgb16-{word}.tif", tiff(kind(2, [16] * 3), [deep(RGB * np.uint16(257), endian, "u2")], endian))
    write(f"grey-int16-{word}.tif", tiff(kind(1, [16], t339=(SHORT, [2])), [deep(GREY // 2, endian, "i2")], endian))
    write(f"grey-int32-{word}.tif", tiff(kind(1, [32], t339=(SHORT, [2])), [deep(GREY.astype(int) - 20, endian, "i4")], endian))
    write(f"grey-float32-{word}.tif", tiff(kind(1, [32], t339=(SHORT, [3])), [deep(GREY - 20.75, endian, "f4")], endian))
    write(f"lab8-{word}.tif", tiff(kind(8, [8] * 3), [LAB], endian), levels=4)
write("grey16-white-is-zero.tif", tiff(kind(0, [16]), [deep(65535 - G16, "<", "u2")]),
      by="the TIFF specification; Pillow forgets to invert", pixels=GREY3(GREY))
write("grey-float32-white-is-zero.tif", tiff(kind(0, [32], t339=(SHORT, [3])), [deep(GREY, "<", "f4")]))
write("grey-uint32.tif", tiff(kind(1, [32]), [deep(GREY, "<", "u4")]))
write("grey-int8.tif", tiff(kind(1, [8], t339=(SHORT, [2])), [GREY.tobytes()]))
STRETCHED = "values beyond 8 bits are stretched; Pillow clips at 255"
write("grey-uint32-full.tif", tiff(kind(1, [32]), [deep(GREY.astype(np.uint64) * 0x01010101, "<", "u4")]), by=STRETCHED, pixels=GREY3(GREY), levels=1)
write("grey-float32-unit.tif", tiff(kind(1, [32], t339=(SHORT, [3])), [deep(GREY / 255, "<", "f4")]),
      by="floats between 0 and 1: 1 is white; black in Pillow", pixels=GREY3(GREY), levels=1)
write("grey-float16-unit.tif", tiff(kind(1, [16], t339=(SHORT, [3])), [deep(GREY / 255, "<", "f2")]),
      by="as with 32 bits; Pillow refuses 16", pixels=GREY3(GREY), levels=1)
write("rgb-float32-unit.tif", tiff(kind(2, [32] * 3, t339=(SHORT, [3] * 3)), [deep(RGB / 255, "<", "f4")]),
      by="floats between 0 and 1: 1 is white; Pillow refuses it", pixels=RGB, levels=1)
write("grey-float64.tif", tiff(kind(1, [64], t339=(SHORT, [3])), [deep(GREY, ">", "f8")], ">"),
      by="as with 32 bits; Pillow refuses 64", pixels=GREY3(GREY))
for bits in (10, 12, 14):
    values = (GREY.astype(int) * ((1 << bits) - 1) + 127) // 255
    write(f"grey{bits}-packed.tif", tiff(kind(1, [bits]), [packed(values, bits)]), by=STRETCHED, pixels=GREY3(GREY), levels=1)
    write(f"grey{bits}-in-16.tif", tiff(kind(1, [16]), [deep(values, "<", "u2")]), by=STRETCHED, pixels=GREY3(GREY), levels=1)
write("rgb12-in-16.tif", tiff(kind(2, [16] * 3), [deep(RGB.astype(int) * 4095 // 255, "<", "u2")]),
      by="12 bits in 16 are stretched; nearly black in Pillow", pixels=RGB, levels=1)
DIM = GREY.astype(int) // 2 * 4095 // 255
write("grey12-in-16-max-sample-value.tif", tiff(kind(1, [16], t281=(SHORT, [4095])), [deep(DIM, "<", "u2")]), by=STRETCHED, pixels=GREY3(GREY // 2), levels=1)
write("grey16-dim-max-sample-value.tif", tiff(kind(1, [16], t281=(SHORT, [65535])), [deep(GREY.astype(int) // 8 * 257, "<", "u2")]), by=HIGH, pixels=GREY3(GREY // 8), levels=1)
write("grey8-in-16.tif", tiff(kind(1, [16]), [deep(GREY, "<", "u2")]))
write("rgb-bits-given-once.tif", tiff(kind(2, [8] * 3) | {258: (SHORT, [8])}, [RGB.tobytes()]))
write("rgb4.tif", tiff(kind(2, [4] * 3), [packed(RGB >> 4, 4)]), by="the TIFF specification; Pillow refuses it", pixels=(RGB >> 4) * 17)
write("rgb565.tif", tiff(kind(2, [5, 6, 5]), [RGB[:, :, :2].tobytes()]), error="unsupported TIFF: ")

# Samples beyond the colours.
RGBA = np.dstack([RGB, ALPHA])
PREMULTIPLIED = np.dstack([(RGB.astype(int) * ALPHA[:, :, None] // 255).astype(np.uint8), ALPHA])
LA = np.dstack([GREY, ALPHA])
LA_MULTIPLIED = np.dstack([(GREY.astype(int) * ALPHA // 255).astype(np.uint8), ALPHA])
for extra in ((0,), (1,), (2,), (999,)):
    for word, data in (("straight", RGBA), ("multiplied", PREMULTIPLIED)):
        if (extra == (1,)) == (word == "multiplied"):
            write(f"rgb-extra{extra[0]}.tif", tiff(kind(2, [8] * 4, extra), [data.tobytes()]))
            if extra[0] < 3:
                name = f"rgb16-extra{extra[0]}.tif"
                write(name, tiff(kind(2, [16] * 4, extra), [deep(data * np.uint16(257), ">", "u2")], ">"))
for extra in ((0, 0), (1, 0), (2, 0), (0, 0, 0), (1, 0, 0), (2, 0, 0)):
    data = np.dstack([PREMULTIPLIED if extra[0] == 1 else RGBA] + [GREY] * (len(extra) - 1))
    write(f"rgb-extra{''.join(map(str, extra))}.tif", tiff(kind(2, [8] * (3 + len(extra)), extra), [data.tobytes()]))
write("rgb-extra-unsaid.tif", tiff(kind(2, [8] * 4), [RGBA.tobytes()]))
write("rgb16-extra-unsaid.tif", tiff(kind(2, [16] * 4), [deep(RGBA * np.uint16(257), "<", "u2")]))
write("grey-extra0.tif", tiff(kind(1, [8] * 2, (0,)), [LA.tobytes()]))
solid = np.maximum(ALPHA.astype(int), 1)
undone = np.where(ALPHA == 0, 0, np.minimum(LA_MULTIPLIED[:, :, 0].astype(int) * 255 // solid, 255))
write("grey-extra1.tif", tiff(kind(1, [8] * 2, (1,)), [LA_MULTIPLIED.tobytes()]), by="as with colours; Pillow cannot convert it", pixels=GREY3(undone))
write("grey-extra2.tif", tiff(kind(1, [8] * 2, (2,)), [LA.tobytes()]))
write("grey-extra-unsaid.tif", tiff(kind(1, [8] * 2), [LA.tobytes()]), by="the first sample is grey; Pillow refuses it", pixels=GREY3(GREY))
write("grey16-extra2.tif", tiff(kind(1, [16] * 2, (2,)), [deep(LA * np.uint16(257), "<", "u2")]), by="as with 8 bits; Pillow refuses it", pixels=GREY3(GREY))
write("grey-five-bands.tif", tiff(kind(1, [8] * 5, (0,) * 4), [np.dstack([GREY] * 5).tobytes()]), error="unsupported TIFF: ")
BLACK = np.full((H, W), 40, np.uint8)
CMYK = np.dstack([255 - RGB, BLACK])
write("cmyk8.tif", tiff(kind(5, [8] * 4), [CMYK.tobytes()]))
write("cmyk8-extra0.tif", tiff(kind(5, [8] * 5, (0,)), [np.dstack([CMYK, ALPHA]).tobytes()]))
write("cmyk8-extra00.tif", tiff(kind(5, [8] * 6, (0, 0)), [np.dstack([CMYK, ALPHA, ALPHA]).tobytes()]))
write("cmyk16-le.tif", tiff(kind(5, [16] * 4), [deep(CMYK * np.uint16(257), "<", "u2")]))
write("cmyk16-be.tif", tiff(kind(5, [16] * 4), [deep(CMYK * np.uint16(257), ">", "u2")], ">"))
write("icclab8.tif", tiff(kind(9, [8] * 3), [(np.frombuffer(LAB, np.uint8).reshape(-1, 3) ^ np.uint8([0, 128, 128])).tobytes()]), levels=4,
      by="as CIELab with a and b moved by 128; Pillow refuses it", pixels=Image.frombytes("LAB", (W, H), LAB).convert("RGB"))
write("mask.tif", tiff(kind(4, [1]), [packed(GREY >> 7, 1)]), error="unsupported TIFF: ")
write("cfa.tif", tiff(kind(32803, [16]), [deep(G16, "<", "u2")]), error="unsupported RAW: it holds no preview in JPEG")
write("logluv.tif", tiff(kind(32845, [16] * 3), [deep(RGB, "<", "u2")]), error="unsupported TIFF: ")

# Layouts: strips, tiles, planes, byte orders, BigTIFF.
def strips(array, rows):
    return [np.ascontiguousarray(array[y : y + rows]) for y in range(0, len(array), rows)]


def tiles(array, side=16):
    padded = np.pad(array, [(0, -len(array) % side), (0, -array.shape[1] % side)] + [(0, 0)] * (array.ndim - 2), "edge")
    return [np.ascontiguousarray(padded[y : y + side, x : x + side]) for y in range(0, len(padded), side) for x in range(0, padded.shape[1], side)]


TILE = {"t322": (SHORT, [16]), "t323": (SHORT, [16])}
ROWS = {"t278": (SHORT, [5])}
PLANAR = {"t284": (SHORT, [2])}
as_bytes = lambda chunks: [chunk.tobytes() for chunk in chunks]
planes = lambda array, cut: [piece for c in range(array.shape[2]) for piece in as_bytes(cut(array[:, :, c]))]
write("strips.tif", tiff(kind(2, [8] * 3, **ROWS), as_bytes(strips(RGB, 5)), ">"))
write("tiles.tif", tiff(kind(2, [8] * 3, **TILE), as_bytes(tiles(RGB)), tiled=True, omit=(278,)))
write("tiles-grey4.tif", tiff(kind(1, [4], **TILE), [packed(tile, 4) for tile in tiles(GREY >> 4)], tiled=True, omit=(278,)))
write("tiles-bilevel.tif", tiff(kind(1, [1], **TILE), [packed(tile, 1) for tile in tiles(GREY >> 7)], ">", tiled=True, omit=(278,)))
write("planar-strips.tif", tiff(kind(2, [8] * 3, **PLANAR, **ROWS), planes(RGB, lambda a: strips(a, 5))))
write("planar-one-strip.tif", tiff(kind(2, [8] * 3, **PLANAR), planes(RGB, lambda a: [a])))
write("planar-tiles.tif", tiff(kind(2, [8] * 3, **PLANAR, **TILE), planes(RGB, tiles), tiled=True, omit=(278,)))
write("planar-rgba.tif", tiff(kind(2, [8] * 4, (2,), **PLANAR), planes(RGBA, lambda a: [a])))
write("planar-rgb-extra0.tif", tiff(kind(2, [8] * 4, (0,), **PLANAR), planes(RGBA, lambda a: [a])), by="the TIFF specification; Pillow refuses it", pixels=RGB)
write("planar-cmyk.tif", tiff(kind(5, [8] * 4, **PLANAR), planes(CMYK, lambda a: [a])))
write("planar-lzw.tif", tiff(kind(2, [8] * 3, **PLANAR, t259=(SHORT, [5])), [imagecodecs.lzw_encode(p) for p in planes(RGB, lambda a: [a])]))
write("planar-deflate-16.tif", tiff(kind(2, [16] * 3, **PLANAR, t259=(SHORT, [8])), [zlib.compress(deep(RGB[:, :, c] * np.uint16(257), "<", "u2")) for c in range(3)]))
write("rgb565-planar.tif", tiff(kind(2, [5, 6, 5], **PLANAR), planes(RGB, lambda a: [a])), error="unsupported TIFF: ")
for endian, word in (("<", "le"), (">", "be")):
    who = {"by": "BigTIFF's design; Pillow refuses it in this byte order", "pixels": RGB} if word == "be" else {}
    write(f"big-{word}.tif", tiff(kind(2, [8] * 3, **ROWS), as_bytes(strips(RGB, 5)), endian, big=True), **who)
    write(f"big-tiles-{word}.tif", tiff(kind(2, [8] * 3, **TILE, t259=(SHORT, [8])), [zlib.compress(t) for t in as_bytes(tiles(RGB))], endian, big=True, tiled=True, omit=(278,)), **who)
write("no-rows-per-strip.tif", tiff(kind(2, [8] * 3), [RGB.tobytes()], omit=(278,)))
write("endless-rows-per-strip.tif", tiff(kind(2, [8] * 3, t278=(LONG, [0xFFFFFFFF])), [RGB.tobytes()]))
write("no-strip-lengths.tif", tiff(kind(2, [8] * 3), [RGB.tobytes()], omit=(279,)))
write("no-strip-lengths-deflate.tif", tiff(kind(2, [8] * 3, t259=(SHORT, [8])), [zlib.compress(RGB.tobytes())], omit=(279,)))
write("no-photometric.tif", tiff(kind(0, [8]), [GREY.tobytes()], omit=(262,)))
write("only-the-needed-tags.tif", tiff({262: (SHORT, [1])}, [packed(GREY >> 7, 1)]))
write("sample-format-undefined.tif", tiff(kind(2, [8] * 3, t339=(SHORT, [4] * 3)), [RGB.tobytes()]),
      by="undefined data are taken for whole numbers, as libtiff does; Pillow refuses it", pixels=RGB)
write("two-pages.tif", encoded(Image.fromarray(RGB), "TIFF", save_all=True, append_images=[Image.fromarray(255 - RGB)]))
write("no-offsets.tif", tiff(kind(2, [8] * 3), [RGB.tobytes()], omit=(273,)), error="damaged TIFF")
write("cut.tif", tiff(kind(2, [8] * 3), [RGB.tobytes()])[:-20], error="truncated: ")
write("cut-strip.tif", tiff(kind(2, [8] * 3, t279=(LONG, [len(RGB.tobytes())]), t273=(LONG, [400])), [RGB.tobytes()]), error="truncated: ")

# Compression.
def differences(array, dtype):
    array = np.asarray(array).astype(dtype)
    out = array.copy()
    out[:, 1:] -= array[:, :-1]
    return out


def float_predicted(array):
    """The third predictor: bytes by their weight, then differences of bytes."""
    rows = np.asarray(array).astype(">f4").reshape(len(array), -1)
    weights = rows.view("u1").reshape(len(rows), -1, 4).transpose(0, 2, 1).reshape(len(rows), -1)
    return differences(weights, "u1").tobytes()


write("packbits.tif", tiff(kind(2, [8] * 3, t259=(SHORT, [32773])), [b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in RGB)]))
write("lzw.tif", tiff(kind(2, [8] * 3, t259=(SHORT, [5]), **ROWS), [imagecodecs.lzw_encode(s) for s in as_bytes(strips(RGB, 5))]))
write("lzw-predictor.tif", tiff(kind(2, [8] * 3, t259=(SHORT, [5]), t317=(SHORT, [2])), [imagecodecs.lzw_encode(differences(RGB, "u1").tobytes())]))
for endian, word in (("<", "le"), (">", "be")):
    who = {"by": "as uncompressed; Pillow takes them for little-endian", "pixels": GREY3(GREY)} if word == "be" else {}
    write(f"deflate-predictor-rgb16-{word}.tif", tiff(kind(2, [16] * 3, t259=(SHORT, [8]), t317=(SHORT, [2])), [zlib.compress(differences(RGB * np.uint16(257), "u2").astype(endian + "u2").tobytes())], endian))
    write(f"deflate-predictor-int32-{word}.tif", tiff(kind(1, [32], t259=(SHORT, [8]), t317=(SHORT, [2]), t339=(SHORT, [2])), [zlib.compress(differences(GREY, "i4").astype(endian + "i4").tobytes())], endian), **who)
    write(f"deflate-predictor-float-{word}.tif", tiff(kind(1, [32], t259=(SHORT, [8]), t317=(SHORT, [3]), t339=(SHORT, [3])), [zlib.compress(float_predicted(GREY))], endian), **who)
write("deflate.tif", tiff(kind(2, [8] * 3, t259=(SHORT, [8])), [zlib.compress(RGB.tobytes())]))
write("deflate-old.tif", tiff(kind(2, [8] * 3, t259=(SHORT, [32946])), [zlib.compress(RGB.tobytes())]))
write("deflate-tiles-predictor.tif", tiff(kind(2, [8] * 3, t259=(SHORT, [8]), t317=(SHORT, [2]), **TILE), [zlib.compress(differences(t, "u1").tobytes()) for t in tiles(RGB)], tiled=True, omit=(278,)))
write("deflate-palette4.tif", tiff(kind(3, [4], t320=colormap(4), t259=(SHORT, [8])), [zlib.compress(packed(INDEX % 16, 4))]))
write("deflate-rgba-associated.tif", tiff(kind(2, [8] * 4, (1,), t259=(SHORT, [8])), [zlib.compress(PREMULTIPLIED.tobytes())]))
write("deflate-cut.tif", tiff(kind(2, [8] * 3, t259=(SHORT, [8])), [zlib.compress(RGB.tobytes())[:200]]), error="truncated: ")
write("deflate-rubbish.tif", tiff(kind(2, [8] * 3, t259=(SHORT, [8])), [bytes(range(256))]), error="damaged TIFF")
for word, code, data in (("packbits", 32773, imagecodecs.packbits_encode(packed(GREY >> 4, 4))), ("lzw", 5, imagecodecs.lzw_encode(packed(GREY >> 4, 4))), ("deflate", 8, zlib.compress(packed(GREY >> 4, 4)))):
    write(f"{word}-grey4-fill2.tif", tiff(kind(1, [4], t259=(SHORT, [code]), t266=(SHORT, [2])), [reversed_bits(data)]))
BILEVEL = Image.fromarray(((INDEX % 7 < 3) ^ (np.arange(H)[:, None] > 6)).astype(np.uint8) * 255).convert("1")
WIDE = Image.fromarray(np.uint8(np.abs(np.arange(2700)[None, :] - np.array([[5], [300], [1300], [2690]])) < 64) * 255).convert("1")
for word, code, options in (("rle", "tiff_ccitt", {}), ("g3", "group3", {}), ("g3-2d", "group3", {292: 1}), ("g3-aligned", "group3", {292: 4}), ("g4", "group4", {})):
    for shape, image in (("", BILEVEL), ("-wide", WIDE)):
        data = encoded(image, "TIFF", compression=code, tiffinfo=options)
        write(f"{word}{shape}.tif", data)
for word, code in (("g3", "group3"), ("g4", "group4"), ("rle", "tiff_ccitt")):
    for photometric in (0, 1):
        with Image.open(io.BytesIO(encoded(BILEVEL, "TIFF", compression=code))) as image:
            offset, length = image.tag_v2[273][0], image.tag_v2[279][0]
            data = image.fp.seek(offset) and image.fp.read(length)
            tags = {259: (SHORT, [image.tag_v2[259]])}
        tags |= kind(photometric, [1], t266=(SHORT, [2]))
        tags[259] = (SHORT, [{"g3": 3, "g4": 4, "rle": 2}[word]])
        write(f"{word}-fill2-photometric{photometric}.tif", tiff(tags, [reversed_bits(data)]))
for word, code in (("thunderscan", 32809), ("sgilog", 34676), ("zstd", 50000), ("lzma", 34925), ("jpeg2000", 34712), ("lerc", 34887), ("next", 32766), ("pixarlog", 32909), ("jbig", 34661), ("unknown", 4711)):
    write(f"compression-{word}.tif", tiff(kind(2, [8] * 3, t259=(SHORT, [code])), [bytes(100)]), error="unsupported TIFF: ")
write("webp-lossless.tif", tiff(kind(2, [8] * 3, t259=(SHORT, [50001])), [encoded(Image.fromarray(RGB), "WEBP", lossless=True)]), by="libtiff with WebP; Pillow's build has none", pixels=RGB)

# JPEG inside TIFF. The stream has no colour mark of its own: the photometric tag says.
def jpeg_parts(data):
    """Tables alone, and the stream without them."""
    head, tables, rest, at = b"\xff\xd8", b"", b"", 2
    while True:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        segment = data[at : at + 2 + length]
        at += 2 + length
        if marker in (0xDB, 0xC4):
            tables += segment
        elif marker not in (0xE0, 0xEE):
            rest += segment
        if marker == 0xDA:
            return head + tables + b"\xff\xd9", head + rest + data[at:]


JW, JH = 40, 32
SOFT = Image.fromarray(RGB_SOFT)
JSIZE = {"size": (JW, JH)}
def jpeg_tags(photometric, count, **more):
    return kind(photometric, [8] * count, t259=(SHORT, [7])) | {278: (SHORT, [JH])} | {int(t[1:]): v for t, v in more.items()}
whole = encoded(SOFT, "JPEG", quality=90, subsampling=2)
tables, abbreviated = jpeg_parts(whole)
write("jpeg-ycbcr.tif", tiff(jpeg_tags(6, 3, t347=(UNDEFINED, tables), t530=(SHORT, [2, 2])), [abbreviated], **JSIZE), levels=3)
write("jpeg-ycbcr-whole-stream.tif", tiff(jpeg_tags(6, 3, t530=(SHORT, [2, 2])), [whole], **JSIZE), levels=3)
parts = [jpeg_parts(encoded(SOFT.crop((0, y, JW, y + 16)), "JPEG", quality=90, subsampling=2))[1] for y in (0, 16)]
write("jpeg-ycbcr-strips.tif", tiff(jpeg_tags(6, 3, t347=(UNDEFINED, tables), t530=(SHORT, [2, 2]), t278=(SHORT, [16])), parts, **JSIZE), levels=3)
parts = [jpeg_parts(encoded(Image.fromarray(t), "JPEG", quality=90, subsampling=0))[1] for t in tiles(RGB_SOFT)]
tables444 = jpeg_parts(encoded(SOFT, "JPEG", quality=90, subsampling=0))[0]
write("jpeg-ycbcr-tiles.tif", tiff(jpeg_tags(6, 3, t347=(UNDEFINED, tables444), t530=(SHORT, [1, 1]), **TILE), parts, tiled=True, omit=(278,), **JSIZE), levels=3)
tables, abbreviated = jpeg_parts(encoded(SOFT, "JPEG", quality=90, keep_rgb=True))
write("jpeg-rgb.tif", tiff(jpeg_tags(2, 3, t347=(UNDEFINED, tables)), [abbreviated], **JSIZE), levels=3)
tables, abbreviated = jpeg_parts(encoded(SOFT.convert("L"), "JPEG", quality=90))
write("jpeg-grey.tif", tiff(jpeg_tags(1, 1, t347=(UNDEFINED, tables)), [abbreviated], **JSIZE), levels=3)
write("jpeg-grey-white-is-zero.tif", tiff(jpeg_tags(0, 1, t347=(UNDEFINED, tables)), [abbreviated], **JSIZE), levels=3)
ink = Image.merge("CMYK", [ImageOps.invert(c) for c in SOFT.split()] + [Image.new("L", (JW, JH), 40)])
tables, abbreviated = jpeg_parts(encoded(ink, "JPEG", quality=90))
write("jpeg-cmyk.tif", tiff(jpeg_tags(5, 4, t347=(UNDEFINED, tables)), [abbreviated], **JSIZE), levels=3)
write("jpeg-cut.tif", tiff(jpeg_tags(1, 1, t347=(UNDEFINED, tables)), [abbreviated[:100]], **JSIZE), error="truncated: ")
whole = encoded(SOFT, "JPEG", quality=90, subsampling=0)
old = {"t259": (SHORT, [6]), "t513": (LONG, [8]), "t514": (LONG, [len(whole)])}
write("old-jpeg.tif", tiff(jpeg_tags(6, 3, **old, t530=(SHORT, [1, 1])), [whole], **JSIZE), levels=3)
write("old-jpeg-without-stream.tif", tiff(jpeg_tags(6, 3, t259=(SHORT, [6])), [whole[600:]], **JSIZE), error="unsupported TIFF: old-style JPEG")

# YCbCr without JPEG: units of several lumas with one pair of chromas.
def ycbcr_units(across, down):
    ycc = np.asarray(Image.fromarray(RGB_SOFT).convert("YCbCr"))
    out = b""
    for y in range(0, JH, down):
        for x in range(0, JW, across):
            unit = ycc[y : y + down, x : x + across]
            out += unit[:, :, 0].tobytes() + bytes(unit[:, :, c].mean().round().astype(np.uint8) for c in (1, 2))
    return out


def ycc_tags(compression, across, down, **more):
    more = {int(t[1:]): v for t, v in more.items()}
    return kind(6, [8] * 3, t259=(SHORT, [compression]), t530=(SHORT, [across, down])) | {278: (SHORT, [JH])} | more


for across, down in ((1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (1, 2)):
    write(f"ycbcr-{across}{down}-deflate.tif", tiff(ycc_tags(8, across, down), [zlib.compress(ycbcr_units(across, down))], **JSIZE), levels=1)
write("ycbcr-11.tif", tiff(ycc_tags(1, 1, 1), [ycbcr_units(1, 1)], **JSIZE), levels=1)
with Image.open(HERE / "ycbcr-22-deflate.tif") as image:
    UNITS = np.asarray(image.convert("RGB"))
write("ycbcr-22.tif", tiff(ycc_tags(1, 2, 2), [ycbcr_units(2, 2)], **JSIZE), levels=1,
      by="as with compression; Pillow takes the units for pixels", pixels=UNITS)
write("ycbcr-22-lzw-strips.tif", tiff(ycc_tags(5, 2, 2, t278=(SHORT, [8])), [imagecodecs.lzw_encode(ycbcr_units(2, 2)[i : i + 480]) for i in range(0, 1920, 480)], **JSIZE), levels=1)
BT709 = {"t529": (RATIONAL, [(2126, 10000), (7152, 10000), (722, 10000)])}
STUDIO = {"t532": (RATIONAL, [(16, 1), (235, 1), (128, 1), (240, 1), (128, 1), (240, 1)])}
write("ycbcr-bt709.tif", tiff(ycc_tags(8, 1, 1, **BT709), [zlib.compress(ycbcr_units(1, 1))], **JSIZE), levels=1)
write("ycbcr-studio-range.tif", tiff(ycc_tags(8, 1, 1, **STUDIO), [zlib.compress(ycbcr_units(1, 1))], **JSIZE), levels=1)
planes444 = np.asarray(Image.fromarray(RGB_SOFT).convert("YCbCr"))
write("ycbcr-planar-deflate.tif", tiff(ycc_tags(8, 1, 1, **PLANAR), [zlib.compress(planes444[:, :, c].tobytes()) for c in range(3)], **JSIZE), levels=1)

# --- orientation -----------------------------------------------------------------------------------
def exif(value=6, type=SHORT, endian=">", count=1, tag=0x112):
    mark = b"II" if endian == "<" else b"MM"
    values = [value] * count if not isinstance(value, bytes) else value
    return mark + struct.pack(endian + "HI", 42, 8) + directory({tag: (type, values)}, 8, endian)


ATTRIBUTE = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
ELEMENT = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><tiff:Orientation>%d</tiff:Orientation></rdf:Description></rdf:RDF></x:xmpmeta>'
SINGLE = ATTRIBUTE.replace(b'"%d"', b"'%d'")


def app1(data):
    return b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data


XAP = b"http://ns.adobe.com/xap/1.0/\0"
PLAIN_JPEG = encoded(SOFT, "JPEG", quality=90, subsampling=0)


def jpeg(name, *segments, levels=3, **more):
    write(name, PLAIN_JPEG[:2] + b"".join(segments) + PLAIN_JPEG[2:], levels=levels, **more)


E = b"Exif\0\0"
for endian, word in (("<", "le"), (">", "be")):
    for type, type_name in ((SHORT, "short"), (LONG, "long"), (8, "sshort"), (9, "slong"), (BYTE, "byte"), (6, "sbyte")):
        jpeg(f"exif-{type_name}-{word}.jpg", app1(E + exif(6, type, endian)))
jpeg("exif-rational.jpg", app1(E + exif((6, 1), RATIONAL)))
jpeg("exif-two-values.jpg", app1(E + exif(6, SHORT, count=2)))
for value in (0, 1, 2, 9, 65535):
    jpeg(f"exif-value-{value}.jpg", app1(E + exif(value)))
jpeg("exif-after-xmp.jpg", app1(XAP + ATTRIBUTE % 1), app1(E + exif(6)))
jpeg("exif-in-two-segments.jpg", app1(E + exif(6)[:20]), app1(E + exif(6)[20:]))
jpeg("exif-twice.jpg", app1(E + exif(6)), app1(E + exif(8)))
jpeg("exif-after-another-app1.jpg", app1(b"something else\0"), app1(E + exif(6)))
jpeg("exif-without-orientation.jpg", app1(E + exif(1, tag=0x11C)))
jpeg("exif-empty-and-xmp.jpg", app1(E + exif(1, tag=0x11C)), app1(XAP + ATTRIBUTE % 6))
jpeg("exif-1-and-xmp-6.jpg", app1(E + exif(1)), app1(XAP + ATTRIBUTE % 6))
jpeg("exif-0-and-xmp-6.jpg", app1(E + exif(0)), app1(XAP + ATTRIBUTE % 6))
jpeg("exif-8-and-xmp-6.jpg", app1(E + exif(8)), app1(XAP + ATTRIBUTE % 6))
jpeg("exif-rubbish.jpg", app1(E + b"no directory at all"), by="as without it; Pillow's exif_transpose fails",
     pixels=Image.open(io.BytesIO(PLAIN_JPEG)))
for value in (0, 3, 6, 9):
    jpeg(f"xmp-attribute-{value}.jpg", app1(XAP + ATTRIBUTE % value))
    jpeg(f"xmp-element-{value}.jpg", app1(XAP + ELEMENT % value))
jpeg("xmp-single-quotes.jpg", app1(XAP + SINGLE % 6))
jpeg("xmp-twice.jpg", app1(XAP + ATTRIBUTE % 6), app1(XAP + ATTRIBUTE % 8))
jpeg("xmp-spaced.jpg", app1(XAP + (ATTRIBUTE % 6).replace(b'tiff:Orientation="', b'tiff:Orientation = "')))
for value in range(1, 9):
    write(f"orientation-{value}.tif", tiff(kind(2, [8] * 3, t274=(SHORT, [value])), [RGB.tobytes()]))
write("orientation-0.tif", tiff(kind(2, [8] * 3, t274=(SHORT, [0])), [RGB.tobytes()]))
write("orientation-9.tif", tiff(kind(2, [8] * 3, t274=(SHORT, [9])), [RGB.tobytes()]))
write("orientation-long.tif", tiff(kind(2, [8] * 3, t274=(LONG, [6])), [RGB.tobytes()], ">"))
write("orientation-deflate.tif", tiff(kind(2, [8] * 3, t274=(SHORT, [6]), t259=(SHORT, [8])), [zlib.compress(RGB.tobytes())]))
write("orientation-big.tif", tiff(kind(2, [8] * 3, t274=(SHORT, [8])), [RGB.tobytes()], big=True))
write("orientation-xmp.tif", tiff(kind(2, [8] * 3, t700=(BYTE, ATTRIBUTE % 6)), [RGB.tobytes()]))
write("orientation-xmp-undefined.tif", tiff(kind(2, [8] * 3, t700=(UNDEFINED, ELEMENT % 6)), [RGB.tobytes()]))
write("orientation-8-and-xmp-6.tif", tiff(kind(2, [8] * 3, t274=(SHORT, [8]), t700=(BYTE, ATTRIBUTE % 6)), [RGB.tobytes()]))
write("orientation-1-and-xmp-6.tif", tiff(kind(2, [8] * 3, t274=(SHORT, [1]), t700=(BYTE, ATTRIBUTE % 6)), [RGB.tobytes()]))

# --- PNG -------------------------------------------------------------------------------------------
def chunk(kind, data, crc=None):
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png_rows(samples, bits):
    samples = np.asarray(samples)
    if samples.size == 0:
        return b""
    if bits == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return b"".join(b"\0" + packed(row[None], bits) for row in samples)


def png(samples, bits, colour, before=b"", after=b"", interlaced=False, extra_data=b"", end=None, split=None):
    samples = np.asarray(samples)
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    if interlaced:
        rows = b"".join(png_rows(samples[y::dy, x::dx], bits) for x, y, dx, dy in ADAM7)
    else:
        rows = png_rows(samples, bits)
    body = zlib.compress(rows) + extra_data
    data = b"".join(chunk(b"IDAT", body[i : i + (split or len(body))]) for i in range(0, len(body), split or len(body)))
    end = chunk(b"IEND", b"") if end is None else end
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + data + after + end


PLTE = chunk(b"PLTE", PALETTE.astype("u1").tobytes())
plte = lambda entries: chunk(b"PLTE", PALETTE[:entries].astype("u1").tobytes())
RGB48 = RGB * np.uint16(257)
for interlaced, word in ((False, ""), (True, "-interlaced")):
    for bits in (1, 2, 4, 8):
        write(f"grey{bits}{word}.png", png(GREY >> (8 - bits), bits, 0, interlaced=interlaced))
        write(f"palette{bits}{word}.png", png(INDEX % (1 << bits), bits, 3, plte(1 << bits), interlaced=interlaced))
    write(f"grey16{word}.png", png(G16, 16, 0, interlaced=interlaced), by=HIGH, pixels=GREY3(GREY))
    write(f"rgb8{word}.png", png(RGB, 8, 2, interlaced=interlaced))
    write(f"rgb16{word}.png", png(RGB48, 16, 2, interlaced=interlaced))
    write(f"grey-alpha8{word}.png", png(LA, 8, 4, interlaced=interlaced))
    write(f"grey-alpha16{word}.png", png(LA * np.uint16(257), 16, 4, interlaced=interlaced))
    write(f"rgba8{word}.png", png(RGBA, 8, 6, interlaced=interlaced))
    write(f"rgba16{word}.png", png(RGBA * np.uint16(257), 16, 6, interlaced=interlaced))
for bits in (1, 2, 4, 8):
    write(f"grey{bits}-transparent.png", png(GREY >> (8 - bits), bits, 0, chunk(b"tRNS", b"\0\x01")))
write("grey16-transparent.png", png(G16, 16, 0, chunk(b"tRNS", b"\x40\x40")), by=HIGH, pixels=GREY3(GREY))
write("rgb8-transparent.png", png(RGB, 8, 2, chunk(b"tRNS", bytes([0, RGB[0, 0, 0], 0, RGB[0, 0, 1], 0, RGB[0, 0, 2]]))))
write("rgb16-transparent.png", png(RGB48, 16, 2, chunk(b"tRNS", bytes(6))))
write("palette8-transparent.png", png(INDEX, 8, 3, PLTE + chunk(b"tRNS", bytes([0, 128, 255]))))
write("palette4-transparent.png", png(INDEX % 16, 4, 3, plte(16) + chunk(b"tRNS", bytes([0] * 16))))
write("palette2-five-entries.png", png(INDEX % 4, 2, 3, plte(5)))
write("palette8-short.png", png(INDEX, 8, 3, plte(100)))
write("palette4-short.png", png(INDEX % 16, 4, 3, plte(3)))
write("palette1-one-entry.png", png(GREY >> 7, 1, 3, plte(1)))
for length in (1, 2, 4, 5, 767, 769):
    write(f"palette8-of-{length}-bytes.png", png(INDEX, 8, 3, chunk(b"PLTE", (PALETTE.astype("u1").tobytes() + b"\7\7\7")[:length])), error="damaged PNG: it has no palette" if length < 3 else None)
write("palette8-of-300-entries.png", png(INDEX, 8, 3, chunk(b"PLTE", (PALETTE.astype("u1").tobytes() * 2)[:900])), error="damaged PNG")
write("palette-twice.png", png(INDEX % 4, 2, 3, plte(4) + chunk(b"PLTE", bytes(range(12)))))
write("palette-empty.png", png(INDEX % 4, 2, 3, chunk(b"PLTE", b"")), error="damaged PNG: it has no palette")
write("palette-missing.png", png(INDEX % 4, 2, 3), error="damaged PNG: it has no palette")
IPHONE = png(RGB, 8, 2)
write("iphone.png", IPHONE[:8] + chunk(b"CgBI", bytes(4)) + IPHONE[8:], error="unsupported PNG: changed by Xcode")
write("palette-for-rgb.png", png(RGB, 8, 2, plte(5)))
write("palette-of-4-bytes-for-rgb.png", png(RGB, 8, 2, chunk(b"PLTE", bytes(4))))
write("palette-for-grey.png", png(GREY, 8, 0, plte(5)))
write("gamma.png", png(RGB, 8, 2, chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"cHRM", bytes(32))))
write("srgb.png", png(RGB, 8, 2, chunk(b"sRGB", b"\0")))
write("profile-broken.png", png(RGB, 8, 2, chunk(b"iCCP", b"x\0\0rubbish")))
write("background.png", png(RGBA, 8, 6, chunk(b"bKGD", b"\0\xff\0\xff\0\xff")))
write("many-data-chunks.png", png(RGB, 8, 2, split=7))
write("data-after-pixels.png", png(RGB, 8, 2, extra_data=b"more"))
write("bytes-after-end.png", png(RGB, 8, 2) + b"more than a picture" * 20)
write("no-end.png", png(RGB, 8, 2, end=b""))
write("bad-checksum-ancillary.png", png(RGB, 8, 2, chunk(b"tEXt", b"a\0b", crc=1)),
      by="libpng: an ancillary chunk that is damaged is left out; Pillow refuses the file", pixels=RGB)
write("bad-checksum-palette.png", png(INDEX % 4, 2, 3, chunk(b"PLTE", PALETTE[:4].astype("u1").tobytes(), crc=1)), error="damaged PNG")
write("unknown-ancillary.png", png(RGB, 8, 2, chunk(b"quAx", b"abc")))
write("transparency-before-palette.png", png(INDEX % 4, 2, 3, chunk(b"tRNS", b"\0") + plte(4)))
G12 = (GREY.astype(int) * 4095 + 127) // 255
write("grey12-in-16.png", png(G12, 16, 0), by=STRETCHED, pixels=GREY3(GREY), levels=1)
write("grey12-in-16-sbit.png", png(G12 // 2, 16, 0, chunk(b"sBIT", b"\x0c")), by=STRETCHED, pixels=GREY3(GREY // 2), levels=1)
write("grey12-scaled-sbit.png", png(G12 * 16 + G12 // 256, 16, 0, chunk(b"sBIT", b"\x0c")), by=HIGH, pixels=GREY3(GREY), levels=1)
write("grey16-dim-sbit.png", png(GREY.astype(int) // 8 * 257, 16, 0, chunk(b"sBIT", b"\x10")), by=HIGH, pixels=GREY3(GREY // 8), levels=1)
write("rgb10-in-16-sbit.png", png(RGB.astype(int) * 1023 // 255, 16, 2, chunk(b"sBIT", b"\x0a" * 3)),
      by="10 bits in 16 are stretched; nearly black in Pillow", pixels=RGB, levels=1)
write("grey8-in-16.png", png(GREY, 16, 0))
still = png(RGB, 8, 2)
control = lambda n, w=W, h=H, x=0, y=0: chunk(b"fcTL", struct.pack(">IIIIIHHBB", n, w, h, x, y, 1, 10, 0, 0))
frame = lambda n, samples: chunk(b"fdAT", struct.pack(">I", n) + zlib.compress(png_rows(samples, 8)))
write("apng.png", png(RGB, 8, 2, chunk(b"acTL", struct.pack(">II", 2, 0)) + control(0), control(1) + frame(2, 255 - RGB)))
write("apng-default-image-apart.png", png(RGB, 8, 2, chunk(b"acTL", struct.pack(">II", 2, 0)), control(0) + frame(1, 255 - RGB) + control(2) + frame(3, RGB)))
for type, word in ((SHORT, "short"), (LONG, "long")):
    write(f"exif-{word}.png", png(RGB, 8, 2, chunk(b"eXIf", exif(6, type))))
write("exif-after-pixels.png", png(RGB, 8, 2, after=chunk(b"eXIf", exif(6, SHORT, "<"))))
write("exif-with-prefix.png", png(RGB, 8, 2, chunk(b"eXIf", E + exif(6))))
text = lambda data: chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + data)
squeezed = lambda data: chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(data))
write("xmp-attribute.png", png(RGB, 8, 2, text(ATTRIBUTE % 6)))
write("xmp-element.png", png(RGB, 8, 2, text(ELEMENT % 8)))
write("xmp-compressed.png", png(RGB, 8, 2, squeezed(ATTRIBUTE % 6)))
write("xmp-after-pixels.png", png(RGB, 8, 2, after=text(ATTRIBUTE % 6)))
write("exif-1-and-xmp-6.png", png(RGB, 8, 2, chunk(b"eXIf", exif(1)) + text(ATTRIBUTE % 6)))
profile = lambda data: b"\nexif\n%8d\n" % len(data) + data.hex().encode() + b"\n"
write("raw-profile-exif.png", png(RGB, 8, 2, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile(E + exif(6))))))
write("raw-profile-exif-text.png", png(RGB, 8, 2, chunk(b"tEXt", b"Raw profile type exif\0" + profile(E + exif(8)))))
write("cut.png", png(RGB, 8, 2)[:300], error="truncated: ")

# --- GIF -------------------------------------------------------------------------------------------
def lzw(samples, bits):
    """GIF's LZW that never repeats itself: a clear code before the codes would grow."""
    size, code, filled, data = bits + 1, 0, 0, bytearray()
    codes = []
    flat = [int(v) for v in np.asarray(samples).ravel()]
    for i, value in enumerate(flat):
        if i % ((1 << bits) - 2) == 0:
            codes.append(1 << bits)
        codes.append(value)
    codes.append((1 << bits) + 1)
    for value in codes:
        code |= value << filled
        filled += size
        while filled >= 8:
            data.append(code & 255)
            code >>= 8
            filled -= 8
    if filled:
        data.append(code & 255)
    blocks = b"".join(bytes([len(data[i : i + 255])]) + bytes(data[i : i + 255]) for i in range(0, len(data), 255))
    return bytes([bits]) + blocks + b"\0"


def gif_palette(bits, table=None):
    table = PALETTE if table is None else table
    return table[: 1 << bits].astype("u1").tobytes()


def gif_frame(samples, bits=4, x=0, y=0, local=None, interlaced=False, transparent=None, disposal=0, local_bits=None):
    samples = np.asarray(samples)
    height, width = samples.shape
    if interlaced:
        order = [y for start, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for y in range(start, height, step)]
        samples = samples[order]
    local_bits = local_bits or bits
    flags = (0x80 | local_bits - 1 if local is not None else 0) | (0x40 if interlaced else 0)
    control = b""
    if transparent is not None or disposal:
        control = b"!\xf9\x04" + bytes([disposal << 2 | int(transparent is not None), 0, 0, transparent or 0, 0])
    body = b"," + struct.pack("<HHHHB", x, y, width, height, flags)
    if local is not None:
        body += gif_palette(local_bits, local)
    return control + body + lzw(samples, max(bits, 2))


def gif(*frames, screen=(W, H), bits=4, table=True, background=0, version=b"GIF89a", end=b";", before=b""):
    flags = (0x80 | bits - 1 if table is not False else 0) | 0x70
    palette = gif_palette(bits, None if table is True else table) if table is not False else b""
    return version + struct.pack("<HHBBB", *screen, flags, background, 0) + palette + before + b"".join(frames) + end


I16 = INDEX % 16
write("plain.gif", gif(gif_frame(I16)))
write("gif87.gif", gif(gif_frame(I16), version=b"GIF87a"))
for bits in (1, 2, 3, 5, 8):
    write(f"bits{bits}.gif", gif(gif_frame(INDEX % (1 << bits), bits), bits=bits))
for height in (1, 2, 3, 4, 5, 8, 9, 14):
    write(f"interlaced-{height}.gif", gif(gif_frame(I16[:height], interlaced=True), screen=(W, height)))
for word, screen in (("smaller", (11, 9)), ("zero", (0, 0)), ("narrower", (11, 30)), ("lower", (40, 5)), ("larger", (40, 30))):
    write(f"screen-{word}.gif", gif(gif_frame(I16), screen=screen, background=5))
    write(f"screen-{word}-transparent.gif", gif(gif_frame(I16, transparent=3), screen=screen, background=5))
write("offset.gif", gif(gif_frame(I16, x=7, y=3), screen=(40, 30), background=5))
write("offset-beyond-screen.gif", gif(gif_frame(I16, x=30, y=20), screen=(40, 30), background=5))
write("offset-local-palette.gif", gif(gif_frame(I16, x=7, y=3, local=PALETTE[::-1]), screen=(40, 30), background=5))
write("offset-interlaced.gif", gif(gif_frame(I16, x=7, y=3, interlaced=True), screen=(40, 30)))
write("transparent.gif", gif(gif_frame(I16, transparent=3)))
write("transparent-beyond-palette.gif", gif(gif_frame(I16, x=2, transparent=200), screen=(40, 30)))
write("local-palette.gif", gif(gif_frame(I16, local=PALETTE[::-1])))
write("only-local-palette.gif", gif(gif_frame(I16, local=PALETTE[::-1]), table=False))
write("no-palette.gif", gif(gif_frame(I16), table=False))
write("no-palette-offset.gif", gif(gif_frame(I16 + 3 & 15, x=3, y=3), table=False, screen=(40, 30)))
write("palette-too-short.gif", gif(gif_frame(INDEX, 8), bits=2))
write("local-palette-too-short.gif", gif(gif_frame(INDEX, 8, local=PALETTE[::-1], local_bits=3)))
write("grey-palette.gif", gif(gif_frame(INDEX, 8), bits=8, table=np.repeat(np.arange(256)[:, None], 3, 1)))
write("grey-palette-short.gif", gif(gif_frame(INDEX, 8), bits=3, table=np.repeat(np.arange(256)[:, None], 3, 1)))
for disposal in (1, 2, 3):
    write(f"two-frames-disposal{disposal}.gif", gif(gif_frame(I16, disposal=disposal), gif_frame(15 - I16)))
write("two-frames-offset.gif", gif(gif_frame(I16[:6, :6], x=4, y=4), gif_frame(15 - I16)))
write("second-frame-larger.gif", gif(gif_frame(I16[:6, :6]), gif_frame(15 - I16), screen=(6, 6)))
write("comment-first.gif", gif(gif_frame(I16), before=b"!\xfe\x05hello\0!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0!\x01\x0c" + bytes(12) + b"\x02hi\0"))
write("no-trailer.gif", gif(gif_frame(I16), end=b""))
write("bytes-after-end.gif", gif(gif_frame(I16)) + b"more")
write("too-few-pixels.gif", gif(gif_frame(I16).replace(lzw(I16, 4), lzw(I16[:5], 4))), error="damaged GIF: ")
write("cut.gif", gif(gif_frame(I16))[:150], error="truncated: ")
write("no-frame.gif", gif(), error="damaged GIF")
write("empty-frame.gif", gif(gif_frame(I16[:0, :0].reshape(0, 0))), error="damaged")

# --- BMP -------------------------------------------------------------------------------------------
def bmp(info, rows, palette=b"", size=None):
    offset = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + info + palette + rows


def info_header(bits, compression=0, height=H, colours=0, size=40, masks=b"", length=0, width=W):
    head = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, length, 2835, 2835, colours, 0)
    return head + masks.ljust(max(size - 40, len(masks)), b"\0")


def bmp_rows(data_rows, top_down=False):
    rows = [row + b"\0" * (-len(row) % 4) for row in data_rows]
    return b"".join(rows if top_down else rows[::-1])


BGR = RGB[:, :, ::-1]
quads = lambda count: np.c_[PALETTE[:count, ::-1], np.zeros(count, int)].astype("u1").tobytes()
triples = lambda count: PALETTE[:count, ::-1].astype("u1").tobytes()
for bits in (1, 4, 8):
    rows = [packed(row[None], bits) for row in INDEX % (1 << bits)]
    write(f"palette{bits}.bmp", bmp(info_header(bits), bmp_rows(rows), quads(1 << bits)))
    write(f"palette{bits}-top-down.bmp", bmp(info_header(bits, height=-H), bmp_rows(rows, True), quads(1 << bits)))
    core = struct.pack("<IHHHH", 12, W, H, 1, bits)
    write(f"os2-palette{bits}.bmp", bmp(core, bmp_rows(rows), triples(1 << bits)))
rows = [packed(row[None], 8) for row in INDEX % 20]
write("palette8-20-colours.bmp", bmp(info_header(8, colours=20), bmp_rows(rows), quads(20)))
rows = [packed(row[None], 8) for row in INDEX]
write("palette8-index-beyond-colours.bmp", bmp(info_header(8, colours=20), bmp_rows(rows), quads(20)))
write("palette8-grey.bmp", bmp(info_header(8), bmp_rows(rows), np.repeat(np.arange(256)[:, None], 4, 1).astype("u1").tobytes()))
write("palette1-black-white.bmp", bmp(info_header(1), bmp_rows([packed(row[None], 1) for row in GREY >> 7]), bytes([0, 0, 0, 0, 255, 255, 255, 0])))
write("palette1-white-black.bmp", bmp(info_header(1), bmp_rows([packed(row[None], 1) for row in GREY >> 7]), bytes([255, 255, 255, 0, 0, 0, 0, 0])))
write("palette2.bmp", bmp(info_header(2), bmp_rows([packed(row[None], 2) for row in INDEX % 4]), quads(4)),
      by="Windows CE's 2-bit kind; Pillow refuses it", pixels=PALETTE[INDEX % 4])
pixels24 = [row.tobytes() for row in BGR]
write("rgb24.bmp", bmp(info_header(24), bmp_rows(pixels24)))
write("rgb24-top-down.bmp", bmp(info_header(24, height=-H), bmp_rows(pixels24, True)))
write("rgb24-with-palette.bmp", bmp(info_header(24, colours=16), bmp_rows(pixels24), quads(16)))
write("os2-rgb24.bmp", bmp(struct.pack("<IHHHH", 12, W, H, 1, 24), bmp_rows(pixels24)))
write("os2v2-rgb24.bmp", bmp(info_header(24, size=64), bmp_rows(pixels24)))
write("os2v2-short-rgb24.bmp", bmp(struct.pack("<IiiHH", 16, W, H, 1, 24), bmp_rows(pixels24)),
      by="the OS/2 2 header may end early; Pillow refuses it", pixels=RGB)
bgrx = np.dstack([BGR, ALPHA])
pixels32 = [row.tobytes() for row in bgrx]
write("rgb32.bmp", bmp(info_header(32), bmp_rows(pixels32)))
write("rgb32-top-down.bmp", bmp(info_header(32, height=-H), bmp_rows(pixels32, True)))
MASKS = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
write("rgb32-bitfields.bmp", bmp(info_header(32, 3) + MASKS, bmp_rows(pixels32)))
write("rgb32-bitfields-v4.bmp", bmp(info_header(32, 3, size=108, masks=MASKS + struct.pack("<I", 0xFF000000)), bmp_rows(pixels32)))
write("rgb32-bitfields-v5.bmp", bmp(info_header(32, 3, size=124, masks=MASKS + struct.pack("<I", 0xFF000000)), bmp_rows(pixels32)))
write("rgb32-v3-alpha.bmp", bmp(info_header(32, 3, size=56, masks=MASKS + struct.pack("<I", 0xFF000000)), bmp_rows(pixels32)))
turned = struct.pack("<III", 0xFF, 0xFF00, 0xFF0000)
write("rgb32-bitfields-bgr.bmp", bmp(info_header(32, 3) + turned, bmp_rows([np.dstack([RGB, ALPHA])[y].tobytes() for y in range(H)])), by="its masks; Pillow refuses them", pixels=RGB)
high = struct.pack("<III", 0xFF000000, 0xFF0000, 0xFF00)
write("rgb32-bitfields-high.bmp", bmp(info_header(32, 3) + high, bmp_rows([np.dstack([ALPHA, BGR])[y].tobytes() for y in range(H)])))
ten = struct.pack("<III", 0x3FF00000, 0xFFC00, 0x3FF)
wide = (RGB[:, :, 0].astype(np.uint32) * 1023 // 255 << 20 | RGB[:, :, 1].astype(np.uint32) * 1023 // 255 << 10 | RGB[:, :, 2].astype(np.uint32) * 1023 // 255).astype("<u4")
write("rgb32-bitfields-ten-bits.bmp", bmp(info_header(32, 3) + ten, bmp_rows([row.tobytes() for row in wide])), levels=1,
      by="its masks say 10 bits each; Pillow refuses them", pixels=RGB)
five = lambda r, g, b: (RGB[:, :, 0].astype(int) >> 8 - r) << g + b | (RGB[:, :, 1].astype(int) >> 8 - g) << b | RGB[:, :, 2].astype(int) >> 8 - b
rows555 = [row.astype("<u2").tobytes() for row in five(5, 5, 5)]
rows565 = [row.astype("<u2").tobytes() for row in five(5, 6, 5)]
write("rgb16-555.bmp", bmp(info_header(16), bmp_rows(rows555)))
write("rgb16-555-bitfields.bmp", bmp(info_header(16, 3) + struct.pack("<III", 0x7C00, 0x3E0, 0x1F), bmp_rows(rows555)))
write("rgb16-565-bitfields.bmp", bmp(info_header(16, 3) + struct.pack("<III", 0xF800, 0x7E0, 0x1F), bmp_rows(rows565)))
rows444 = [row.astype("<u2").tobytes() for row in five(4, 4, 4)]
write("rgb16-444-bitfields.bmp", bmp(info_header(16, 3) + struct.pack("<III", 0xF00, 0xF0, 0xF), bmp_rows(rows444)), levels=1,
      by="its masks say 4 bits each; Pillow refuses them", pixels=(RGB >> 4) * 17)
write("rgb32-alpha-bitfields.bmp", bmp(info_header(32, 6) + MASKS + struct.pack("<I", 0xFF000000), bmp_rows(pixels32)),
      error="unsupported BMP: bit fields with alpha")


def rle8(samples, absolute=False):
    out = b""
    for row in np.asarray(samples)[::-1]:
        x = 0
        while x < len(row):
            n = 1
            while x + n < len(row) and row[x + n] == row[x] and n < 255:
                n += 1
            if absolute and x + 5 <= len(row):
                out += bytes([0, 5]) + bytes(int(v) for v in row[x : x + 5]) + b"\0"
                x += 5
                continue
            out += bytes([n, int(row[x])])
            x += n
        out += b"\0\0"
    return out[:-2] + b"\0\1"


runs = (INDEX // 9) % 16
write("rle8.bmp", bmp(info_header(8, 1, length=0), rle8(runs), quads(256)))
write("rle8-absolute.bmp", bmp(info_header(8, 1), rle8(runs, True), quads(256)))
skipped, ended = np.zeros((2, H, W, 3), int)
skipped[H - 1, :4], skipped[H - 3, 7:13], ended[H - 1, :4], ended[H - 2, :3] = PALETTE[[5, 7, 5, 9]]
write("rle8-delta.bmp", bmp(info_header(8, 1), bytes([4, 5, 0, 2, 3, 2, 6, 7, 0, 1]), quads(256)),
      by="what is passed over is black; Pillow refuses it", pixels=skipped)
write("rle8-ends-early.bmp", bmp(info_header(8, 1), bytes([4, 5, 0, 0, 3, 9, 0, 1]), quads(256)),
      by="what is passed over is black; Pillow refuses it", pixels=ended)


def rle4(samples):
    out = b""
    for row in np.asarray(samples)[::-1]:
        x = 0
        while x < len(row):
            n = 1
            while x + n < len(row) and row[x + n] == row[x]:
                n += 1
            if n == 1 and x + 6 <= len(row):
                part = [int(v) for v in row[x : x + 6]]
                out += bytes([0, 6, part[0] << 4 | part[1], part[2] << 4 | part[3], part[4] << 4 | part[5], 0])
                x += 6
                continue
            out += bytes([n, int(row[x]) * 17])
            x += n
        out += b"\0\0"
    return out[:-2] + b"\0\1"


write("rle4.bmp", bmp(info_header(4, 2), rle4(runs), quads(16)))
write("embedded-jpeg.bmp", bmp(info_header(0, 4), PLAIN_JPEG), error="unsupported BMP: ")
write("cut.bmp", bmp(info_header(24), bmp_rows(pixels24))[:300], error="truncated: ")

# --- WebP ------------------------------------------------------------------------------------------
picture, transparent = Image.fromarray(RGB), Image.fromarray(RGBA)
write("lossless.webp", encoded(picture, "WEBP", lossless=True))
write("lossless-alpha.webp", encoded(transparent, "WEBP", lossless=True, exact=True))
write("lossless-alpha-cleaned.webp", encoded(transparent, "WEBP", lossless=True))
write("lossless-grey.webp", encoded(Image.fromarray(GREY), "WEBP", lossless=True))
write("lossless-palette.webp", encoded(Image.fromarray(np.uint8(PALETTE[INDEX % 5])), "WEBP", lossless=True))
write("lossy.webp", encoded(SOFT, "WEBP", quality=80))
write("lossy-alpha.webp", encoded(transparent, "WEBP", quality=80))
write("lossy-alpha-raw.webp", encoded(transparent, "WEBP", quality=80, alpha_quality=20))


def riff(*chunks):
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def animation(width, height, *frames, background=b"\xff\x80\x40\xff", flags=0b10):
    def frame(x, y, image, blend=False, dispose=False):
        data = encoded(image, "WEBP", lossless=True, exact=True)[12:]
        if data[:4] == b"VP8X":
            data = data[18:]
        head = struct.pack("<I", x // 2)[:3] + struct.pack("<I", y // 2)[:3]
        head += struct.pack("<I", image.width - 1)[:3] + struct.pack("<I", image.height - 1)[:3] + b"\x64\0\0"
        return b"ANMF", head + bytes([(0 if blend else 2) | int(dispose)]) + data

    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return riff((b"VP8X", bytes([flags, 0, 0, 0]) + canvas), (b"ANIM", background + b"\0\0"), *(frame(*f) for f in frames))


second = Image.fromarray(255 - RGB)
write("animated.webp", animation(W, H, (0, 0, picture), (0, 0, second)))
write("animated-alpha.webp", animation(W, H, (0, 0, transparent), (0, 0, second), flags=0b10010))
write("animated-alpha-blended.webp", animation(W, H, (0, 0, transparent, True), (0, 0, second), flags=0b10010))
write("animated-offset.webp", animation(40, 30, (6, 4, picture), (0, 0, second)))
write("animated-offset-alpha.webp", animation(40, 30, (6, 4, transparent, True), (0, 0, second), flags=0b10010))
write("animated-frame-beyond-canvas.webp", animation(20, 10, (6, 4, picture)), error="damaged WebP")
still = encoded(picture, "WEBP", lossless=True)[12:]
vp8l = still[8 : 8 + struct.unpack("<I", still[4:8])[0]]
extended = lambda flags: (b"VP8X", bytes([flags, 0, 0, 0]) + struct.pack("<I", W - 1)[:3] + struct.pack("<I", H - 1)[:3])
write("exif-short.webp", riff(extended(8), (b"VP8L", vp8l), (b"EXIF", exif(6))))
write("exif-long.webp", riff(extended(8), (b"VP8L", vp8l), (b"EXIF", exif(6, LONG, "<"))))
write("exif-with-prefix.webp", riff(extended(8), (b"VP8L", vp8l), (b"EXIF", E + exif(6))))
write("exif-before-pixels.webp", riff(extended(8), (b"EXIF", exif(6)), (b"VP8L", vp8l)))
write("exif-without-flag.webp", riff(extended(0), (b"VP8L", vp8l), (b"EXIF", exif(6))))
write("xmp-attribute.webp", riff(extended(4), (b"VP8L", vp8l), (b"XMP ", ATTRIBUTE % 6)))
write("xmp-element.webp", riff(extended(4), (b"VP8L", vp8l), (b"XMP ", ELEMENT % 8)))
write("exif-1-and-xmp-6.webp", riff(extended(12), (b"VP8L", vp8l), (b"EXIF", exif(1)), (b"XMP ", ATTRIBUTE % 6)))
write("bytes-after-end.webp", encoded(picture, "WEBP", lossless=True) + b"more")
write("cut.webp", encoded(picture, "WEBP", lossless=True)[:200], error="truncated: ")

# --- JPEG ------------------------------------------------------------------------------------------
ppm = encoded(SOFT, "PPM")
for word, factors in (("411", "4x1,1x1,1x1"), ("440", "1x2,1x1,1x1"), ("410", "4x2,1x1,1x1"), ("441", "1x4,1x1,1x1")):
    write(f"{word}.jpg", run(["cjpeg", "-quality", "90", "-sample", factors], ppm), levels=5 if word in ("410", "441") else 3)
write("grey.jpg", run(["cjpeg", "-grayscale", "-quality", "90"], ppm), levels=3)
write("grey-sampled-2x2.jpg", run(["cjpeg", "-grayscale", "-sample", "2x2", "-quality", "90"], ppm), levels=3)
write("progressive.jpg", run(["cjpeg", "-progressive", "-quality", "90"], ppm), levels=3)
write("restart.jpg", run(["cjpeg", "-restart", "1", "-quality", "90"], ppm), levels=3)
write("restart-progressive.jpg", run(["cjpeg", "-restart", "2B", "-progressive", "-quality", "90"], ppm), levels=3)
write("tables-of-16-bits.jpg", run(["cjpeg", "-quality", "2"], ppm), levels=3)
write("non-interleaved.jpg", run(["jpegtran", "-scans", "/dev/stdin", str(HERE / "411.jpg")], b"0;\n1;\n2;\n"), levels=3)
write("arithmetic.jpg", run(["cjpeg", "-arithmetic", "-quality", "90"], ppm), error="unsupported JPEG: arithmetic coding")
write("arithmetic-progressive.jpg", run(["cjpeg", "-arithmetic", "-progressive", "-quality", "90"], ppm), error="unsupported JPEG: arithmetic coding")
write("lossless.jpg", imagecodecs.ljpeg_encode(np.asarray(SOFT.convert("L"))))
write("lossless-rgb.jpg", imagecodecs.jpeg8_encode(RGB_SOFT, lossless=True))
write("lossless-12-bits.jpg", imagecodecs.ljpeg_encode(RGB_SOFT[:, :, 0].astype(np.uint16) * 16, bitspersample=12), error="unsupported JPEG: ")
write("lossless-16-bits.jpg", imagecodecs.ljpeg_encode(RGB_SOFT[:, :, 0].astype(np.uint16) * 257, bitspersample=16), error="unsupported JPEG: ")
write("12-bits.jpg", imagecodecs.jpeg8_encode(RGB_SOFT.astype(np.uint16) * 16, bitspersample=12), error="unsupported JPEG: 12 bits")
write("12-bits-grey.jpg", imagecodecs.jpeg8_encode(RGB_SOFT[:, :, 0].astype(np.uint16) * 16, bitspersample=12), error="unsupported JPEG: 12 bits")
write("jpeg-ls.jpg", imagecodecs.jpegls_encode(RGB_SOFT), error="unsupported JPEG: JPEG-LS")
write("jpeg-2000.jpg", encoded(SOFT, "JPEG2000"), error="a picture in JPEG 2000")
write("jpeg-2000-stream.jpg", encoded(SOFT, "JPEG2000", no_jp2=True), error="a picture in JPEG 2000")
write("jpeg-xr.jpg", imagecodecs.jpegxr_encode(RGB_SOFT), error="a picture in JPEG XR")
frame_at = PLAIN_JPEG.index(b"\xff\xc0")
write("hierarchical.jpg", PLAIN_JPEG[:frame_at] + b"\xff\xde" + PLAIN_JPEG[frame_at + 2 : frame_at + 19] + PLAIN_JPEG[frame_at:], error="unsupported JPEG: hierarchical")
write("differential.jpg", PLAIN_JPEG[:frame_at] + b"\xff\xc5" + PLAIN_JPEG[frame_at + 2 :], error="unsupported JPEG: hierarchical")
write("two-components.jpg", PLAIN_JPEG[:frame_at] + b"\xff\xc0\x00\x0e\x08\x00\x20\x00\x28\x02\x01\x11\x00\x02\x11\x01" + PLAIN_JPEG[frame_at + 19 :], error="unsupported JPEG: ")
write("no-height.jpg", PLAIN_JPEG[: frame_at + 5] + b"\0\0" + PLAIN_JPEG[frame_at + 7 :], error="unsupported JPEG: ")
write("leading-fill-bytes.jpg", PLAIN_JPEG[:2] + b"\xff\xff\xff" + PLAIN_JPEG[2:], levels=3)
write("bytes-after-end.jpg", PLAIN_JPEG + b"more", levels=3)

# --- what Pillow says ------------------------------------------------------------------------------
rows = {}
for path in sorted(HERE.iterdir()):
    if path.is_dir():
        continue
    name, row = path.name, {}
    try:
        with Image.open(path) as image:
            pillow = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            row["pillow"] = "reads"
    except Exception as failure:  # whatever it says, it doesn't read the file
        pillow, row["pillow"] = None, "refuses"
    if name in ERRORS:
        row["error"] = ERRORS[name]
    else:
        by, pixels = OTHERS.get(name, ("Pillow", pillow))
        if pixels is None:
            print(f"{name}: Pillow refuses it, and nobody else says what is expected")
            continue
        row |= {"by": by, "size": [pixels.shape[1], pixels.shape[0]], "sha256": hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()}
        if name in LEVELS:
            row["levels"] = LEVELS[name]
            Image.fromarray(pixels).save(HERE / "expected" / f"{name}.png", optimize=True)
    rows[name] = row
(HERE.parent / "kinds.json").write_text("{\n" + ",\n".join(f'"{name}": {json.dumps(row)}' for name, row in rows.items()) + "\n}\n")
