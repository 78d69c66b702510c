"""RUN/predictions: predicted probabilities and true classes of images.

validation-seedS.csv            each image of a validation part, predicted by the network that was
                                not trained on it; with several folds, all except the test images
test-seedS.csv                  the test part; with several folds, the mean of the folds' networks
networks/test-foldF-seedS.csv   with several folds only: the test part, predicted by one network
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from thyroid.errors import InputError
from thyroid.run_files.network import Network

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ARTIFACT = "predictions.csv"
"""Name of the file in the artifact of a prediction stage."""
NETWORKS = "networks"
"""Folder of the single networks' predictions."""
COLUMNS = ("image_id", "patient_id", "centre", "label", "findings")


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Predicted probabilities and true labels, row by row."""

    classes: tuple[str, ...]
    images: pd.DataFrame
    """The columns image_id, patient_id, centre, label (a class) and findings (";"-joined)."""
    probabilities: Floats
    """(N, C), rows summing to 1, columns in the order of `classes`."""
    folds: Ints | None = None
    """(N,) fold whose network predicted the image; None: one network predicted all, or all did."""

    @property
    def labels(self) -> Ints:
        """Index of the true class, (N,)."""
        return np.array([self.classes.index(c) for c in self.images["label"]], dtype=np.int64)

    @property
    def is_cross(self) -> npt.NDArray[np.bool_]:
        """True where an image shows more than one disease, (N,)."""
        return np.array([";" in f for f in self.images["findings"]], dtype=bool)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write CSV: the image's columns, its fold, and p_CLASS of each class in full precision."""
    table = predictions.images[list(COLUMNS)].copy()
    if predictions.folds is not None:
        table["fold"] = predictions.folds
    for c, name in enumerate(predictions.classes):
        table[f"p_{name}"] = predictions.probabilities[:, c]
    table.to_csv(path, index=False, lineterminator="\n")


def read_predictions(path: Path, classes: tuple[str, ...]) -> Predictions:
    """Read the file that `write_predictions` wrote.

    Raises
    ------
    InputError
        When the file is missing, is not CSV, lacks a column, or has an impossible label or
        probability.
    """
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(COLUMNS, str), keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a table ({error}): run the command again."
        ) from None
    named = [f"p_{name}" for name in classes]
    missing = [column for column in (*COLUMNS, *named) if column not in table.columns]
    if missing:
        raise InputError(
            f"{path} has no column '{missing[0]}': run the command that made it again."
        )
    unknown = np.flatnonzero(~table["label"].isin(classes))
    if len(unknown):
        raise InputError(
            f"{path}, row {unknown[0] + 2}: '{table['label'].iloc[unknown[0]]}' is not a class of "
            f"this run ({', '.join(classes)}): run the command that made it again."
        )
    columns = [pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float) for name in named]
    probabilities = np.stack(columns, axis=1)
    wrong = np.flatnonzero(
        ~(np.abs(probabilities.sum(axis=1) - 1) < 1e-3) | (probabilities < 0).any(axis=1)
    )
    if len(wrong):
        raise InputError(
            f"{path}, row {wrong[0] + 2}: the probabilities are negative or do not add up to 1: "
            "run the command that made it again."
        )
    return Predictions(
        classes=classes,
        images=table[list(COLUMNS)],
        probabilities=probabilities,
        folds=_folds(path, table) if "fold" in table else None,
    )


def out_of_fold(by_fold: Sequence[Predictions]) -> Predictions:
    """Concatenate the validation parts of all folds.

    >>> images = pd.DataFrame({name: ["x"] for name in COLUMNS})
    >>> one = Predictions(classes=("x",), images=images, probabilities=np.ones((1, 1)))
    >>> out_of_fold([one, one]).folds
    array([0, 1])
    """
    if len(by_fold) == 1:
        return by_fold[0]
    return Predictions(
        classes=by_fold[0].classes,
        images=pd.concat([p.images for p in by_fold], ignore_index=True),
        probabilities=np.concatenate([p.probabilities for p in by_fold]),
        folds=np.repeat(np.arange(len(by_fold)), [len(p.images) for p in by_fold]),
    )


def ensemble(networks: Sequence[Predictions]) -> Predictions:
    """Average the probabilities of networks that predict the same images."""
    probabilities = np.mean([p.probabilities for p in networks], axis=0)
    return replace(networks[0], probabilities=probabilities)


def network_file(network: Network) -> str:
    """Return the name of the file in networks/ that holds one network's test predictions."""
    return f"test-{network.name}.csv"


def read_networks(folder: Path, classes: tuple[str, ...]) -> dict[Network, Predictions]:
    """Return the test predictions of each network below `folder`.

    Raises
    ------
    InputError
        When a file cannot be read, or two files are of different images.
    """
    found = {}
    for path in folder.glob(f"{NETWORKS}/*.csv"):
        if match := re.fullmatch(r"test-fold(\d+)-seed(\d+)\.csv", path.name):
            found[Network(seed=int(match[2]), fold=int(match[1]))] = read_predictions(path, classes)
    for path in [] if found else folder.glob("test-seed*.csv"):  # there is one fold
        if match := re.fullmatch(r"test-seed(\d+)\.csv", path.name):
            found[Network(seed=int(match[1]), fold=0)] = read_predictions(path, classes)
    ordered = {network: found[network] for network in sorted(found)}
    tables = [predictions.images for predictions in ordered.values()]
    if any(not table.equals(tables[0]) for table in tables):
        raise InputError(
            f"{folder}: the networks' test images differ: run the command that made them again."
        )
    return ordered


def _folds(path: Path, table: pd.DataFrame) -> Ints:
    try:
        return table["fold"].to_numpy(dtype=np.int64)
    except (ValueError, TypeError, OverflowError):
        raise InputError(
            f"{path} has a fold that is not a number: run the command that made it again."
        ) from None
