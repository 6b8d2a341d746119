"""Make normalise.json: SHA-256 of what torchvision, timm and Keras give networks other than Xception's own weights.

    python normalise.py     # torchvision, timm, Keras 3 (any backend), Pillow < 13

Each row has the size of the `pattern` of make.py, the preprocessing as a model file of xcept holds it, and the digest
of the network's input [H,W,3], float32 in little-endian bytes.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import PIL
from keras.applications import imagenet_utils
from PIL import Image
from timm.data import create_transform
from torchvision import transforms

assert int(PIL.__version__.split(".")[0]) < 13, "Pillow 13 changed the order of the resampling passes"
HERE = Path(__file__).parent
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CAFFE = ([103.939, 116.779, 123.68], [255.0] * 3)
FILTERS = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR, "nearest": Image.NEAREST}


def pattern(width, height):
    """As in make.py."""
    x = np.arange(width, dtype=np.uint32)[None, :, None]
    y = np.arange(height, dtype=np.uint32)[:, None, None]
    c = np.arange(3, dtype=np.uint32)[None, None, :]
    v = x * np.uint32(73856093) ^ y * np.uint32(19349663) ^ c * np.uint32(83492791)
    v = (v ^ v >> np.uint32(13)) * np.uint32(0x5BD1E995)
    noise = v >> np.uint32(24)
    gradient = x * np.uint32(3) + y * np.uint32(2) + c * np.uint32(85) & np.uint32(255)
    return np.where((x // 16 + y // 16) % 2 == 0, noise, gradient).astype(np.uint8)


def row(source, resize, size, interpolation, mean, std, channels, seen):
    digest = hashlib.sha256(np.ascontiguousarray(seen, "<f4").tobytes()).hexdigest()
    normalisation = {"mean": mean, "std": std, "channels": channels}
    preprocessing = {"resize": resize, "interpolation": interpolation, "size": size, "normalisation": normalisation}
    return {"from": source, "preprocessing": preprocessing, "f32": digest}


def torchvision(source, side, size):
    """A weights' `transforms()`: shorter side, centre crop, bilinear, ImageNet's mean and std."""
    steps = [transforms.Resize(side), transforms.CenterCrop(size), transforms.ToTensor(), transforms.Normalize(*IMAGENET)]
    seen = transforms.Compose(steps)(Image.fromarray(pattern(*source)))
    return row(source, {"shorter": side}, size, "bilinear", *IMAGENET, "rgb", seen.permute(1, 2, 0).numpy())


def timm(source, share, size, interpolation, mean, std):
    transform = create_transform((3, size, size), interpolation=interpolation, mean=mean, std=std, crop_pct=share)
    seen = transform(Image.fromarray(pattern(*source)))
    return row(source, {"crop": share}, size, interpolation, mean, std, "rgb", seen.permute(1, 2, 0).numpy())


def keras(source, size, interpolation, mode):
    square = Image.fromarray(pattern(*source)).resize((size, size), FILTERS[interpolation])
    seen = imagenet_utils.preprocess_input(np.asarray(square, "float32"), data_format="channels_last", mode=mode)
    if mode == "caffe":
        mean, std, channels = [value / 255 for value in CAFFE[0]], [1 / 255] * 3, "bgr"
    else:
        (mean, std), channels = IMAGENET, "rgb"
    return row(source, "squash", size, interpolation, mean, std, channels, seen)


rows = []
for source in [(500, 375), (375, 500), (256, 256), (91, 70)]:
    rows += [torchvision(source, side, size) for side, size in [(256, 224), (342, 299), (232, 224), (224, 224)]]
    rows += [timm(source, share, 224, "bicubic", *IMAGENET) for share in (0.875, 0.95, 1.0)]
    rows += [timm(source, 0.9, 299, "nearest", [0.3, 0.5, 0.7], [0.25, 0.5, 0.125])]
    rows += [keras(source, 224, "nearest", mode) for mode in ("caffe", "torch")]
    rows += [keras(source, 150, "bilinear", "caffe")]
(HERE / "normalise.json").write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
