"""The stages that a run needed, as its stages.json has them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thyroid.errors import InputError


@dataclass(frozen=True, kw_only=True)
class NeededStage:
    """One stage: computed by this run, or found in the store."""

    key: str
    kind: str
    seconds: float
    """Of its one computation."""
    inputs: tuple[str, ...]
    """Keys."""
    seed: int | None
    first_epoch: int | None
    epochs: int | None
    phase: str | None
    users: tuple[str, ...]
    """Such as `trial 3` or `seed 0`: at least one."""
    found: bool
    """Whether an earlier run had left it in the store."""

    @property
    def needs(self) -> int:
        """Number of users: so often it would have been computed without sharing."""
        return len(self.users)


def read_stages(path: Path) -> list[NeededStage] | None:
    """What stages.json lists; None where a run has none.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["stages"]
        stages = [_stage(row) for row in listed]
        sound = len({stage.key for stage in stages}) == len(stages)
    except (OSError, ValueError, TypeError, KeyError):
        sound = False
    if not sound:
        raise InputError(f"{path} is damaged: run the command that made it again.")
    return stages


def _stage(row: dict[str, Any]) -> NeededStage:
    """ValueError, TypeError or KeyError where the row is none of a stage."""
    stage = NeededStage(
        key=_text(row["key"]),
        kind=_text(row["kind"]),
        seconds=float(row["seconds"]),
        inputs=tuple(_text(key) for key in row["inputs"]),
        seed=_count(row["seed"]),
        first_epoch=_count(row["first_epoch"]),
        epochs=_count(row["epochs"]),
        phase=None if row["phase"] is None else _text(row["phase"]),
        users=tuple(_text(user) for user in row["users"]),
        found=row["found"] is True,
    )
    if not (math.isfinite(stage.seconds) and stage.seconds >= 0 and stage.needs >= 1):
        raise ValueError
    return stage


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _count(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or value < 0):
        raise ValueError
    return value
