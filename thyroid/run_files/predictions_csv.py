"""RUN/predictions/PART-seedS.csv: a model's probabilities of some images, beside the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from thyroid.errors import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COLUMNS = ("image_id", "patient_id", "centre", "label", "findings")


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Predicted probabilities and true labels, row by row."""

    classes: tuple[str, ...]
    images: pd.DataFrame
    """The columns image_id, patient_id, centre, label (a class) and findings (";"-joined)."""
    probabilities: Floats
    """(N, C), rows summing to 1, columns in the order of `classes`."""

    @property
    def labels(self) -> Ints:
        """Index of the true class, (N,)."""
        return np.array([self.classes.index(c) for c in self.images["label"]], dtype=np.int64)

    @property
    def is_cross(self) -> npt.NDArray[np.bool_]:
        """True where an image shows more than one disease, (N,)."""
        return np.array([";" in f for f in self.images["findings"]], dtype=bool)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write CSV: the image's columns, then p_CLASS of each class in full precision."""
    table = predictions.images[list(COLUMNS)].copy()
    for c, name in enumerate(predictions.classes):
        table[f"p_{name}"] = predictions.probabilities[:, c]
    table.to_csv(path, index=False, lineterminator="\n")


def read_predictions(path: Path, classes: tuple[str, ...]) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises
    ------
    InputError
        When the file is missing or is not CSV, lacks a column, or holds an impossible label or
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
            f"{path}, row {unknown[0] + 2}: '{table['label'].iloc[unknown[0]]}' is no class of "
            f"this run ({', '.join(classes)}): run the command that made it again."
        )
    columns = [pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float) for name in named]
    probabilities = np.stack(columns, axis=1)
    wrong = np.flatnonzero(
        ~(np.abs(probabilities.sum(axis=1) - 1) < 1e-3) | (probabilities < 0).any(axis=1)
    )
    if len(wrong):
        raise InputError(
            f"{path}, row {wrong[0] + 2}: the probabilities are not at least 0 with sum 1: "
            "run the command that made it again."
        )
    return Predictions(classes=classes, images=table[list(COLUMNS)], probabilities=probabilities)
