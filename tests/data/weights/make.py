"""Makes keras.zip and pytorch.zip: Xceptions as Keras 3, tf.keras 2, Keras 1 and PyTorch save them.

    python make.py keras      (Keras 3 on any backend, h5py)
    python make.py heads      (the same; heads.zip and heads.json)
    python make.py pytorch    (PyTorch, timm; a process of its own, the two libraries clash)
    python make.py modules    (the same, and pretrainedmodels 0.7.4; modules.zip)

Every file is written by the library's own saving code from a model whose weights follow a formula,
so that 84 MB compress to a few KB; tests/weights/ checks each value against the formula. HDF5
files are then rewritten with gzip and shuffle, with the structure and the attributes kept. What the
installed Keras cannot write any more is made by renaming: tf.keras 2's `:0` and its dialect of
`inbound_nodes`, and the names of the weights that Keras Applications distributes, which are Keras
1's (`convolution2d_1/convolution2d_1_W:0`).
"""

import io
import json
import os
import sys
import zipfile

import numpy as np

if sys.argv[1:] in (["keras"], ["heads"]):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import h5py
    import keras
    from keras import layers
    from keras.src.legacy.saving import legacy_h5_format

    xception = keras.applications.Xception
else:
    import timm
    import torch

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.environ.get("OUT", "/tmp/xcept-weights-fixtures")
os.makedirs(OUT, exist_ok=True)


def formula(shape, number, variance=False):
    """Differs from tensor to tensor and, with a period of 13, within one; a variance is not negative."""
    i = np.arange(int(np.prod(shape)), dtype=np.int64)
    values = ((7 * i % 13 - 6) / 64 + number / 4096).astype(np.float32).reshape(shape)
    return np.abs(values) if variance else values


def is_variance(weight):
    return weight.path.endswith("moving_variance")


def table_names():
    """Keras' layers in the order of the architecture table, the shortcuts' as None."""
    counts = [2] * 4 + [3] * 8 + [2] * 2
    for block, count in enumerate(counts, 1):
        kind = "conv" if block == 1 else "sepconv"
        yield from (f"block{block}_{kind}{n}" for n in range(1, count + 1))
        if block in (2, 3, 4, 13):
            yield None


def fill(model, dense=()):
    """Gives the weights of an Xception, and of the head's dense layers, their formula's values."""
    own = {layer.name: layer for layer in model.layers}
    unnamed = [layer for layer in model.layers if not layer.name.startswith("block")]
    shortcuts = [layer for layer in unnamed if isinstance(layer, layers.Conv2D)]
    norms = [layer for layer in unnamed if isinstance(layer, layers.BatchNormalization)]
    number = 0
    for name in table_names():
        pair = (own[name], own[name + "_bn"]) if name else (shortcuts.pop(0), norms.pop(0))
        for layer in pair:
            weights = layer.weights
            layer.set_weights([formula(w.shape, number + n, is_variance(w)) for n, w in enumerate(weights)])
            number += len(weights)
    assert number == 234 and not shortcuts and not norms
    for layer in dense:
        shapes = [w.shape for w in layer.weights]
        layer.set_weights([formula(shape, number + n) for n, shape in enumerate(shapes)])
        number += len(shapes)
    return model


def copy_attributes(source, target):
    for name, value in source.attrs.items():
        kind = source.attrs.get_id(name).dtype
        target.attrs.create(name, value, dtype=kind if h5py.check_string_dtype(kind) else None)


def rewrite(source, path, rename=lambda name: name, data=True, skip=(), add=None):
    """Copies an HDF5 file, compressed; without `data` all values are the fill value."""
    with h5py.File(source, "r") as old, h5py.File(path, "w") as new:
        copy_attributes(old, new)

        def visit(name, item):
            if any(part in name.split("/") for part in skip):
                return
            if isinstance(item, h5py.Group):
                made = new.require_group(rename(name))
            elif item.shape == ():
                made = new.create_dataset(rename(name), data=item[()])
            else:
                how = dict(chunks=item.shape, compression="gzip", compression_opts=9, shuffle=True)
                made = new.create_dataset(rename(name), shape=item.shape, dtype=item.dtype, **how)
                if data:
                    made[...] = item[...]
            copy_attributes(item, made)

        old.visititems(visit)
        if add:
            add(new)


def rewrite_keras(source, path, data=True, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", method) as new:
        for entry in old.namelist():
            content = old.read(entry)
            if entry.endswith(".h5"):
                memory = io.BytesIO()
                rewrite(io.BytesIO(content), memory, data=data)
                content = memory.getvalue()
            new.writestr(zipfile.ZipInfo(entry), content, method)


def weights_only(model, path):
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def fixed(names):
    return np.array([name.encode() for name in names], dtype="S")


def as_keras2(source, path, data=True):
    """tf.keras 2: variables end in `:0`, lists are of fixed-length strings; a nested model's is split."""

    def patch(new):
        weights = new["model_weights"] if "model_weights" in new else new
        names = list(weights.attrs["layer_names"])
        weights.attrs["layer_names"] = fixed(names)
        for name in names:
            group = weights[name]
            variables = [variable + ":0" for variable in group.attrs["weight_names"]]
            del group.attrs["weight_names"]
            if len(variables) > 4:  # a nested model, as if it were beyond 64 KB
                for part, chunk in enumerate(np.array_split(fixed(variables), 3)):
                    group.attrs[f"weight_names{part}"] = chunk
            else:
                group.attrs["weight_names"] = fixed(variables)
        if "model_config" in new.attrs:
            config = keras2_config(json.loads(new.attrs["model_config"]))
            new.attrs["model_config"] = json.dumps(config)
            new.attrs["keras_version"] = "2.15.0"

    def rename(name):
        last = name.rsplit("/", 1)[-1]
        variables = {"kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"}
        return name + ":0" if last in variables | {"depthwise_kernel", "pointwise_kernel"} else name

    rewrite(source, path, rename=rename, data=data, add=patch)


def keras2_config(layer):
    """tf.keras 2's dialect: `batch_input_shape`, nested lists for nodes, arithmetic as TFOpLambda."""
    config = layer["config"]
    functions = {"TrueDivide": "math.truediv", "Subtract": "math.subtract"}
    if layer["class_name"] in functions:
        config["function"] = functions[layer["class_name"]]
        layer["class_name"] = "TFOpLambda"
    if "batch_shape" in config:
        config["batch_input_shape"] = config.pop("batch_shape")
    if "layers" in config:
        config["layers"] = [keras2_config(inner) for inner in config["layers"]]
        for ends in ("input_layers", "output_layers"):
            if ends in config:
                config[ends] = [config[ends]]
    nodes = []
    for node in layer.get("inbound_nodes", []):
        tensors = node["args"][0] if isinstance(node["args"][0], list) else node["args"][:1]
        kwargs = {} if layer["class_name"] != "TFOpLambda" else {"y": node["args"][1], "name": None}
        ends = [tensor["config"]["keras_history"] + [kwargs] for tensor in tensors]
        nodes.append(ends)
    if "inbound_nodes" in layer:
        layer["inbound_nodes"] = nodes
    return layer


def as_keras1(model, path):
    """The names in xception_weights_tf_dim_ordering_tf_kernels.h5, layers in the model's order."""
    classes = {"Conv2D": "convolution2d", "SeparableConv2D": "separableconvolution2d"}
    classes |= {"BatchNormalization": "batchnormalization", "Dense": "dense"}
    names = {"kernel": "W", "bias": "b", "moving_mean": "running_mean", "moving_variance": "running_std"}
    # Numbers go by creation; a block's shortcut was created before its stack.
    created = []
    body = iter([layer for layer in model.layers if layer.name.startswith("block") and layer.weights])
    stack = list(body)
    unnamed = [layer for layer in model.layers if not layer.name.startswith("block") and layer.weights]
    norms = [layer for layer in unnamed if layer.name.startswith("batch")]
    convolutions = [layer for layer in unnamed if layer.name.startswith("conv")]
    seen = set()
    for layer in stack:
        block = layer.name.split("_")[0]
        if block in ("block2", "block3", "block4", "block13") and block not in seen:
            created += [convolutions.pop(0), norms.pop(0)]
        seen.add(block)
        created.append(layer)
    created += [layer for layer in unnamed if layer.name == "predictions"]
    counters, called = {}, {}
    for layer in created:
        name = classes[type(layer).__name__]
        counters[name] = counters.get(name, 0) + 1
        called[layer.name] = f"{name}_{counters[name]}"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = fixed([called.get(layer.name, layer.name) for layer in model.layers])
        for layer in model.layers:
            group = file.create_group(called.get(layer.name, layer.name))
            variables = [f"{group.name[1:]}_{names.get(w.name, w.name)}:0" for w in layer.weights]
            group.attrs["weight_names"] = fixed(variables) if variables else np.zeros(0)
            for variable, value in zip(variables, layer.get_weights()):
                how = dict(chunks=value.shape, compression="gzip", compression_opts=9, shuffle=True)
                group.create_dataset(variable, data=value, **how)


def path(name):
    return os.path.join(OUT, name)


def make_keras():
    raw = path("raw")
    # With the 1,000 classes.
    full = xception(weights=None)
    fill(full, [full.get_layer("predictions")])
    full.save(raw + ".h5")
    rewrite(raw + ".h5", path("full.h5"))
    full.save_weights(raw + ".weights.h5")
    rewrite(raw + ".weights.h5", path("full.weights.h5"))

    def forget(file):
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)

    rewrite(raw + ".weights.h5", path("nameless.weights.h5"), add=forget)
    as_keras1(full, path("keras1.h5"))

    # The second model of a session: its shortcuts are conv2d_4 to conv2d_7.
    base = fill(xception(weights=None, include_top=False, input_shape=(150, 150, 3)))
    weights_only(base, raw + ".h5")
    as_keras2(raw + ".h5", path("base_keras2.h5"))

    # Nested in a functional model, preprocessing in the model.
    inputs = keras.Input((150, 150, 3))
    x = base(keras.applications.xception.preprocess_input(inputs), training=False)
    x = layers.Dropout(0.2)(layers.Dense(20, activation="relu")(layers.GlobalAveragePooling2D()(x)))
    nested = keras.Model(inputs, layers.Dense(6, activation="softmax")(x))
    fill(base, [layer for layer in nested.layers if isinstance(layer, layers.Dense)])
    nested.compile("adam", "categorical_crossentropy")
    nested.save(raw + ".keras")
    rewrite_keras(raw + ".keras", path("nested.keras"), method=zipfile.ZIP_DEFLATED)
    rewrite_keras(raw + ".keras", path("nested_empty.keras"), data=False)
    nested.save(raw + ".h5", include_optimizer=False)
    as_keras2(raw + ".h5", path("nested_keras2.h5"))
    as_keras2(raw + ".h5", path("nested_empty.h5"), data=False)
    weights_only(nested, raw + ".h5")
    rewrite(raw + ".h5", path("nested_weights.h5"), data=False)

    # Sequential models in a sequential model, average pooling inside of Xception, one unit.
    base = fill(xception(weights=None, include_top=False, pooling="avg", input_shape=(128, 128, 3)))
    head = keras.Sequential([layers.Dropout(0.5), layers.Dense(1, activation="sigmoid", name="dogness")])
    augment = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])
    front = [keras.Input((128, 128, 3)), augment, layers.Rescaling(1 / 127.5, offset=-1)]
    sequential = keras.Sequential(front + [base, head])
    fill(base, [head.get_layer("dogness")])
    sequential.save(raw + ".keras")
    rewrite_keras(raw + ".keras", path("sequential.keras"))
    sequential.save(raw + ".h5", include_optimizer=False)
    rewrite(raw + ".h5", path("sequential.h5"))

    # A head that goes on in the same functional model.
    base = xception(weights=None, include_top=False, input_shape=(96, 96, 3))
    x = layers.Activation("relu")(layers.Dense(8)(layers.GlobalAveragePooling2D()(base.output)))
    x = layers.ReLU()(layers.Dense(4, use_bias=False)(layers.Dropout(0.25)(x)))
    flat = keras.Model(base.input, layers.Dense(3)(x))
    fill(flat, [layer for layer in flat.layers if isinstance(layer, layers.Dense)])
    flat.save(raw + ".keras")
    rewrite_keras(raw + ".keras", path("flat.keras"))

    # What is not right.
    weights_only(full, raw + ".h5")

    def without(name):
        def patch(file):
            names = [n for n in file.attrs["layer_names"] if n != name]
            file.attrs["layer_names"] = fixed(names)

        return patch

    def extra(file):
        file.attrs["layer_names"] = fixed(list(file.attrs["layer_names"]) + ["attention"])
        group = file.create_group("attention")
        group.attrs["weight_names"] = fixed(["attention/kernel"])
        group.create_dataset("attention/kernel", shape=(1, 1, 2048, 64), dtype="f4", chunks=True)

    def misshapen(file):
        group = file["block7_sepconv2/block7_sepconv2"]
        del group["pointwise_kernel"]
        group.create_dataset("pointwise_kernel", shape=(1, 1, 728, 512), dtype="f4", chunks=True)

    missing = "block5_sepconv3"
    rewrite(raw + ".h5", path("missing.h5"), data=False, skip=[missing], add=without(missing))
    rewrite(raw + ".h5", path("extra.h5"), data=False, add=extra)
    rewrite(raw + ".h5", path("misshapen.h5"), data=False, add=misshapen)
    zeros = dict(kernel_initializer="zeros")
    small = [keras.Input((28, 28, 1)), layers.Conv2D(8, 3, **zeros), layers.Flatten(), layers.Dense(10, **zeros)]
    small = keras.Sequential(small)
    small.save(path("small.keras"))
    small.save(path("small.h5"))


HEADS = {
    "max": lambda: [layers.GlobalMaxPooling2D(), layers.Dense(3, activation="softmax")],
    "norms": lambda: [
        layers.GlobalAveragePooling2D(),
        layers.BatchNormalization(),
        layers.Dropout(0.2),
        layers.Dense(8),
        layers.BatchNormalization(epsilon=0.01),
        layers.Activation("relu"),
        layers.Dropout(0.5),
        layers.Dense(4, activation="relu"),
        layers.BatchNormalization(scale=False),
        layers.Dense(3, activation="softmax"),
    ],
    "norm_on_map": lambda: [
        layers.BatchNormalization(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ],
    "flatten": lambda: [layers.Flatten(), layers.Dense(3, activation="softmax")],
    "norms_and_flatten": lambda: [
        layers.BatchNormalization(),
        layers.Flatten(),
        layers.BatchNormalization(center=False),
        layers.Dense(4, activation="relu"),
        layers.Dense(3, activation="softmax"),
    ],
}


def make_heads():
    """Heads on an Xception of 71 pixels, and what Keras answers for one feature map of [3, 3, 2048]."""
    raw, number = path("raw"), 0
    maps = np.abs(formula((1, 3, 3, 2048), 5)) * (1 + np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1) / 9)
    answers = {}
    for name, make in HEADS.items():
        keras.backend.clear_session()
        base = fill(xception(weights=None, include_top=False, input_shape=(71, 71, 3)))
        head = keras.Sequential([keras.Input((3, 3, 2048))] + make())
        for layer in head.layers:
            values = []
            for weight in layer.weights:
                number += 7
                value = formula(weight.shape, number, is_variance(weight))
                last = weight.path.rsplit("/")[-1]
                # Some factors are negative, some variances small.
                factor = {"gamma": 2, "moving_variance": 1.5, "kernel": 3}.get(last, 1)
                if last == "kernel" and weight.shape[0] >= 2048:
                    factor = 1024 / weight.shape[0]
                values.append(factor * value)
            layer.set_weights(values)
        inputs = x = keras.Input((71, 71, 3))
        for layer in [base] + head.layers:
            x = layer(x)
        model = keras.Model(inputs, x)
        model.save(raw + ".keras")
        rewrite_keras(raw + ".keras", path(f"{name}.keras"), method=zipfile.ZIP_DEFLATED)
        if name in ("max", "flatten"):
            model.save_weights(raw + ".weights.h5")
            rewrite(raw + ".weights.h5", path(f"{name}.weights.h5"))
        if name in ("max", "flatten", "norms_and_flatten"):
            weights_only(model, raw + ".h5")
            rewrite(raw + ".h5", path(f"{name}.h5"))
        answers[name] = head.predict(maps, verbose=0)[0].tolist()
    # Layers of other names: one with a name that says nothing, one with a default name, two of one shape.
    for name, others in {
        "renamed": {"block5_sepconv3": "my_convolution"},
        "renamed_norm": {"block2_sepconv2_bn": "batch_normalization_77"},
        "renamed_two": {"block7_sepconv1": "second", "block7_sepconv2": "first"},
    }.items():
        keras.backend.clear_session()
        base = xception(weights=None, include_top=False, input_shape=(71, 71, 3), pooling="avg")
        model = keras.models.clone_model(
            base,
            clone_function=lambda layer: layer.__class__.from_config(
                layer.get_config() | {"name": others.get(layer.name, layer.name)}
            ),
        )
        # The formula goes by the table's names.
        fill(base)
        model.set_weights(base.get_weights())
        model.save(raw + ".keras")
        rewrite_keras(raw + ".keras", path(f"{name}.keras"), method=zipfile.ZIP_DEFLATED)
    with open(os.path.join(HERE, "heads.json"), "w") as file:
        json.dump(answers, file, indent=1)


def torch_formula(storage, shape, number):
    """A slice of one long storage: a view, as checkpoints of tied weights hold them."""
    count = int(np.prod(shape))
    start = 2 * number % 13  # 7 * 2 * number = number (mod 13)
    return storage[start : start + count].view(shape)


def make_torch():
    storage = torch.from_numpy(((7 * np.arange(2048 * 2048) % 13 - 6) / 64).astype(np.float32))
    model = timm.create_model("legacy_xception", pretrained=False, num_classes=5)
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    # Numbers in the order of names, which Rust can repeat.
    numbers = {name: number for number, name in enumerate(sorted(names))}

    def value(name, tensor):
        values = torch_formula(storage, tuple(tensor.shape), numbers[name]) if name in numbers else tensor
        return values.abs() if name.endswith("running_var") else values

    views = {name: value(name, tensor) for name, tensor in model.state_dict().items()}
    model.load_state_dict(views)
    torch.save(model.to(memory_format=torch.channels_last).state_dict(), path("plain.pth"))
    half = {f"module.{name}": value(name, tensor).half() for name, tensor in views.items() if name in numbers}
    other = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in views.items()}
    torch.save({"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(4)}}},
                "state_dict": other, "state_dict_ema": half}, path("wrapped.pth"))
    # Cadene's: not a zip, `last_linear`, pointwise kernels of [out, in].
    old = {name.replace("fc.", "last_linear."): tensor for name, tensor in views.items() if name in numbers}
    old = {name: tensor[:, :, 0, 0] if "pointwise" in name else tensor for name, tensor in old.items()}
    torch.save(old, path("cadene.pth"), _use_new_zipfile_serialization=False)
    torch.save({"model": {}, "epoch": 1}, path("empty.pth"))
    torch.save({k: v for k, v in views.items() if k != "block3.rep.1.pointwise.weight"}, path("missing.pth"))
    torch.save(views | {"attention.weight": torch.zeros(3)}, path("extra.pth"))


def make_modules():
    """Whole models of timm and of pretrainedmodels, as both formats of torch.save pickle them."""
    import pretrainedmodels

    storage = torch.from_numpy(((7 * np.arange(2048 * 2048) % 13 - 6) / 64).astype(np.float32))
    new = timm.create_model("legacy_xception", pretrained=False, num_classes=5)
    old = pretrainedmodels.xception(pretrained=None)
    old.last_linear = torch.nn.Linear(2048, 5)
    names = sorted(name for name in new.state_dict() if not name.endswith("num_batches_tracked"))
    numbers = {name: number for number, name in enumerate(names)}
    for name, model in [("module.pth", new), ("module_old.pth", old)]:
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        for key, tensor in tensors.items():
            number = numbers.get(key.replace("last_linear.", "fc."))
            if number is not None:
                values = torch_formula(storage, tuple(tensor.shape), number)
                tensor.data = values.abs() if key.endswith("running_var") else values
        torch.save(model, path(name), _use_new_zipfile_serialization=name == "module.pth")


def pack(archive, names):
    """Zips each file twice: the deflated form of periodic data is periodic again."""
    with zipfile.ZipFile(os.path.join(HERE, archive), "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name in names:
            memory = io.BytesIO()
            with zipfile.ZipFile(memory, "w") as inner, open(path(name), "rb") as content:
                inner.writestr(zipfile.ZipInfo(name), content.read(), zipfile.ZIP_DEFLATED, 9)
            file.writestr(zipfile.ZipInfo(name), memory.getvalue(), zipfile.ZIP_DEFLATED, 9)


def made(ending):
    return sorted(name for name in os.listdir(OUT) if name.endswith(ending) and not name.startswith("raw"))


if sys.argv[1:] == ["keras"]:
    make_keras()
    pack("keras.zip", made((".h5", ".keras")))
elif sys.argv[1:] == ["heads"]:
    make_heads()
    pack("heads.zip", made((".h5", ".keras")))
elif sys.argv[1:] == ["modules"]:
    make_modules()
    pack("modules.zip", made(".pth"))
else:
    make_torch()
    pack("pytorch.zip", made(".pth"))
