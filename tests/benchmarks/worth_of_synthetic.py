"""What synthetic scintigrams are worth: recipes with and without them, on other centres.

Trained on `thyroid7` (60 training images per class, 20 per cross), tested on `thyroid7-external`
with another seed (200 per class, 100 per cross). Every arm has as many steps; arms are compared
seed by seed with the first one, `real`, by the paired bootstrap over seeds and patients.

    python -m tests.benchmarks.worth_of_synthetic FOLDER --seeds 0 1 2 3 4 [--arms real small]

Seeds may be run apart, in one FOLDER; the last call tells of all that are there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from thyroid import machine, pipeline
from thyroid.commands.phantom import phantom
from thyroid.data.dataset import Dataset
from thyroid.evaluate.metrics import macro_f1
from thyroid.evaluate.paired import macro_f1_difference
from thyroid.execute import in_process
from thyroid.recipe import RECIPES, override
from thyroid.run import without_synthetic
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import start
from thyroid.stages.images import images
from thyroid.stages.prediction import probabilities
from thyroid.store import Store

ARMS: dict[str, dict[str, Any]] = {
    "real": {},
    "small": {},
    "crosses throughout": {"mixing.final_share": 0.2},
}


def main() -> None:
    """Train what is missing, and print a row per arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["real", "small"])
    parser.add_argument("--test-seed", type=int, default=1)
    asked = parser.parse_args()
    train, test = asked.folder / "train", asked.folder / f"test-{asked.test_seed}"
    if not train.exists():
        phantom(train, images_per_class=75, images_per_cross=25, seed=0)
    if not test.exists():
        phantom(
            test,
            preset="thyroid7-external",
            images_per_class=200,
            images_per_cross=100,
            seed=asked.test_seed,
        )
    for seed in asked.seeds:
        for arm in asked.arms:
            out = asked.folder / "predicted" / arm / f"{test.name}-seed{seed}.npy"
            if not out.exists():
                out.parent.mkdir(parents=True, exist_ok=True)
                np.save(out, _predict(arm, seed, train, test, asked.folder))
                print(arm, seed, flush=True)
    _tell(asked.folder, Dataset.open(test))


def _predict(arm: str, seed: int, train: Path, test: Path, folder: Path) -> Any:
    """Probabilities (N, C) for the test images."""
    recipe = override(RECIPES["small"](), {"split.test": 0.0} | ARMS[arm])
    recipe = dataclasses.replace(recipe, execution=machine.resolve(recipe.execution))
    if arm == "real":
        recipe = without_synthetic(recipe)
    data = Dataset.open(train)
    store = Store(folder / "store")
    trained = _make(pipeline.classifier(recipe, data.digest, seed)[-1], data, store)
    on = start(recipe.execution)
    network, _, config = load_model(trained, on)
    external = Dataset.open(test)
    counts, _ = images(external, np.arange(len(external)), config, on)
    return probabilities(network, counts, config.normalisation, on).numpy()


def _make(stage: Any, data: Dataset, store: Store) -> Path:
    for _ in in_process(store, {data.digest: data.folder})([stage]):
        pass
    folder = store.open(stage.key)
    assert folder is not None
    return folder


def _tell(folder: Path, test: Dataset) -> None:
    """A row per arm: macro-F1 over seeds, single and cross accuracy, difference from `real`."""
    found: dict[str, dict[int, Any]] = {}
    for path in sorted((folder / "predicted").glob("*/test-*-seed*.npy")):
        if path.name.startswith(test.folder.name + "-"):
            seed = int(path.stem.rpartition("seed")[2])
            found.setdefault(path.parent.name, {})[seed] = np.load(path).argmax(1)
    classes = len(test.info.classes)
    for arm, by_seed in found.items():
        seeds = sorted(set(by_seed) & set(found["real"]))
        own, real = (np.stack([found[name][s] for s in seeds]) for name in (arm, "real"))
        row: dict[str, Any] = {"arm": arm, "seeds": len(seeds)}
        for name, rows in (("single", ~test.is_cross), ("cross", test.is_cross)):
            row[name] = round(float((own == test.labels)[:, rows].mean()), 4)
        reached = [macro_f1(test.labels, p, classes) for p in own]
        row["macro_f1"] = f"{np.mean(reached):.4f} +- {np.std(reached, ddof=1):.4f}"
        if arm != "real" and len(seeds) > 1:
            d = macro_f1_difference(
                test.labels, own, real, test.patients.astype(str), classes=classes
            )
            row["difference"] = f"{d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}] p {d.p_value:.3f}"
            cross = test.is_cross
            c = macro_f1_difference(
                test.labels[cross],
                own[:, cross],
                real[:, cross],
                test.patients[cross].astype(str),
                classes=classes,
            )
            row["on crosses"] = f"{c.value:+.4f} [{c.low:+.4f}, {c.high:+.4f}] p {c.p_value:.3f}"
        print(json.dumps(row))


if __name__ == "__main__":
    main()
