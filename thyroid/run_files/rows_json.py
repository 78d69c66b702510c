"""RUN/rows.json: the recipes of a comparison, and the cost of their training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thyroid.files import replace_text
from thyroid.run_files.json_file import read_json, text_of

FILE, FOLDER = "rows.json", "rows"
PARTS = " · "
"""Joins the parts of a title, each of which a report translates."""

Failure = Literal["diverged", "chance", "start"]
"""Why a training failed. diverged: its loss was not a number. chance, start: its last validation
macro-F1 is no better than chance, or than in its first epochs."""


@dataclass(frozen=True, kw_only=True)
class FailedTraining:
    """One network of a row whose training failed."""

    seed: int
    fold: int
    reason: Failure


@dataclass(frozen=True, kw_only=True)
class Dose:
    """The synthetic images of a row of a dose-response curve."""

    generator: str
    """A generator such as `dcgan+srgan`; `oracle`: simulated patients; `none` at share 0."""
    share: float
    """Share of synthetic images among all images that training draws."""
    images_per_class: int | None
    """Number of real images of each class that are trained on; None: all."""


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One recipe of a comparison."""

    name: str
    """Name of the row and of its folder in RUN/rows: letters, digits, `_` and `-`."""
    kind: Literal["method", "baseline", "ablation", "dose", "unseen"]
    title: str
    """Title for a reader, such as `ResNet-18 · fine-tuned · FILE` or `LeNet-5 · probe · FILE`."""
    changes: dict[str, Any]
    """Dotted fields of the recipe that differ from the method's, and their values."""
    parameters: int
    """Number of trained parameters of its network; for a probe, those of the last layer."""
    trials: int
    """Number of recipes from which its own was chosen, each of which trains another network; for
    the method, including those of the earlier runs that found its recipe; 0: it is the given one,
    or was made from the method's."""
    train_seconds: float
    """Seconds of training one classifier, mean over networks; 0 until it is trained."""
    epochs: int
    """Epochs of its schedule; 0 for a probe, which has none."""
    done: bool
    """True: it has been trained."""
    trainings: int = 0
    """Number of networks to train, folds times seeds; 0 in runs of earlier versions."""
    failed_at_first: int = 0
    """Trainings that failed, after which all were repeated at a tenth of the learning rate; the row
    has the recipe whose trainings failed less often. 0: nothing was repeated."""
    failed: tuple[FailedTraining, ...] = ()
    """Trainings that failed with the row's present recipe."""
    dose: Dose | None = None
    """Synthetic images of a row of a dose-response curve; None for other rows."""
    images: int | None = None
    """Images that its trainings drew, counted with repetitions, sum over networks; None until it
    has been trained, and if an earlier version trained it."""
    synthetic_images: int | None = None
    """Synthetic images among them."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-]+", self.name):
            raise ValueError("a name that is no folder's")


@dataclass(frozen=True, kw_only=True)
class _Content:
    rows: tuple[ComparedRow, ...]


def write_rows(run: Path, rows: Sequence[ComparedRow]) -> None:
    """Write RUN/rows.json, the method first."""
    replace_text(run / FILE, text_of(_Content(rows=tuple(rows)), indent=2) + "\n")


def read_rows(run: Path) -> list[ComparedRow]:
    """Return the rows of a comparison; empty if RUN has no rows.json.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    content = read_json(_Content, run / FILE, "run `thyroid compare` again.")
    return [] if content is None else list(content.rows)
