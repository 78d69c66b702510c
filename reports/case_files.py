"""The cases that a run keeps, read: which images, and where its network looked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from thyroid.errors import InputError

WHY = ("error", "uncertain")


@dataclass(frozen=True, kw_only=True, eq=False)
class Cases:
    """Content of RUN/cases."""

    listed: list[dict[str, Any]]
    images: npt.NDArray[np.uint16]
    """(K, H, H)"""
    heat: npt.NDArray[np.float16]
    """(K, S, S)"""


def read_cases(run: Path, classes: tuple[str, ...]) -> Cases | None:
    """The cases of a run; None where it has none (yet).

    Raises
    ------
    InputError
        When the folder is damaged.
    """
    folder = run / "cases"
    if not (folder / "cases.json").is_file():
        return None
    try:
        read = json.loads((folder / "cases.json").read_text(encoding="utf-8"))["cases"]
        images = np.load(folder / "images.npy", allow_pickle=False)
        heat = np.load(folder / "heat.npy", allow_pickle=False)
        listed = [_checked(case, classes) for case in read]
        square = all(a.ndim == 3 and a.shape[1] == a.shape[2] for a in (images, heat))
        whole = square and len(images) == len(heat) == len(listed)
        if not whole or images.dtype != np.uint16 or not np.isfinite(heat).all():
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError, AttributeError, EOFError):
        raise InputError(f"{folder} is damaged: run the command that made it again.") from None
    return Cases(listed=listed, images=images, heat=heat)


def _checked(case: dict[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    probabilities = [float(p) for p in case["probabilities"]]
    if len(probabilities) != len(classes) or not np.isfinite(probabilities).all():
        raise ValueError
    return {
        "image_id": str(case["image_id"]),
        "why": WHY[WHY.index(case["why"])],
        "label": classes[classes.index(case["label"])],
        "findings": str(case["findings"]),
        "named": classes[classes.index(case["named"])],
        "probabilities": probabilities,
    }
