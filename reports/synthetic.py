"""Read RUN/synthetic: the quality of the synthetic images, and examples of them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thyroid.data.dataset import Dataset
from thyroid.errors import InputError

WAYS = ("bicubic", "pixel", "adversarial")
"""Ways to enlarge an image: by interpolation, and by the SRGAN after each part of its training."""
GOOD = ("lower", "higher", "equal")
"""Good values of a measure: lower, higher, or equal to that of real images."""


@dataclass(frozen=True, kw_only=True)
class MeasuredQuality:
    """A measure of the synthetic images of a group, and the same of real ones."""

    measure: str
    group: str
    """all | findings"""
    synthetic: float | None
    real: float | None
    better: str
    """One of `GOOD`."""
    images: int


@dataclass(frozen=True, kw_only=True)
class SuperResolution:
    """Validation images made coarse and enlarged again, each measure by way to enlarge."""

    images: int
    psnr_db: dict[str, float | None]
    ssim: dict[str, float | None]
    kernel_distance: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Content of quality.json."""

    about: list[str]
    """Sentences on how to read the measures."""
    images: dict[str, int]
    """Number of train, validation and synthetic images."""
    rows: list[MeasuredQuality]
    super_resolution: SuperResolution | None


def read_quality(path: Path) -> Quality | None:
    """The quality stage's file, with every value checked; None where there is none.

    Raises
    ------
    InputError
        When it is damaged.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if read["format_version"] != 1:
            raise ValueError
        return Quality(
            about=[str(sentence) for sentence in read.get("about", [])],
            images={p: int(read["images"][p]) for p in ("train", "validation", "synthetic")},
            rows=[
                MeasuredQuality(
                    measure=str(row["measure"]),
                    group=str(row["group"]),
                    synthetic=_number(row["synthetic"]),
                    real=_number(row["real"]),
                    better=GOOD[GOOD.index(row["better"])],
                    images=int(row["images"]),
                )
                for row in read["rows"]
            ],
            super_resolution=_super_resolution(read["super_resolution"]),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path} is damaged: run the command that made it again.") from None


def read_examples(folder: Path, classes: tuple[str, ...]) -> Dataset | None:
    """Synthetic images in a data set's folder; None where there is none.

    Raises
    ------
    InputError
        When it is damaged, or its classes are not the run's.
    """
    if not folder.exists():
        return None
    try:
        examples = Dataset.open(folder)
    except InputError as error:
        raise InputError(
            f"The synthetic examples cannot be shown: run the command that made them again. {error}"
        ) from None
    if examples.info.classes != classes:
        raise InputError(
            f"{folder} has other classes than this run: run the command that made it again."
        )
    return examples


def _super_resolution(read: dict[str, Any] | None) -> SuperResolution | None:
    if read is None:
        return None
    measures = ("psnr_db", "ssim", "kernel_distance")
    found = {measure: {way: _number(read[measure][way]) for way in WAYS} for measure in measures}
    return SuperResolution(images=int(read["images"]), **found)


def _number(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise ValueError
    return None if value is None else float(value)
