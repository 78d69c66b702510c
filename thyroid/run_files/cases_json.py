"""RUN/cases: the first seed's confident errors and uncertain images, and where its network looked.

cases.json   the cases
images.npy   (K, H, H) uint16, the data set's counts
heat.npy     (K, S, S) float16, S the side of the network's input: for each pixel, how much the log
             probability (nats) of the predicted class falls, mean over the patches that cover it

The cases stage's artifact has the same files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from thyroid.errors import InputError
from thyroid.files import replace_text
from thyroid.run_files.json_file import AGAIN, read_json, text_of

FOLDER = "cases"
FILE, IMAGES, HEAT = "cases.json", "images.npy", "heat.npy"

Why = Literal["error", "uncertain"]
"""Reason why an image is kept: a confident error, or two classes of nearly equal probability."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One image, and the network's prediction of it."""

    image_id: str
    """Identifier of the image in its data set."""
    why: Why
    label: str
    """The true class."""
    findings: str
    """All true classes, joined by `;`."""
    named: str
    """The predicted class."""
    probabilities: tuple[float, ...]
    """Probability of each class, in the data set's order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cases:
    """Content of RUN/cases."""

    listed: tuple[Case, ...]
    images: npt.NDArray[np.uint16]
    """(K, H, H)"""
    heat: npt.NDArray[np.float16]
    """(K, S, S)"""


@dataclass(frozen=True, kw_only=True)
class _Content:
    format_version: int = 1
    cases: tuple[Case, ...]


def write_cases(folder: Path, cases: Cases) -> None:
    """Write cases.json, images.npy and heat.npy."""
    np.save(folder / HEAT, cases.heat)
    np.save(folder / IMAGES, cases.images)
    replace_text(folder / FILE, text_of(_Content(cases=cases.listed)))


def read_cases(folder: Path, classes: tuple[str, ...]) -> Cases | None:
    """Return the cases in a folder; None if it has no cases.json.

    Raises
    ------
    InputError
        When a file is damaged or missing, or names another class.
    """
    damaged = InputError(f"{folder} is damaged: {AGAIN}")
    try:
        content = read_json(_Content, folder / FILE)
        if content is None:
            return None
        images = np.load(folder / IMAGES, allow_pickle=False)
        heat = np.load(folder / HEAT, allow_pickle=False)
    except (InputError, OSError, ValueError, EOFError):
        raise damaged from None
    arrays = [a for a in (images, heat) if isinstance(a, np.ndarray) and a.ndim == 3]
    square = len(arrays) == 2 and all(a.shape[1] == a.shape[2] for a in arrays)
    if not square or images.dtype != np.uint16 or heat.dtype != np.float16:
        raise damaged
    whole = len(images) == len(heat) == len(content.cases) and np.isfinite(heat).all()
    known = all(
        {case.label, case.named} <= set(classes) and len(case.probabilities) == len(classes)
        for case in content.cases
    )
    if not (whole and known):
        raise damaged
    return Cases(listed=content.cases, images=images, heat=heat)
