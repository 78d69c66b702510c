"""The split stage: which image belongs to which part."""

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

FILE = "split.csv"


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


def load(dataset: Dataset, folder: Path) -> Split:
    """The split that `fit` wrote, guarded: every stage that reads images enters through here.

    Raises
    ------
    LeakError
        When a patient stands in two parts.
    """
    table = pd.read_csv(folder / FILE, dtype=str)
    if list(table["image_id"]) != list(dataset.images["image_id"]):
        raise ValueError(f"{folder / FILE} belongs to another data set than {dataset.folder}")
    rows = {part: np.flatnonzero(table["part"] == part) for part in PARTS}
    parts = Split(train=rows["train"], validation=rows["validation"], test=rows["test"])
    assert_disjoint(dataset, parts)
    return parts


def trained_on(dataset: Dataset, parts: Split) -> str:
    """SHA-256 of the training images' identifiers: what a generator has seen.

    Whoever uses its pictures requires that it is the same: a generator that saw validation or test
    images would carry them into the training.
    """
    names = "\n".join(dataset.images["image_id"].iloc[parts.train])
    return hashlib.sha256(names.encode()).hexdigest()


def require_trained_on(dataset: Dataset, parts: Split, digest: str, what: str) -> None:
    """Raises
    ------
    LeakError
        When `digest` is not of this training part.
    """
    if digest != trained_on(dataset, parts):
        raise LeakError(f"{what} comes from other images than this split's training part")
