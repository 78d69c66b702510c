"""Predictions from fixed random numbers: by networks of several folds, and by compared rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.stub_config import stub_comparison, with_config
from thyroid.data.dataset import Dataset
from thyroid.run_files.config_json import read_config
from thyroid.run_files.network import Network
from thyroid.run_files.predictions_csv import (
    NETWORKS,
    Predictions,
    ensemble,
    network_file,
    out_of_fold,
    read_networks,
    read_predictions,
    write_predictions,
)
from thyroid.run_files.rows_json import ComparedRow, write_rows


def predict_in_folds(run: Path, dataset: Dataset, fold_of, seeds, rng) -> None:
    """Predictions by a network for each fold and seed, of its fold's images and of test images."""
    folder = run / "predictions"
    (folder / NETWORKS).mkdir()

    def blank(chosen) -> Predictions:
        images = dataset.images[chosen].reset_index(drop=True)
        even = np.ones((len(images), len(dataset.info.classes)))
        return Predictions(classes=dataset.info.classes, images=images, probabilities=even)

    test = blank(fold_of < 0)
    difficult = rng.normal(size=test.probabilities.shape)
    for seed in seeds:
        held_out, tested = [], []
        for fold in range(fold_of.max() + 1):
            held_out.append(guessed(rng, blank(fold_of == fold), 2.0))
            tested.append(guessed(rng, test, 2.0, difficult))
            write_predictions(folder / NETWORKS / network_file(Network(seed, fold)), tested[-1])
        write_predictions(folder / f"validation-seed{seed}.csv", out_of_fold(held_out))
        write_predictions(folder / f"test-seed{seed}.csv", ensemble(tested))


ROWS = {
    "method": ("method", "the method", {}, 2.0),
    "resnet_small": ("baseline", "ResNet, small", {"network.cross_feature": "none"}, 1.9),
    "lenet5": ("baseline", "LeNet-5", {"network.name": "lenet5", "network.width": None}, -1.0),
    "vgg_small": ("baseline", "VGG, small", {"network.name": "vgg_small"}, 1.0),
    "no-x": ("ablation", "no x_i", {"network.cross_feature": "none"}, 2.0),
    "mixed": ("ablation", "cross images mixed in from the start", {"cross.order": "mixed"}, -1.0),
}
"""Name -> kind, title, changes and skill."""


def add_comparison(run: Path, dataset: Dataset, rows=ROWS, *, done=True, parts=("test",)) -> Path:
    """Turn a run into a comparison of its recipe (the method) with others."""
    rng = np.random.default_rng(7)
    compared = stub_comparison(base=read_config(run).base)
    with_config(run, command="compare", search=None, comparison=compared)
    (run / "trials.csv").unlink()
    write_rows(
        run,
        [
            ComparedRow(
                name=name,
                kind=kind,
                title=title,
                changes=changes,
                epochs=12,
                parameters=900_000 + int(rng.integers(10_000, 1_000_000)) // 10,
                done=done,
                trials=0 if kind == "ablation" else 3,
                train_seconds=30 * rng.random(),
            )
            for name, (kind, title, changes, _) in rows.items()
        ],
    )
    for name, (kind, _, _, skill) in rows.items() if done else ():
        for part in parts if kind != "method" else ():
            guess(run, dataset, run / "rows" / name / "predictions", rng, skill, part)
    return run


def guess(run: Path, dataset: Dataset, folder: Path, rng, skill, part="") -> None:
    """Predictions of other networks for the run's images.

    `skill` is added to the logit of the label: one number, or one for single and one for cross
    images.
    """
    single, cross = skill if isinstance(skill, tuple) else (skill, skill)
    folder.mkdir(parents=True, exist_ok=True)
    networks = read_networks(run / "predictions", dataset.info.classes)
    tested: dict[int, list[Predictions]] = {}
    several = (run / "predictions" / NETWORKS).is_dir() and part in ("", "test")
    difficult = None
    if several and networks:
        difficult = rng.normal(size=next(iter(networks.values())).probabilities.shape)
    for (seed, fold), own in networks.items() if several else ():
        other = guessed(rng, own, np.where(own.is_cross, cross, single), difficult)
        tested.setdefault(seed, []).append(other)
        (folder / NETWORKS).mkdir(exist_ok=True)
        write_predictions(folder / NETWORKS / network_file(Network(seed, fold)), other)
    for path in sorted((run / "predictions").glob(f"{part}*.csv")):
        own = read_predictions(path, dataset.info.classes)
        seed = int(path.stem.rpartition("seed")[2])
        if path.stem.startswith("test") and seed in tested:
            other = ensemble(tested[seed])
        else:
            other = guessed(rng, own, np.where(own.is_cross, cross, single))
        write_predictions(folder / path.name, other)


def guessed(rng, own: Predictions, skill, difficult=None) -> Predictions:
    """Predictions for the same images. `skill`, one number or one per image, is added to the logit
    of the label. `difficult`, a number per image and class, is an error that networks have in
    common.
    """
    logits = rng.normal(size=own.probabilities.shape)
    if difficult is not None:
        logits = 0.6 * logits + 0.8 * difficult
    logits[np.arange(len(logits)), own.labels] += skill
    p = np.exp(logits)
    return replace(own, probabilities=p / p.sum(axis=1, keepdims=True))
