#!/usr/bin/env python3
"""Ends long commands by signals at random moments, and checks what they leave.

    python3 benches/signals/moments.py target/release/xcept --moments 20

For each of `classify -o`, `extract-features` and `finetune`, and each of TERM, HUP, INT and INT twice, the command is
started on crops of a photograph and ended at a random moment of the time that it takes when nobody ends it. Checked are
the exit status, that every row that is there is whole and the one of an undisturbed run, that nothing but the named
journal is left over, and that the same command (`--resume` for a run) ends with the same bytes as an undisturbed run.
Prints a line for each command and signal. Needs Pillow.
"""

import argparse
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

from PIL import Image

SAMPLES = pathlib.Path(__file__).resolve().parents[2] / "samples"
SIGNALS = {"TERM": ([signal.SIGTERM], 143), "HUP": ([signal.SIGHUP], 129), "INT": ([signal.SIGINT], 130),
           "INT twice": ([signal.SIGINT, signal.SIGINT], 130)}
# Later than this a second signal is one of its own.
APART = 1.05


def classify(xcept):
    return [xcept, "classify", "-q", "-m", "cats-vs-dogs", "data", "-o", "out/rows.jsonl"]


def extract(xcept):
    return [xcept, "extract-features", "-q", "data", "--batch-size", "2", "-o", "out/f.safetensors"]


def finetune(xcept):
    return [xcept, "finetune", "-q", "data", "--size", "71", "--epochs", "4", "--finetune-epochs", "6", "--batch-size",
            "4", "--hidden", "16", "--unfreeze", "block13", "--val", "0.2"]


def files(folder):
    """Contents by name, without what tells the time."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def result(desk, name):
    """What the command was for."""
    if name == "finetune":
        return (desk / "runs/finetune/data/last.safetensors").read_bytes()
    return files(desk / "out")


def check_classify(desk, reference):
    rows = files(desk / "out")
    assert set(rows) <= {"rows.jsonl"}, f"left over: {sorted(rows)}"
    rows = rows.get("rows.jsonl", b"")
    assert reference["rows.jsonl"].startswith(rows) and (not rows or rows.endswith(b"\n")), "rows are not whole"
    return rows.count(b"\n")


def check_extract(desk, reference):
    left = files(desk / "out")
    assert set(left) <= {"f.safetensors.partial"} or left == reference, f"left over: {sorted(left)}"
    return len(left.get("f.safetensors.partial", b"")) // (4 * 2048)


def check_finetune(desk, _):
    run = desk / "runs/finetune/data"
    hidden = [name for name in files(desk) if pathlib.Path(name).name.startswith(".") and not name.startswith("cache/")]
    assert not hidden, f"left over: {hidden}"
    return int((run / "checkpoint.safetensors").exists())


def again(desk, name, command, xcept):
    """The command that goes on, or begins where nothing was begun."""
    if name == "finetune" and (desk / "runs/finetune/data/args.toml").exists():
        return [xcept, "finetune", "-q", "--resume", "data"]
    shutil.rmtree(desk / "runs", ignore_errors=True)
    return command + (["--overwrite"] if name == "classify" else [])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("xcept", type=pathlib.Path)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    xcept, draw = str(arguments.xcept.resolve()), random.Random(arguments.seed)
    # What a shell ignores for what it starts in the background, the commands would ignore as well.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    failures = 0
    for name, command, check, pictures in [("classify", classify(xcept), check_classify, 24),
                                           ("extract-features", extract(xcept), check_extract, 24),
                                           ("finetune", finetune(xcept), check_finetune, 10)]:
        with tempfile.TemporaryDirectory() as folder:
            desk = pathlib.Path(folder)
            for kind, sample in [("cat", "kitten.jpg"), ("dog", "beagle.jpg")]:
                (desk / "data" / kind).mkdir(parents=True)
                picture = Image.open(SAMPLES / sample).convert("RGB")
                for index in range(pictures // 2):
                    box = (index, index, picture.width - 5 * index, picture.height - 3 * index)
                    picture.crop(box).save(desk / "data" / kind / f"{index}.png")

            def fresh():
                for part in ["out", "cache", "runs"]:
                    shutil.rmtree(desk / part, ignore_errors=True)
                (desk / "out").mkdir()

            def run(command):
                environment = {"XDG_CACHE_HOME": str(desk / "cache"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
                return subprocess.Popen(command, cwd=desk, env=environment, stderr=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL)

            fresh()
            start = time.monotonic()
            process = run(command)
            _, said = process.communicate()
            assert process.returncode == 0, said.decode()
            takes, reference = time.monotonic() - start, result(desk, name)
            for signals, (numbers, status) in SIGNALS.items():
                done, kept, faults = 0, [], []
                for _ in range(arguments.moments):
                    fresh()
                    process = run(command)
                    time.sleep(draw.uniform(0, takes))
                    for index, number in enumerate(numbers):
                        time.sleep(APART if index else 0)
                        process.send_signal(number)
                    _, said = process.communicate()
                    try:
                        # Before its handler stands, the program dies of the signal as any other does.
                        expected = {status, -numbers[0]}
                        if process.returncode == 0:
                            done += 1
                        else:
                            assert process.returncode in expected, f"exit {process.returncode}: {said.decode()}"
                            kept.append(check(desk, reference))
                        process = run(again(desk, name, command, xcept))
                        _, said = process.communicate()
                        assert process.returncode == 0, f"going on: {said.decode()}"
                        assert result(desk, name) == reference, "going on ends with other bytes"
                    except AssertionError as fault:
                        faults.append(str(fault))
                failures += len(faults)
                print(f"{name:16} {signals:9} {arguments.moments} moments of {takes:.1f} s: {done} were done already, "
                      f"kept {min(kept, default=0)} to {max(kept, default=0)}, {len(faults)} faults", *faults[:3],
                      sep="\n    " if faults else " ", flush=True)
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
