"""RUN/split.csv: the part of each image, and its fold if there are several.

The split stage's artifact has the same file, about one fold.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal

from thyroid.configuration import from_json
from thyroid.errors import InputError

FILE = "split.csv"


@dataclass(frozen=True, kw_only=True)
class SplitImage:
    """One image of the data set."""

    image_id: str
    """Identifier of the image in its data set."""
    part: Literal["train", "validation", "test", "development", "unused", "unvalidated"]
    """All images of a patient are in one part. `development`: in the folds of a run with several.
    `unused`, `unvalidated`: left out of the training or validation part."""
    fold: int | None = None
    """The fold that validates the image; None for a test image or in a run with one fold."""


COLUMNS = tuple(field.name for field in fields(SplitImage))


def write_split(folder: Path, images: Iterable[SplitImage]) -> None:
    """Write split.csv."""
    with (folder / FILE).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(astuple(image) for image in images)


def read_split(folder: Path) -> list[SplitImage]:
    """Return the images in the file's order; empty if there is no split.csv.

    Raises
    ------
    InputError
        When the file has other columns or an unknown part.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        return [_image(dict(zip(header, row, strict=True))) for row in rows]
    except (OSError, ValueError, TypeError, csv.Error, KeyError, InputError):
        raise InputError(
            f"{path} is not a table of image_id and part: run the command that made it again."
        ) from None


def _image(row: dict[str, str]) -> SplitImage:
    fold = int(row["fold"]) if row.get("fold") else None  # earlier versions had none
    return from_json(SplitImage, {**row, "fold": fold})
