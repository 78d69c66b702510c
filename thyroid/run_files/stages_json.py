"""RUN/stages.json: the stages that a run needed, which of them it computed, and who needed them."""

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
    """SHA-256 of all that decides the artifact's bits."""
    kind: str
    """Such as `dcgan`, `classifier` or `prediction`."""
    seconds: float
    """Seconds of its one computation."""
    inputs: tuple[str, ...]
    """Keys of the stages that it reads."""
    seed: int | None
    """Seed of its random numbers; None: it has none."""
    fold: int | None = None
    """Fold that validates what it trains or splits; None: there is one split, or it has none."""
    first_epoch: int | None
    """Epochs that were trained before it; None where it trains nothing."""
    epochs: int | None
    """Epochs that it trains for; None where it trains nothing."""
    phase: str | None
    """Phase of a classifier: single, cross or mixed."""
    users: tuple[str, ...]
    """Such as `trial 3` or `seed 0`: at least one."""
    found: bool
    """True: an earlier run left it in the store."""
    again: bool = False
    """True: this run computed it again because the store's was damaged."""

    def __post_init__(self) -> None:
        numbers = (self.seconds, self.seed, self.fold, self.first_epoch, self.epochs)
        if min(number or 0 for number in numbers) < 0:
            raise ValueError("a number below zero")
        if not self.users:
            raise ValueError("a stage that nobody needs")

    @property
    def needs(self) -> int:
        """Number of users: so often it would have been computed without sharing."""
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
    """Return the stages of RUN/stages.json; None where a run has no such file.

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
            f"{run / FILE} is missing, so what the run needs is not known: run its command again."
        )
    return frozenset(stage.key for stage in stages)
