"""Writes recognition.json: small files of many kinds as Pillow writes them, in hexadecimal. Run: python3 recognition.py (Pillow 13)."""

import io
import json
from pathlib import Path

from PIL import Image

KINDS = {
    "JPEG": ["JPEG"], "PNG": ["PNG"], "WebP": ["WEBP"], "GIF": ["GIF"], "BMP": ["BMP"], "TIFF": ["TIFF"],
    "AVIF": ["AVIF"], "JPEG 2000": ["JPEG2000"], "ICO": ["ICO"], "PCX": ["PCX"], "PNM": ["PPM"], "TGA": ["TGA"],
    "SGI": ["SGI"], "DDS": ["DDS"], "EPS": ["EPS"], "ICNS": ["ICNS"], "QOI": ["QOI"],
}


def written(picture, **options):
    file = io.BytesIO()
    picture.save(file, **options)
    return file.getvalue()


picture = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
files = {kind: [written(picture, format=name) for name in names] for kind, names in KINDS.items()}
files["TIFF"].append(written(picture, format="TIFF", big_tiff=True))
files["JPEG 2000"].append(written(picture, format="JPEG2000", no_jp2=True))
files["PNM"] += [written(picture.convert(mode), format="PPM") for mode in ["1", "L", "F"]]
files["TGA"] += [written(picture.convert("P"), format="TGA", compression="tga_rle")]
# A DNG is a TIFF with this tag.
tags = Image.Exif()
tags[50706] = bytes([1, 4, 0, 0])
files["RAW"] = [written(picture, format="TIFF", exif=tags)]
target = Path(__file__).with_name("recognition.json")
# The first bytes tell; of TGA version 2 it is the last, and all of a TIFF for its directory may be anywhere.
whole = ["TGA", "TIFF", "RAW"]
short = {kind: [(file if kind in whole else file[:160]).hex() for file in all] for kind, all in files.items()}
target.write_text(json.dumps(short, indent=0) + "\n")
