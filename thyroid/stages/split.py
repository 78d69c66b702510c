"""The split stage assigns each image to training, validation or test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from thyroid.data.dataset import PARTS, Dataset
from thyroid.data.splits import LeakError, Split, assert_disjoint, make_split
from thyroid.recipe import SplitConfig
from thyroid.run_files.split_csv import FILE, SplitImage, read_split, write_split

TRAINED_ON = "trained_on"
PLACES = tuple(field.name for field in fields(Split))

NOT_TRAINED = ("dataset", "split", "weights", "vgg19")
"""Inputs without anything learned from these images: the data, and the user's weights files."""


def fit(config: SplitConfig, inputs: Mapping[str, Path], folder: Path) -> Iterator[dict[str, Any]]:
    """Write split.csv (image_id, part), a row per image in the data set's order."""
    dataset = Dataset.open(inputs["dataset"])
    parts = make_split(dataset, config)
    assert_disjoint(dataset, parts)
    column = np.full(len(dataset.images), "", dtype=object)
    for part in PLACES:
        column[getattr(parts, part)] = part
    names = dataset.images["image_id"]
    write_split(
        folder, (SplitImage(image_id=i, part=p) for i, p in zip(names, column, strict=True))
    )
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
    own = digest_of(dataset, parts)
    for name, folder in inputs.items():
        if name not in NOT_TRAINED and (folder / TRAINED_ON).read_text() != own:
            raise LeakError(
                f"input '{name}' comes from other images than this split's training part"
            )
    return dataset, parts


def mark_trained_on(dataset: Dataset, parts: Split, folder: Path) -> None:
    """Record the training part that an artifact learned from, which `open_split` checks later."""
    (folder / TRAINED_ON).write_text(digest_of(dataset, parts))


def digest_of(dataset: Dataset, parts: Split) -> str:
    """SHA-256 of the training images' identifiers."""
    names = "\n".join(dataset.images["image_id"].iloc[parts.train])
    return hashlib.sha256(names.encode()).hexdigest()


def _read(dataset: Dataset, folder: Path) -> Split:
    images = read_split(folder)
    if [image.image_id for image in images] != list(dataset.images["image_id"]):
        raise ValueError(f"{folder / FILE} belongs to another data set than {dataset.folder}")
    column = np.array([image.part for image in images])
    parts = Split(**{part: np.flatnonzero(column == part) for part in PLACES})
    assert_disjoint(dataset, parts)
    return parts
