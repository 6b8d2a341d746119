"""Make configs.json: what timm answers with the bundled base, a made-up head and several config.json files.

    python make_configs.py     # timm, PyTorch, safetensors, Pillow < 13

The head's weight [3, 2048] follows a formula that tests/program/config.rs repeats. Each case has a config.json and the
probabilities that timm.create_model("local-dir:…") and timm's own transform give for the photographs of samples/.
"""

import json
import pathlib
import tempfile

import numpy as np
import PIL
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

assert int(PIL.__version__.split(".")[0]) < 13, "Pillow 13 changed the order of the resampling passes"
HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent.parent
SAMPLES = ["beagle.jpg", "chelsea.png", "kitten.jpg"]
NAMES = ["cat", "dog", "horse"]


def weights():
    tensors = {k: v.float() for k, v in load_file(ROOT / "weights/xception-imagenet-base.safetensors").items()}
    k, i = np.arange(3)[:, None], np.arange(2048)[None, :]
    tensors["fc.weight"] = torch.from_numpy(((5 * k * k + 7 * i * (k + 1)) % 13 - 6).astype("float32") / 64)
    tensors["fc.bias"] = torch.zeros(3)
    return tensors


def config(pretrained=None, **fields):
    plain = {"input_size": [3, 299, 299], "interpolation": "bicubic", "crop_pct": 0.8975, "crop_mode": "center",
             "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "num_classes": 3, "first_conv": "conv1",
             "classifier": "fc"}
    plain |= pretrained or {}
    plain = {key: value for key, value in plain.items() if value is not None}
    return {"architecture": "legacy_xception", "num_classes": 3, "label_names": NAMES, "pretrained_cfg": plain} | fields


IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CASES = {
    "plain": config(),
    "imagenet mean and std, another crop": config(IMAGENET | {"crop_pct": 0.95, "interpolation": "bilinear"}),
    "small and squashed": config({"input_size": [3, 150, 150], "crop_mode": "squash", "crop_pct": 1.0}),
    "timm's defaults": config(dict.fromkeys(["input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std"])),
    "max-pooling": config(model_args={"global_pool": "max", "num_classes": 3}),
    "nearest": config({"interpolation": "nearest", "test_input_size": [3, 320, 320], "test_crop_pct": 1.0}),
    "all at the root": {"architecture": "legacy_xception", "labels": NAMES, "num_classes": 3,
                        "input_size": [3, 224, 224], "crop_pct": 0.9} | IMAGENET,
}


def probabilities(folder):
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    pictures = torch.stack([transform(Image.open(ROOT / "samples" / name).convert("RGB")) for name in SAMPLES])
    with torch.no_grad():
        return model(pictures).softmax(1).tolist()


cases = []
with tempfile.TemporaryDirectory() as folder:
    save_file(weights(), f"{folder}/model.safetensors")
    for name, case in CASES.items():
        pathlib.Path(folder, "config.json").write_text(json.dumps(case))
        cases.append({"name": name, "config": case, "probabilities": dict(zip(SAMPLES, probabilities(folder)))})
(HERE / "configs.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
