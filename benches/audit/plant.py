"""Plants faults in a copy of a labelled data set, and scores what `xcept audit` finds of them.

    python3 plant.py plant DATA PLANTED [SEED]    DATA/{train,val}/CLASS/* with faults, and PLANTED.json
    python3 plant.py score PLANTED.json AUDIT.jsonl [KNOWN.json]

Needs Python 3 and Pillow. The same seed plants the same faults. KNOWN.json lists faults that were in the data set
before, as {"labels": [path, ...], "duplicates": [[path, path], ...]} below DATA; they count neither as found nor as
mistakes.
"""

import json
import os
import random
import shutil
import sys
from pathlib import Path

from PIL import Image, ImageOps

SEED = 20261122
SWAPS = 60
COPIES = 40
# What becomes of a picture that is copied into the other split, by turns.
CHANGES = ["same", "quality60", "mirrored", "half"]


def pictures(data, split):
    return sorted(path.relative_to(data) for path in (data / split).glob("*/*") if path.is_file())


def copy(source, target, change):
    if change == "same":
        shutil.copyfile(source, target)
        return
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    quality = 60 if change == "quality60" else 95
    if change == "mirrored":
        picture = ImageOps.mirror(picture)
    if change == "half":
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC)
    picture.save(target, "JPEG", quality=quality)


def plant(data, planted, seed=SEED):
    data, planted = Path(data), Path(planted)
    dice = random.Random(int(seed))
    of = {split: pictures(data, split) for split in ("train", "val")}
    chosen = dice.sample(of["train"] + of["val"], SWAPS + COPIES)
    swaps, copies = chosen[:SWAPS], chosen[SWAPS:]
    classes = sorted({path.parts[1] for paths in of.values() for path in paths})
    record = {"swaps": [], "copies": []}
    for path in of["train"] + of["val"]:
        target = path
        if path in swaps:
            other = dice.choice([name for name in classes if name != path.parts[1]])
            target = Path(path.parts[0], other, "swapped-" + path.name)
            record["swaps"].append(str(target))
        (planted / target).parent.mkdir(parents=True, exist_ok=True)
        os.link(data / path, planted / target)
    for index, path in enumerate(copies):
        change = CHANGES[index % len(CHANGES)]
        split = "val" if path.parts[0] == "train" else "train"
        target = Path(split, path.parts[1], f"copy-{change}-{path.stem}.jpg")
        copy(data / path, planted / target, change)
        record["copies"].append({"of": str(path), "copy": str(target), "change": change})
    planted.with_suffix(".json").write_text(json.dumps(record, indent=1))


def below(path):
    """SPLIT/CLASS/NAME, the end of any path of the data set."""
    return "/".join(Path(path).parts[-3:])


def ratio(count, of):
    return f"{count} of {of} ({count / of:.3f})" if of else "none"


def score(record, audit, known=None):
    record = json.loads(Path(record).read_text())
    known = json.loads(Path(known).read_text()) if known else {"labels": [], "duplicates": []}
    lines = [json.loads(line) for line in Path(audit).read_text().splitlines()]

    swaps, real = set(record["swaps"]), set(known["labels"])
    flagged = {below(line["path"]) for line in lines if line["finding"] == "label"}
    found = flagged & swaps
    print(f"planted swaps found (recall): {ratio(len(found), len(swaps))}")
    print(f"flagged labels that are planted, {len(flagged & real)} real faults apart (precision):",
          ratio(len(found), len(flagged - real)))
    print("missed swaps:", sorted(swaps - flagged))

    real = {frozenset(pair) for pair in known["duplicates"]}
    pairs = {frozenset(below(line[side]["path"]) for side in ("first", "second")): line
             for line in lines if line["finding"] == "duplicate"}
    leaks = {pair for pair, line in pairs.items() if line["leak"]}
    copies = {frozenset((copy["of"], copy["copy"])): copy["change"] for copy in record["copies"]}
    print(f"planted copies found (recall): {ratio(len(leaks & set(copies)), len(copies))}")
    for change in CHANGES:
        kind = {pair for pair, of in copies.items() if of == change}
        print(f"  {change}: {ratio(len(leaks & kind), len(kind))}")
    false = leaks - set(copies) - real
    print(f"false leaks, {len(leaks & real)} real ones apart: {len(false)}", [sorted(pair) for pair in false])
    print(f"further duplicates within a split: {len(pairs) - len(leaks)}")


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in ("plant", "score"):
        sys.exit(__doc__)
    (plant if sys.argv[1] == "plant" else score)(*sys.argv[2:])
