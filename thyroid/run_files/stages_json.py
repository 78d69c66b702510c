"""RUN/stages.json: the stages that a run needed, which of them it computed, and their users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thyroid.errors import InputError
from thyroid.files import replace_text
from thyroid.run_files.json_file import read_json, text_of

FILE = "stages.json"


@dataclass(frozen=True, kw_only=True)
class NeededStage:
    """One stage: computed by this run, or found in the store."""

    key: str
    """SHA-256 of everything that decides the artifact's bits."""
    kind: str
    """Kind of the stage, such as `dcgan`, `classifier` or `prediction`."""
    seconds: float
    """Seconds that its single computation took."""
    inputs: tuple[str, ...]
    """Keys of the stages that it reads."""
    seed: int | None
    """Seed of its random numbers; None: it uses none."""
    fold: int | None = None
    """Fold that the stage belongs to; None: there is a single split, or the stage does not depend
    on the fold."""
    first_epoch: int | None
    """Number of epochs that were trained before it; None if it trains nothing."""
    epochs: int | None
    """Number of epochs that it trains; None if it trains nothing."""
    phase: str | None
    """Phase of a classifier: single, cross or mixed."""
    users: tuple[str, ...]
    """Who needs the stage, such as `trial 3` or `seed 0`: at least one user."""
    found: bool
    """True: an earlier run left it in the store."""
    again: bool = False
    """True: this run computed it again, because the store's artifact was damaged."""

    def __post_init__(self) -> None:
        numbers = (self.seconds, self.seed, self.fold, self.first_epoch, self.epochs)
        if min(number or 0 for number in numbers) < 0:
            raise ValueError("a number below zero")
        if not self.users:
            raise ValueError("a stage that nobody needs")

    @property
    def needs(self) -> int:
        """Number of users, which is how often it would be computed without sharing."""
        return len(self.users)


@dataclass(frozen=True, kw_only=True)
class _Content:
    format_version: int = 1
    stages: tuple[NeededStage, ...]

    def __post_init__(self) -> None:
        if len({stage.key for stage in self.stages}) < len(self.stages):
            raise ValueError("a stage is listed twice")


def write_stages(run: Path, stages: Sequence[NeededStage]) -> None:
    """Write RUN/stages.json."""
    replace_text(run / FILE, text_of(_Content(stages=tuple(stages))) + "\n")


def read_stages(run: Path) -> list[NeededStage] | None:
    """Return the stages of RUN/stages.json; None if a run has no such file.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    content = read_json(_Content, run / FILE)
    return None if content is None else list(content.stages)


def keys_needed(run: Path) -> frozenset[str]:
    """Return the keys of all stages that a run needs.

    Raises
    ------
    InputError
        When the file is missing or damaged.
    """
    stages = read_stages(run)
    if stages is None:
        raise InputError(
            f"{run / FILE} is missing, so the stages of the run are unknown: run its command again."
        )
    return frozenset(stage.key for stage in stages)
