"""What a run keeps of its synthetic images, read: how good they are, and some of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from thyroid.data.dataset import Dataset
from thyroid.errors import InputError

WAYS = ("bicubic", "pixel", "adversarial")
"""Ways to enlarge an image: by interpolation, and by the SRGAN after each part of its training."""
GOOD = ("lower", "higher", "equal")
"""What is good of a measure: lower, higher, or equal to that of real images."""


def read_quality(path: Path) -> dict[str, Any] | None:
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
        return {
            "about": [str(sentence) for sentence in read.get("about", [])],
            "images": {p: int(read["images"][p]) for p in ("train", "validation", "synthetic")},
            "rows": [
                {
                    "measure": str(row["measure"]),
                    "group": str(row["group"]),
                    "synthetic": _number(row["synthetic"]),
                    "real": _number(row["real"]),
                    "better": GOOD[GOOD.index(row["better"])],
                    "images": int(row["images"]),
                }
                for row in read["rows"]
            ],
            "super_resolution": _super_resolution(read["super_resolution"]),
        }
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


def _super_resolution(read: dict[str, Any] | None) -> dict[str, Any] | None:
    if read is None:
        return None
    measures = ("psnr_db", "ssim", "kernel_distance")
    found = {measure: {way: _number(read[measure][way]) for way in WAYS} for measure in measures}
    return found | {"images": int(read["images"])}


def _number(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise ValueError
    return None if value is None else float(value)
