#!/usr/bin/env python3
"""Times Xception in xcept and in its peers, in turn; README.md beside this file says how to set up."""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIZE = 299
WARM_UP = 3
# Peak memory of each program in training, from the first round.
MEMORY = {}
# The package whose version stands in the table.
PACKAGES = {"openvino": "openvino", "onnxruntime": "onnxruntime", "pytorch": "torch", "keras": "keras"}


def onnx_model() -> Path:
    """timm's network as ONNX, exported once with random weights."""
    path = Path(tempfile.gettempdir()) / "xcept-peers-legacy_xception.onnx"
    if not path.exists():
        import timm
        import torch

        network = timm.create_model("legacy_xception", pretrained=False).eval()
        picture = torch.zeros(1, 3, SIZE, SIZE)
        batch = {"pictures": {0: "batch"}, "logits": {0: "batch"}}
        unfinished = path.with_suffix(f".{os.getpid()}")
        torch.onnx.export(network, picture, str(unfinished), input_names=["pictures"], output_names=["logits"],
                          dynamic_axes=batch, dynamo=False)
        unfinished.replace(path)
    return path


def onnxruntime_session(threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(onnx_model()), options, providers=["CPUExecutionProvider"])


def forward_of(peer: str, batch_size: int, threads: int):
    """A function that takes the peer's network over one batch."""
    import numpy

    pictures = numpy.random.default_rng(1).uniform(-1, 1, (batch_size, 3, SIZE, SIZE)).astype("float32")
    if peer == "openvino":
        import openvino

        network = openvino.Core().read_model(onnx_model())
        network.reshape([batch_size, 3, SIZE, SIZE])
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        request = openvino.Core().compile_model(network, "CPU", settings).create_infer_request()
        return lambda: request.infer({0: pictures})
    if peer == "onnxruntime":
        session = onnxruntime_session(threads)
        return lambda: session.run(None, {"pictures": pictures})
    if peer == "pytorch":
        import timm
        import torch

        torch.set_num_threads(threads)
        network = timm.create_model("legacy_xception", pretrained=False).eval().to(memory_format=torch.channels_last)
        tensor = torch.from_numpy(pictures).to(memory_format=torch.channels_last)

        def forward():
            with torch.inference_mode():
                network(tensor)

        return forward
    import keras
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    network = keras.applications.Xception(weights=None)
    compiled = tensorflow.function(lambda x: network(x, training=False))
    tensor = tensorflow.constant(pictures.transpose(0, 2, 3, 1))
    return lambda: compiled(tensor).numpy()


def training_step_of(batch_size: int, threads: int, batch_norm: str):
    """A function that takes one step of training timm's network in PyTorch, all of it."""
    import numpy
    import timm
    import torch

    torch.set_num_threads(threads)
    network = timm.create_model("legacy_xception", pretrained=False, num_classes=2)
    network = network.to(memory_format=torch.channels_last).train()
    for module in network.modules():
        if batch_norm == "frozen" and isinstance(module, torch.nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.005, momentum=0.1, nesterov=True)
    pictures = numpy.random.default_rng(1).uniform(-1, 1, (batch_size, 3, SIZE, SIZE)).astype("float32")
    pictures = torch.from_numpy(pictures).to(memory_format=torch.channels_last)
    classes = torch.arange(batch_size) % 2

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(pictures), classes).backward()
        optimizer.step()

    return step


def time_peer(peer: str, options) -> float:
    """Median milliseconds per picture."""
    if options.batch_norm:
        forward = training_step_of(options.batch_size, options.threads, options.batch_norm)
    else:
        forward = forward_of(peer, options.batch_size, options.threads)
    for _ in range(WARM_UP):
        forward()
    times = []
    for _ in range(options.iterations):
        started = time.perf_counter()
        forward()
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times) / options.batch_size


def classify_with_onnxruntime(photograph: str, threads: int):
    """The whole of a small Python program: what a user would write."""
    import numpy
    from PIL import Image

    picture = Image.open(photograph).convert("RGB").resize((SIZE, SIZE), Image.BICUBIC)
    pixels = numpy.asarray(picture, dtype="float32").transpose(2, 0, 1)[None] / 127.5 - 1
    (logits,) = onnxruntime_session(threads).run(None, {"pictures": pixels})
    print(int(logits.argmax()))


def run(command: list, environment: dict) -> tuple[float, str]:
    """Milliseconds that the command took, and what it printed."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    elapsed = (time.perf_counter() - started) * 1e3
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip()[-400:]}")
    return elapsed, done.stdout


def round_of_forward(options, peers) -> dict:
    sizes = ["--batch-size", str(options.batch_size), "--iterations", str(options.iterations)]
    threads = ["--threads", str(options.threads)]
    _, line = run([options.xcept, *threads, "bench", *sizes, "--format", "json"], {})
    times = {"xcept": json.loads(line)["median_ms"] / options.batch_size}
    for peer in peers:
        _, line = run([sys.executable, __file__, *threads, *sizes, "--peers", peer, "one"], {"TF_CPP_MIN_LOG_LEVEL": "3"})
        times[peer] = float(line.splitlines()[-1])
    return times


def round_of_processes(options) -> dict:
    threads = ["--threads", str(options.threads)]
    ours = [options.xcept, *threads, "classify", "-m", "cats-vs-dogs", options.photograph]
    theirs = [sys.executable, __file__, *threads, "--photograph", options.photograph, "one-process"]
    return {"xcept": run(ours, {})[0], "onnxruntime": run(theirs, {})[0]}


def peak_megabytes() -> float:
    """Of the largest process so far that this one waited for."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3


def round_of_training(options) -> dict:
    """As round_of_forward; xcept goes first, so what it took is told before PyTorch takes more."""
    sizes = ["--batch-size", str(options.batch_size), "--iterations", str(options.iterations)]
    common = ["--threads", str(options.threads)]
    norm = ["--batch-norm", options.batch_norm]
    _, line = run([options.xcept, *common, "bench", "--train", "all", *norm, *sizes, "--format", "json"], {})
    times = {"xcept": json.loads(line)["median_ms"] / options.batch_size}
    MEMORY.setdefault("xcept", peak_megabytes())
    _, line = run([sys.executable, __file__, *common, *sizes, *norm, "--peers", "pytorch", "one"], {})
    times["pytorch"] = float(line.splitlines()[-1])
    MEMORY.setdefault("pytorch", peak_megabytes())
    return times


def report(rounds: list, options) -> None:
    what = {"forward": f"batch {options.batch_size}", "process": "whole process",
            "train": f"a training step, batch {options.batch_size}, batch norm {options.batch_norm}"}[options.what]
    print(f"{what}, {options.threads} threads, {len(rounds)} rounds, {processor()}")
    print("\n| | ms per picture | least | xcept / peer |\n|---|---|---|---|")
    for name in sorted(rounds[0], key=lambda name: statistics.median(r[name] for r in rounds)):
        times = [r[name] for r in rounds]
        ratio = "" if name == "xcept" else f"{statistics.median(r['xcept'] / r[name] for r in rounds):.2f}"
        label = name if name == "xcept" else f"{name} {version(PACKAGES[name])}"
        print(f"| {label} | {statistics.median(times):.1f} | {min(times):.1f} | {ratio} |")
    for name, megabytes in MEMORY.items():
        print(f"{name}: {megabytes:.0f} MB at most")


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def installed(peers: list) -> list:
    found = []
    for peer in peers:
        try:
            version(PACKAGES[peer])
            found.append(peer)
        except PackageNotFoundError:
            print(f"{peer} is not installed and left out", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["forward", "process", "train", "one", "one-process"], help="the last two are for its own use")
    parser.add_argument("--xcept", default=str(ROOT / "target/release/xcept"))
    parser.add_argument("--photograph", default=str(ROOT / "samples/chelsea.png"))
    parser.add_argument("--peers", default=",".join(PACKAGES), type=lambda text: text.split(","))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--batch-norm", choices=["frozen", "train"], help="in training [frozen]")
    options = parser.parse_args()
    if options.what == "train":
        options.batch_norm = options.batch_norm or "frozen"
        if installed(["pytorch"]):
            report([round_of_training(options) for _ in range(options.rounds)], options)
    elif options.what == "one":
        print(time_peer(options.peers[0], options))
    elif options.what == "one-process":
        classify_with_onnxruntime(options.photograph, options.threads)
    else:
        wanted = options.peers if options.what == "forward" else ["onnxruntime"]
        peers = installed([peer for peer in wanted if peer in PACKAGES])
        if "openvino" in peers or "onnxruntime" in peers:
            onnx_model()
        if not peers:
            sys.exit("none of the peers is installed; README.md beside this file says how")

        def one_round() -> dict:
            return round_of_forward(options, peers) if options.what == "forward" else round_of_processes(options)

        report([one_round() for _ in range(options.rounds)], options)


if __name__ == "__main__":
    main()
