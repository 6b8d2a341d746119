"""Make the reference activations beside this file, with Keras and with timm.

    python make.py keras     # Keras 3.15 on TensorFlow 2.21
    python make.py timm      # timm 1.0.31 on PyTorch 2.15

(one run each: the two frameworks abort when loaded together). Both take the bundled ImageNet base
out of ../../../weights, so the references hold for the very numbers that the tests run.

    stages-CONVENTION.safetensors    `input` [1,77,84,3] in [-1,1] and the activation after stages, NHWC.
                                     77 and 84 make the max-pools see even and odd, unequal sizes.
    gradients.safetensors            with timm: gradients of Σ features · `direction` for two patches, with the
                                     batch norms frozen and in training; see gradients() for what is kept.
    gradcam.safetensors              with timm: Grad-CAM of samples/chelsea.png at 299, see gradcam().
    features-CONVENTION.safetensors  `features` [1,2048] of samples/chelsea.png, from the file on:
                                     Pillow's decoding and resampling, and the framework's own transform.
"""

import pathlib
import sys

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent.parent
SIZE = (77, 84)
STAGES = [
    "block1_conv2", "block2", "block3", "block4", "block5", "block12", "block13",
    "block14_sepconv1", "block14_sepconv2",
]


def weights():
    base = load_file(ROOT / "weights/xception-imagenet-base.safetensors")
    return {name: value.astype("float32") for name, value in base.items()}


def input_pixels():
    """A photograph's patch, so that activations are those of real pictures."""
    picture = Image.open(ROOT / "samples/chelsea.png").convert("RGB").resize((SIZE[1], SIZE[0]), Image.BICUBIC)
    return (np.asarray(picture, "float32") / 127.5 - 1.0)[None]


def save(convention, stages, features):
    save_file({name: np.ascontiguousarray(value) for name, value in stages.items()},
              HERE / f"stages-{convention}.safetensors")
    save_file({"features": features}, HERE / f"features-{convention}.safetensors")


def keras():
    import keras

    def model(height, width):
        keras.backend.clear_session()
        network = keras.applications.Xception(include_top=False, weights=None, input_shape=(height, width, 3))
        tensors = weights()
        shortcuts = iter(["block1", "block2", "block3", "block12"])
        norms = iter(["block1", "block2", "block3", "block12"])
        for layer in network.layers:
            if not layer.weights:
                continue
            name = layer.name
            if name.startswith("conv2d"):
                prefix = next(shortcuts) + ".skip"
            elif name.startswith("batch_normalization"):
                prefix = next(norms) + ".skipbn"
            else:
                prefix = timm_name(name)
            layer.set_weights(keras_weights(layer, prefix, tensors))
        return network

    network = model(*SIZE)
    outputs = {}
    for stage in STAGES:
        if "conv" in stage:
            outputs[stage] = network.get_layer(stage + "_act").output
        else:
            # A block's sum is the input of the next block's first layer.
            number = int(stage.removeprefix("block"))
            outputs[stage] = [l for l in network.layers if l.__class__.__name__ == "Add"][number - 2].output
    outputs["avg_pool"] = keras.ops.mean(network.output, axis=(1, 2))
    stages = keras.Model(network.input, outputs)(input_pixels(), training=False)
    stages = {name: np.asarray(value) for name, value in stages.items()} | {"input": input_pixels()}

    picture = Image.open(ROOT / "samples/chelsea.png").convert("RGB").resize((299, 299), Image.BICUBIC)
    pixels = keras.applications.xception.preprocess_input(np.asarray(picture, "float32"))[None]
    features = np.asarray(model(299, 299)(pixels, training=False)).mean(axis=(1, 2))
    save("keras", stages, features)


def timm_name(layer):
    """timm's name of a layer of Keras, `block2_sepconv1_bn` to `block1.rep.1`."""
    base, norm = layer.removesuffix("_bn"), layer.endswith("_bn")
    block, convolution = base.removeprefix("block").split("_")
    block, index = int(block), int(convolution[-1]) - 1
    if block == 1:
        return f"{'bn' if norm else 'conv'}{index + 1}"
    if block == 14:
        return f"{'bn' if norm else 'conv'}{index + 3}"
    position = 3 * index + (0 if block == 2 else 1) + (1 if norm else 0)
    return f"block{block - 1}.rep.{position}"


def keras_weights(layer, prefix, tensors):
    kind = layer.__class__.__name__
    if kind == "Conv2D":
        return [tensors[prefix + ".weight"].transpose(2, 3, 1, 0)]
    if kind == "SeparableConv2D":
        return [tensors[prefix + ".conv1.weight"].transpose(2, 3, 0, 1),
                tensors[prefix + ".pointwise.weight"].transpose(2, 3, 1, 0)]
    return [tensors[f"{prefix}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")]


def timm():
    import timm
    import torch

    network = timm.create_model("legacy_xception", pretrained=False, num_classes=0).eval()
    state = {name: torch.from_numpy(value) for name, value in weights().items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    stages = {}

    def keep(name, rectify):
        def hook(_module, _inputs, output):
            # A copy: the network's later ReLUs work in place.
            output = torch.relu(output) if rectify else output.clone()
            stages[name] = output.numpy().transpose(0, 2, 3, 1).copy()
        return hook

    sources = {"block1_conv2": "bn2", "block14_sepconv1": "bn3", "block14_sepconv2": "bn4"}
    hooks = []
    for stage in STAGES:
        source = sources.get(stage) or f"block{int(stage.removeprefix('block')) - 1}"
        hooks.append(network.get_submodule(source).register_forward_hook(keep(stage, stage in sources)))
    with torch.inference_mode():
        pixels = input_pixels()
        stages["avg_pool"] = network(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())).numpy().copy()
        stages = stages | {"input": pixels}
        config = timm.data.resolve_data_config({}, model=network)
        config |= {"input_size": (3, 299, 299), "crop_pct": 0.8975, "interpolation": "bicubic",
                   "mean": (0.5,) * 3, "std": (0.5,) * 3}
        transform = timm.data.create_transform(**config, is_training=False)
        picture = transform(Image.open(ROOT / "samples/chelsea.png").convert("RGB"))[None]
        kept = dict(stages)
        features = network(picture).numpy()
    save("timm", kept, features)
    for hook in hooks:
        hook.remove()
    gradcam(network, picture)
    # Last: it moves the running averages.
    gradients(network)


def gradcam(network, picture):
    """`input` [1,299,299,3] as 8-bit RGB, and `HEAD/LAYER/CLASS` [h,w]: Grad-CAM without its ReLU for the logit of
    a class of two heads, at the outputs of Keras' blocks 13 and 14. `dense` is the bundled cats-vs-dogs head, whose
    single logit speaks for class 1 and against class 0; `linear` has three classes with the weights `linear.weight`
    [3,2048] and `linear.bias` [3] kept here."""
    import torch

    head = {name: torch.from_numpy(value.astype("float32"))
            for name, value in load_file(ROOT / "weights/cats-vs-dogs.safetensors").items()}
    random = np.random.default_rng(11)
    linear = {"weight": (random.standard_normal((3, 2048)) * 0.05).astype("float32"),
              "bias": random.standard_normal(3).astype("float32")}
    pixels = ((picture.numpy() + 1.0) * 127.5).round().clip(0, 255).astype("uint8")
    kept = {"input": np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), "linear.weight": linear["weight"],
            "linear.bias": linear["bias"]}

    def dense(features):
        hidden = len([name for name in head if name.startswith("head.") and name.endswith(".weight")])
        for index in range(hidden):
            features = torch.relu(features @ head[f"head.{index}.weight"].T + head[f"head.{index}.bias"])
        logit = (features @ head["fc.weight"].T + head["fc.bias"])[0, 0]
        return [-logit, logit]

    def linear_head(features):
        logits = features @ torch.from_numpy(linear["weight"]).T + torch.from_numpy(linear["bias"])
        return list(logits[0])

    activations = {}

    def keep(name):
        def hook(_module, _inputs, output):
            output.retain_grad()
            activations[name] = output
            # A copy: the network's later ReLUs work in place.
            return output.clone()
        return hook

    network.eval()
    hooks = [network.block12.register_forward_hook(keep("block13")), network.act4.register_forward_hook(keep("block14"))]
    x = (torch.from_numpy(pixels.astype("float32")) / 127.5 - 1.0).requires_grad_()
    for name, function, classes in [("dense", dense, 2), ("linear", linear_head, 3)]:
        for index in range(classes):
            features = network.forward_features(x).mean(dim=(2, 3))
            network.zero_grad()
            function(features)[index].backward()
            for layer, activation in activations.items():
                weights = activation.grad.mean(dim=(2, 3), keepdim=True)
                kept[f"{name}/{layer}/{index}"] = (weights * activation).sum(dim=1)[0].detach().numpy().copy()
    for hook in hooks:
        hook.remove()
    save_file(kept, HERE / "gradcam.safetensors")


def gradients(network):
    """For each tensor `MODE/NAME` up to 64 of its gradient's values, evenly spread from the first to the last,
    and `MODE/NAME#norm`; MODE is `frozen` or `batch`. With batch statistics also the running averages after
    the step, as `batch/NAME`, spread likewise."""
    import torch

    patches = [Image.open(ROOT / "samples" / name).convert("RGB").resize((SIZE[1], SIZE[0]), Image.BICUBIC)
               for name in ("chelsea.png", "beagle.jpg")]
    pixels = np.stack([np.asarray(patch, "float32") / 127.5 - 1.0 for patch in patches])
    direction = np.random.default_rng(7).standard_normal((2, 2048)).astype("float32")
    kept = {"input": pixels, "direction": direction}

    def keep(name, values):
        values = values.detach().numpy().reshape(-1)
        spread = np.linspace(0, len(values) - 1, min(len(values), 64)).astype(int)
        kept[name] = values[spread].copy()

    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for mode in ("frozen", "batch"):
        network.train()
        for norm in norms:
            norm.train(mode == "batch")
        network.zero_grad()
        features = network(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
        (features * torch.from_numpy(direction)).sum().backward()
        for name, parameter in network.named_parameters():
            keep(f"{mode}/{name}", parameter.grad)
            kept[f"{mode}/{name}#norm"] = parameter.grad.norm().reshape(1).numpy().copy()
    for name, buffer in network.named_buffers():
        if not name.endswith("num_batches_tracked"):
            keep(f"batch/{name}", buffer)
    save_file(kept, HERE / "gradients.safetensors")


if __name__ == "__main__":
    {"keras": keras, "timm": timm}[sys.argv[1]]()
