"""The split stage assigns each image to training, validation or test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thyroid.data.dataset import Dataset
from thyroid.data.splits import PARTS, LeakError, Split, assert_disjoint, make_split
from thyroid.recipe import SplitConfig

FILE, TRAINED_ON = "split.csv", "trained_on"

NOT_TRAINED = ("dataset", "split", "weights", "vgg19")
"""Inputs without anything learned from these images: the data, and the user's weights files."""


def fit(config: SplitConfig, inputs: Mapping[str, Path], folder: Path) -> Iterator[dict[str, Any]]:
    """Write split.csv (image_id, part), a row per image in the data set's order."""
    dataset = Dataset.open(inputs["dataset"])
    parts = make_split(dataset, config)
    assert_disjoint(dataset, parts)
    column = np.full(len(dataset.images), "", dtype=object)
    for part in PARTS:
        column[getattr(parts, part)] = part
    table = pd.DataFrame({"image_id": dataset.images["image_id"], "part": column})
    table.to_csv(folder / FILE, index=False)
    yield {f"{part}_images": len(getattr(parts, part)) for part in PARTS}


def open_split(inputs: Mapping[str, Path]) -> tuple[Dataset, Split]:
    """Open the data set and the split; every stage that reads images begins here.

    Raises
    ------
    LeakError
        When a patient is in two parts, or an input learned from other images than this split's
        training part and would carry validation or test images into the training.
    """
    dataset = Dataset.open(inputs["dataset"], verify=False)
    parts = _read(dataset, inputs["split"])
    own = _digest(dataset, parts)
    for name, folder in inputs.items():
        if name not in NOT_TRAINED and (folder / TRAINED_ON).read_text() != own:
            raise LeakError(
                f"input '{name}' comes from other images than this split's training part"
            )
    return dataset, parts


def mark_trained_on(dataset: Dataset, parts: Split, folder: Path) -> None:
    """Record the training part that an artifact learned from, which `open_split` checks later."""
    (folder / TRAINED_ON).write_text(_digest(dataset, parts))


def _digest(dataset: Dataset, parts: Split) -> str:
    """SHA-256 of the training images' identifiers."""
    names = "\n".join(dataset.images["image_id"].iloc[parts.train])
    return hashlib.sha256(names.encode()).hexdigest()


def _read(dataset: Dataset, folder: Path) -> Split:
    table = pd.read_csv(folder / FILE, dtype=str)
    if list(table["image_id"]) != list(dataset.images["image_id"]):
        raise ValueError(f"{folder / FILE} belongs to another data set than {dataset.folder}")
    rows = {part: np.flatnonzero(table["part"] == part) for part in PARTS}
    parts = Split(train=rows["train"], validation=rows["validation"], test=rows["test"])
    assert_disjoint(dataset, parts)
    return parts
