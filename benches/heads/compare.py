#!/usr/bin/env python3
"""Heads trained on few pictures, beside scikit-learn's logistic regression on the very same features.

Draws n pictures of each class from a features file, trains a head on them with `xcept finetune` as a folder
DATA/CLASS/* would be trained on, and judges it on pictures that chose nothing of it: those of the split `val`, or all
that were not drawn. README.md has the commands.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression


def load(path):
    with safe_open(path, "numpy") as file:
        index = json.loads(file.metadata()["xcept"])
        return file.get_tensor("features"), file.get_tensor("labels"), index


def write(path, features, labels, index, rows):
    picked = {key: [index[key][row] for row in rows] for key in ("paths", "sha256")}
    picked["splits"] = [None] * len(rows)
    metadata = {"xcept": json.dumps({**index, **picked})}
    save_file({"features": features[rows], "labels": labels[rows]}, path, metadata)


def log_softmax(logits):
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def judge(log_probabilities, truths):
    """Accuracy and log loss, probabilities clipped as scikit-learn clips float32."""
    true = np.exp(log_probabilities[np.arange(len(truths)), truths])
    epsilon = np.finfo(np.float32).eps
    accuracy = (log_probabilities.argmax(axis=1) == truths).mean()
    return accuracy, -np.log(np.clip(true, epsilon, 1 - epsilon)).mean()


def answers(model, features):
    """What a head of `xcept finetune` says of features, in float64."""
    with safe_open(model, "numpy") as file:
        head = json.loads(file.metadata()["xcept"])["head"]
        tensors = {name: file.get_tensor(name).astype(np.float64) for name in file.keys() if not name.startswith("ood.")}
    x = features.astype(np.float64)
    if head.get("unit_length"):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    layers = [f"head.{index}" for index in range(sum(name.startswith("head.") for name in tensors) // 2)]
    for layer in layers:
        x = np.maximum(x @ tensors[f"{layer}.weight"].T + tensors[f"{layer}.bias"], 0)
    logits = (x @ tensors["fc.weight"].T + tensors["fc.bias"]) / head.get("temperature", 1.0)
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    return log_softmax(logits)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="a features file of `xcept extract-features`, .safetensors")
    parser.add_argument("--xcept", default="xcept", help="the program")
    parser.add_argument("-n", type=int, nargs="+", default=[2, 5, 10, 25, 50, 100])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.epilog = "What stands behind -- are options of `xcept finetune`."
    mine, _, options = " ".join(sys.argv[1:]).partition(" -- ")
    arguments = parser.parse_args(mine.split())
    features, labels, index = load(arguments.features)
    splits = np.array([split or "train" for split in index["splits"]])
    classes = len(index["class_names"])
    print(f"{'n':>5} draws  {'accuracy':>8} {'sklearn':>8} {'paired':>8} {'(se)':>7}  {'log loss':>8} {'sklearn':>8} {'ratio':>6}")
    for n in arguments.n:
        rows = []
        for draw in range(arguments.draws):
            random = np.random.default_rng([arguments.seed, n, draw])
            members = [np.flatnonzero((splits == "train") & (labels == c)) for c in range(classes)]
            drawn = np.sort(np.concatenate([random.permutation(m)[:n] for m in members]))
            held = np.flatnonzero(splits == "val")
            held = held if len(held) else np.setdiff1d(np.arange(len(labels)), drawn)
            reference = LogisticRegression(C=1, max_iter=5000).fit(features[drawn].astype(np.float64), labels[drawn])
            theirs = judge(reference.predict_log_proba(features[held].astype(np.float64)), labels[held])
            with tempfile.TemporaryDirectory() as folder:
                data, model = pathlib.Path(folder, "d.safetensors"), pathlib.Path(folder, "m.safetensors")
                write(data, features, labels, index, drawn)
                command = [arguments.xcept, "finetune", data, "--quiet", "-o", model, "--runs", folder, *options.split()]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                ours = judge(answers(model, features[held]), labels[held])
            rows.append([*ours, *theirs])
        rows = np.array(rows)
        paired = rows[:, 0] - rows[:, 2]
        error = paired.std(ddof=1) / np.sqrt(len(paired)) if len(paired) > 1 else 0
        accuracy, loss, their_accuracy, their_loss = rows.mean(axis=0)
        print(
            f"{n:5} {len(rows):5}  {accuracy:8.4f} {their_accuracy:8.4f} {paired.mean():+8.4f} {error:7.4f}"
            f"  {loss:8.4f} {their_loss:8.4f} {loss / their_loss:6.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
