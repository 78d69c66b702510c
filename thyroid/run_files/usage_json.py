"""RUN/usage.json: node-hours and stage-hours of a run, and the budget of its search."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thyroid.files import replace_text
from thyroid.run_files.json_file import read_json, text_of

FILE = "usage.json"

Purpose = Literal["search", "final"]


@dataclass(frozen=True, kw_only=True)
class Hours:
    """Hours that commands spent for one purpose."""

    purpose: Purpose
    """search: trying recipes, including the final race; final: training the chosen recipe."""
    hours: float = 0.0
    """Hours that commands worked for the purpose."""
    node_hours: float = 0.0
    """Hours of all nodes that were alive during this time."""
    gpu_node_hours: float = 0.0
    """Hours of the nodes that have GPUs."""
    there_processor_hours: float = 0.0
    """Hours of the nodes' processors."""
    there_gpu_hours: float = 0.0
    """Hours of the nodes' GPUs."""
    stage_hours: float = 0.0
    """Hours that stages ran, including stages that failed or were cancelled."""
    processor_hours: float = 0.0
    """Hours of the processors that stages held: threads times workers."""
    gpu_hours: float = 0.0
    """Hours of the GPUs that stages held."""

    def __post_init__(self) -> None:
        if min(getattr(self, name) for name in HOURS) < 0:
            raise ValueError("hours below zero")


HOURS = tuple(field.name for field in dataclasses.fields(Hours) if field.name != "purpose")


@dataclass(frozen=True, kw_only=True)
class SearchBudget:
    """Limits of a search."""

    time_hours: float | None = None
    """`--time-budget` of the last command."""
    gpu_hours: float | None = None
    """`--gpu-hours` of the last command."""
    ended: Literal["time_hours", "gpu_hours"] | None = None
    """The limit that ended the search."""

    def __post_init__(self) -> None:
        if min(self.time_hours or 0, self.gpu_hours or 0) < 0:
            raise ValueError("hours below zero")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Content of usage.json."""

    format_version: int = 1
    budget: SearchBudget | None
    """Limits of a search; None: the run is not a search."""
    purposes: tuple[Hours, ...]


def write_usage(run: Path, usage: Usage) -> None:
    """Write RUN/usage.json."""
    replace_text(run / FILE, text_of(usage) + "\n")


def read_usage(run: Path) -> Usage | None:
    """Read RUN/usage.json; None if a run has no such file.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    return read_json(Usage, run / FILE, "delete it; hours used before are then not counted.")
