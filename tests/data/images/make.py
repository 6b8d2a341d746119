"""Makes the picture fixtures of this folder and what Pillow makes of each of them.

Run from this folder with Pillow 12 (13 changed the order of the resampling passes), numpy, torchvision
and timm: `python make.py`. Everything is synthetic, so nothing here carries a licence of its own.

  decode.json       per picture: width, height, SHA-256 of Pillow's upright RGB bytes
  expected/*.png    the same pixels where decoders may differ by a few levels
  resize.json       SHA-256 of `Image.resize` on the picture of `pattern`, which the tests draw again
  preprocess.json   SHA-256 of what Keras' loader and timm's evaluation transform cut from `pattern`
"""

import hashlib
import io
import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps

assert int(PIL.__version__.split(".")[0]) < 13, "Pillow 13 changed the order of the resampling passes"
HERE = Path(__file__).parent
(HERE / "expected").mkdir(exist_ok=True)


def sha(array):
    return hashlib.sha256(np.ascontiguousarray(array, np.uint8).tobytes()).hexdigest()


def pattern(width, height):
    """Squares of hash noise (clipping, worst case) among gradients; the tests have the same formula."""
    x = np.arange(width, dtype=np.uint32)[None, :, None]
    y = np.arange(height, dtype=np.uint32)[:, None, None]
    c = np.arange(3, dtype=np.uint32)[None, None, :]
    v = x * np.uint32(73856093) ^ y * np.uint32(19349663) ^ c * np.uint32(83492791)
    v = (v ^ v >> np.uint32(13)) * np.uint32(0x5BD1E995)
    noise = v >> np.uint32(24)
    gradient = x * np.uint32(3) + y * np.uint32(2) + c * np.uint32(85) & np.uint32(255)
    return np.where((x // 16 + y // 16) % 2 == 0, noise, gradient).astype(np.uint8)


def scene(width, height):
    """A soft, colourful picture with a few hard edges: what a JPEG is made for."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    r = 128 + 100 * np.sin(x / 9) * np.cos(y / 13)
    g = 255 * x / (width - 1) * 0.7 + 40 * np.sin(y / 5)
    b = 255 * y / (height - 1)
    picture = np.stack([r, g, b], -1)
    picture[height // 4 : height // 2, width // 8 : width // 3] = [230, 30, 40]
    picture[(x - width * 0.7) ** 2 + (y - height * 0.6) ** 2 < (height / 5) ** 2] = [20, 60, 220]
    return np.clip(picture, 0, 255).astype(np.uint8)


W, H = 61, 45  # odd: no multiple of a block, of an MCU or of a subsampled pair
RGB = Image.fromarray(scene(W, H))
SMALL = Image.fromarray(scene(23, 14))
GREY = RGB.convert("L")
RAMP = Image.fromarray(np.tile(np.linspace(0, 255, W).astype(np.uint8), (H, 1)))
RGBA = RGB.copy()
RGBA.putalpha(RAMP)
LA = GREY.copy()
LA.putalpha(RAMP)


def write(name, data):
    (HERE / name).write_bytes(data)


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def save(name, image, **options):
    image.save(HERE / name, **options)


def segments(jpeg):
    """(marker, bytes of the whole segment) up to SOS; then (None, entropy-coded data and the rest)."""
    at = 2
    while True:
        marker, length = jpeg[at + 1], struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        yield marker, jpeg[at : at + 2 + length]
        at += 2 + length
        if marker == 0xDA:
            yield None, jpeg[at:]
            return


def with_adobe_transform(jpeg, transform):
    """Changes what the Adobe segment says of the colours; `None` takes the segment out."""
    out = b"\xff\xd8"
    for marker, data in segments(jpeg):
        if marker == 0xEE:
            data = b"" if transform is None else data[:-1] + bytes([transform])
        out += data
    return out


def non_interleaved(image, sampling, restart=None, joined_chroma=False):
    """A baseline JPEG with a scan per component, put together from three grey JPEGs."""
    h, v = sampling
    width, height = image.size
    small = (-(-width // h), -(-height // v))
    planes = image.convert("YCbCr").split()
    parts = []
    for index, plane in enumerate(planes):
        if index:
            plane = plane.resize(small, Image.BOX)
        options = {"restart_marker_blocks": restart} if restart else {}
        parts.append(list(segments(encoded(plane, "JPEG", quality=90, **options))))
    out = b"\xff\xd8"
    for marker, data in parts[0]:
        if marker in (0xDB, 0xC4, 0xDD):
            out += data
    frame = struct.pack(">BHHB", 8, height, width, 3) + bytes([1, h << 4 | v, 0, 2, 0x11, 0, 3, 0x11, 0])
    out += b"\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame
    for index, part in enumerate(parts):
        out += b"\xff\xda\x00\x08\x01" + bytes([index + 1, 0, 0, 63, 0])
        out += part[-1][1].removesuffix(b"\xff\xd9")
    return out + b"\xff\xd9"


def exif(orientation, thumbnail=None):
    """An EXIF block; Pillow can't write the thumbnail directory, so it is spelled out here."""
    head = b"Exif\0\0MM\0*\0\0\0\x08" + b"\0\x01" + struct.pack(">HHIHH", 0x112, 3, 1, orientation, 0)
    if not thumbnail:
        return head + b"\0\0\0\0"
    first = 8 + 2 + 12 + 4
    entries = [(0x103, 3, 1, 6 << 16), (0x201, 4, 1, first + 2 + 36 + 4), (0x202, 4, 1, len(thumbnail))]
    second = b"\0\x03" + b"".join(struct.pack(">HHII", *entry) for entry in entries) + b"\0\0\0\0"
    return head + struct.pack(">I", first) + second + thumbnail


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_16(samples, colour_type):
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows, 9)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# --- JPEG ------------------------------------------------------------------------------------------
for name, subsampling in [("444", 0), ("422", 1), ("420", 2)]:
    save(f"rgb-{name}.jpg", RGB, quality=90, subsampling=subsampling)
save("progressive-420.jpg", RGB, quality=90, subsampling=2, progressive=True)
save("progressive-444.jpg", RGB, quality=90, subsampling=0, progressive=True)
save("grey.jpg", GREY, quality=90)
save("restart.jpg", RGB, quality=90, subsampling=2, restart_marker_blocks=2)
save("adobe-rgb.jpg", RGB, quality=90, keep_rgb=True)
save("wide-420.jpg", Image.fromarray(scene(200, 9)), quality=90, subsampling=2)
save("tiny-1x1.jpg", RGB.crop((20, 20, 21, 21)), quality=90)
write("extension-lies.png", encoded(SMALL, "JPEG", quality=90, subsampling=0))
black = Image.fromarray(np.full((H, W), 40, np.uint8))
cmyk = Image.merge("CMYK", [ImageOps.invert(c) for c in RGB.split()] + [black])
save("cmyk-adobe.jpg", cmyk, quality=90)
write("cmyk-plain.jpg", with_adobe_transform(encoded(cmyk, "JPEG", quality=90), None))
ycck = Image.merge("CMYK", [ImageOps.invert(c) for c in RGB.convert("YCbCr").split()] + [black])
write("ycck-adobe.jpg", with_adobe_transform(encoded(ycck, "JPEG", quality=90), 2))
write("non-interleaved-444.jpg", non_interleaved(RGB, (1, 1)))
write("non-interleaved-420.jpg", non_interleaved(RGB, (2, 2)))
write("non-interleaved-422.jpg", non_interleaved(RGB, (2, 1)))
for orientation in range(1, 9):
    save(f"orientation-{orientation}.jpg", SMALL, quality=90, subsampling=0, exif=exif(orientation))
thumbnail = encoded(RGB.resize((16, 12)), "JPEG")
save("thumbnail.jpg", RGB, quality=90, subsampling=2, exif=exif(6, thumbnail))
write("trailing.jpg", encoded(RGB, "JPEG", quality=90, subsampling=2) + bytes(range(256)) * 4)
save("two-in-one.mpo", RGB, format="MPO", save_all=True, append_images=[RGB.transpose(Image.ROTATE_180)], quality=90)

if shutil.which("cjpeg"):  # of libjpeg-turbo; without it the two pictures stay as they are
    for name, factors in [("chroma-finest", "1x1,2x2,2x2"), ("thirds", "3x1,1x1,1x1")]:
        command = ["cjpeg", "-quality", "90", "-sample", factors]
        write(f"{name}.jpg", subprocess.run(command, input=encoded(RGB, "PPM"), stdout=subprocess.PIPE, check=True).stdout)

# --- lossless --------------------------------------------------------------------------------------
for name, image in [("rgb", RGB), ("rgba", RGBA), ("grey", GREY), ("grey-alpha", LA)]:
    save(f"{name}.png", image, optimize=True)
save("palette.png", RGB.quantize(32))
save("palette-alpha.png", RGB.quantize(32), transparency=3)
save("bilevel.png", GREY.convert("1"))
save("orientation-6-before-pixels.png", SMALL, exif=exif(6)[6:])
small = encoded(SMALL, "PNG")
write("orientation-6-after-pixels.png", small[:-12] + png_chunk(b"eXIf", exif(6)[6:]) + small[-12:])
save("extension-lies.jpg", SMALL, format="PNG")
deep = scene(W, H).astype(np.uint16) * 256 + (np.arange(W, dtype=np.uint16) * 4)[None, :, None]
write("rgb-16.png", png_16(deep, 2))
write("grey-16.png", png_16(deep[:, :, 0], 0))
save("rgb.bmp", RGB)
save("palette.bmp", RGB.quantize(16))
save("grey.bmp", GREY)
save("rgba.bmp", RGBA)
save("palette.gif", RGB.quantize(32))
save("animated.gif", RGB.quantize(16), save_all=True, append_images=[RGB.rotate(180).quantize(16)], duration=50)
save("transparent.gif", RGB.quantize(16), transparency=3)
for name, compression in [("raw", None), ("lzw", "tiff_lzw"), ("deflate", "tiff_adobe_deflate"), ("packbits", "packbits")]:
    save(f"rgb-{name}.tif", RGB, compression=compression)
save("grey.tif", GREY)
save("rgba.tif", RGBA, compression="tiff_lzw")
save("bilevel.tif", GREY.convert("1"))
save("bilevel-g4.tif", GREY.convert("1"), compression="group4")
save("cmyk.tif", cmyk, compression="tiff_lzw")
save("orientation-6.tif", SMALL, compression="tiff_lzw", tiffinfo={274: 6})
save("jpeg.tif", RGB, compression="jpeg", quality=90)
save("lossless.webp", RGB, lossless=True)
save("lossless-alpha.webp", RGBA, lossless=True, exact=True)
save("lossy.webp", RGB, quality=90)
save("orientation-8.webp", SMALL, lossless=True, exif=exif(8))
save("animated.webp", RGB, save_all=True, append_images=[RGB.rotate(180)], lossless=True)

# --- what Pillow says ------------------------------------------------------------------------------
expected = {}
for path in sorted(HERE.iterdir()):
    if path.suffix in (".py", ".json") or path.is_dir():
        continue
    with Image.open(path) as image:
        # JPEG leaves its roundings to the decoder.
        exact = image.format not in ("JPEG", "MPO") and path.name != "jpeg.tif"
        upright = ImageOps.exif_transpose(image)
        if path.name == "grey-16.png":  # convert("RGB") would clip 16-bit grey at 255
            upright = Image.fromarray((np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8))
        pixels = np.asarray(upright.convert("RGB"))
    expected[path.name] = {"width": pixels.shape[1], "height": pixels.shape[0], "sha256": sha(pixels), "exact": exact}
    if not exact:
        Image.fromarray(pixels).save(HERE / "expected" / f"{path.name}.png", optimize=True)
(HERE / "decode.json").write_text("{\n" + ",\n".join(f'"{name}": {json.dumps(row)}' for name, row in expected.items()) + "\n}\n")

# --- resampling ------------------------------------------------------------------------------------
SIZES = [
    ((64, 48), (299, 299)), ((64, 48), (64, 48)), ((64, 48), (64, 20)), ((64, 48), (20, 48)), ((64, 48), (1, 1)),
    ((1, 1), (7, 5)), ((1, 300), (299, 299)), ((300, 1), (299, 299)), ((2, 2), (299, 299)), ((3, 2), (2, 3)),
    ((299, 299), (299, 299)), ((500, 400), (299, 299)), ((400, 500), (299, 299)), ((333, 517), (150, 150)),
    ((1201, 37), (50, 60)), ((37, 1201), (60, 50)), ((1000, 10), (10, 1000)), ((10, 1000), (1000, 10)),
    ((640, 480), (444, 333)), ((479, 641), (333, 445)), ((97, 89), (98, 88)), ((97, 89), (96, 90)),
    ((256, 256), (128, 128)), ((128, 128), (256, 256)), ((1500, 1100), (31, 29)), ((700, 3), (3, 700)),
]
FILTERS = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR, "nearest": Image.NEAREST}
rows = []
for source, target in SIZES:
    image = Image.fromarray(pattern(*source))
    for name, resample in FILTERS.items():
        digest = sha(image.resize(target, resample))
        rows.append({"from": source, "to": target, "interpolation": name, "sha256": digest})
(HERE / "resize.json").write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")

# --- preprocessing ---------------------------------------------------------------------------------
from timm.data import create_transform  # noqa: E402  (slow to import; the rest works without)

rows = []
for source in [(500, 375), (375, 500), (299, 299), (333, 333), (641, 479), (479, 641), (1023, 77), (77, 1023), (50, 41), (334, 336), (5, 7), (1, 900)]:
    image = Image.fromarray(pattern(*source))
    for size in (299, 150, 71):  # 150 is even and 71 small: other roundings
        for name, resample in FILTERS.items():
            evaluation = create_transform(
                (3, size, size), is_training=False, interpolation=name, mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.8975
            )
            window = image
            for step in evaluation.transforms[:2]:  # Resize, CenterCrop
                window = step(window)
            row = {"from": source, "size": size, "interpolation": name}
            squashed = np.asarray(image.resize((size, size), resample))
            scaled = np.asarray(window).astype(np.float32) / np.float32(127.5) - np.float32(1)
            row |= {"keras": sha(squashed), "timm": sha(window)}
            row["timm_f32"] = hashlib.sha256(scaled.astype("<f4").tobytes()).hexdigest()
            rows.append(row)
(HERE / "preprocess.json").write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
