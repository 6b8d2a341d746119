#!/usr/bin/env python3
"""How many known pictures a limit keeps, and how many others it rejects, judged on pictures that set no limit.

    xcept extract-features cats-vs-dogs -o known.safetensors
    xcept extract-features kitchen skimage -o far.safetensors
    xcept extract-features animals -o near.safetensors
    benches/unknown/halves.py weights/cats-vs-dogs.safetensors known.safetensors far.safetensors near.safetensors

The limit is the distance within which --share of one random half of the validation pictures lies; the other half, and
every file of other pictures, are judged by it. Prints means over --halves such halves, and for each file of others the
area under the ROC curve against all validation pictures with a 95 % interval (bootstrap over both).
"""

import argparse
import json

import numpy as np
from safetensors import safe_open


def features(path, split=None):
    with safe_open(path, "numpy") as file:
        splits = json.loads(file.metadata()["xcept"])["splits"]
        rows = file.get_tensor("features").astype(np.float64)
    return rows if split is None else rows[[name == split for name in splits]]


def distances(model, rows):
    """As `rejection.rs` has them: the root of the mean squared deviation from the nearest class."""
    with safe_open(model, "numpy") as file:
        means, components, variances = (file.get_tensor(f"ood.{name}").astype(np.float64)
                                        for name in ["means", "components", "variances"])
    own, rest = variances[:-1], variances[-1]
    squared = []
    for mean in means:
        centred = rows - mean
        along = centred @ components.T
        outside = np.maximum((centred**2).sum(1) - (along**2).sum(1), 0)
        squared.append((along**2 / own).sum(1) + outside / rest)
    return np.sqrt(np.min(squared, 0) / rows.shape[1])


def auroc(known, other):
    order = np.sort(known)
    below, upto = np.searchsorted(order, other, "left"), np.searchsorted(order, other, "right")
    return (below + upto).mean() / 2 / len(known)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("known")
    parser.add_argument("others", nargs="+")
    parser.add_argument("--share", type=float, default=0.98)
    parser.add_argument("--halves", type=int, default=200)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    known = distances(arguments.model, features(arguments.known, "val"))
    others = {path: distances(arguments.model, features(path)) for path in arguments.others}
    kept, rejected = [], {path: [] for path in others}
    for _ in range(arguments.halves):
        order = random.permutation(len(known))
        one, other = known[order[: len(known) // 2]], known[order[len(known) // 2 :]]
        limit = np.quantile(one, arguments.share)
        kept.append((other <= limit).mean())
        for path, found in others.items():
            rejected[path].append((found > limit).mean())
    print(f"known: {len(known)} pictures, {100 * np.mean(kept):.2f} % of the other half kept")
    for path, found in others.items():
        drawn = [auroc(random.choice(known, len(known)), random.choice(found, len(found))) for _ in range(2000)]
        low, high = np.quantile(drawn, [0.025, 0.975])
        print(f"{path}: {len(found)} pictures, {100 * np.mean(rejected[path]):.1f} % rejected, "
              f"AUROC {auroc(known, found):.4f} ({low:.4f} to {high:.4f})")


if __name__ == "__main__":
    main()
