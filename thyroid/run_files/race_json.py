"""RUN/race.json: the recipes in a search's final race, and the comparison that decided it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thyroid.files import replace_text
from thyroid.run_files.json_file import read_json, text_of

FILE = "race.json"


@dataclass(frozen=True, kw_only=True)
class RacedRecipe:
    """One recipe of the race, with the last comparison in which it took part."""

    trial: int | None
    """Number of its trial; None: the recipe that the search started from."""
    folds: int
    """Number of folds in which it was compared."""
    seeds: int
    """Trainings in each of these folds."""
    macro_f1: float
    """Macro-F1 of all validation images of these folds, each predicted by a network that was not
    trained on it; mean over seeds."""
    standard_error: float | None
    """Standard error of macro_f1, over patients and, with several folds, training sets; None for a
    single patient."""
    behind: float
    """Macro-F1 of the best recipe in this comparison minus its own."""
    behind_error: float | None
    """Paired standard error of `behind`, over the same; None for a single patient."""
    state: Literal["chosen", "contender", "dropped"]
    """contender: not chosen, but behind the best recipe by at most a standard error."""


@dataclass(frozen=True, kw_only=True)
class _Content:
    raced: tuple[RacedRecipe, ...]


def write_race(run: Path, raced: Sequence[RacedRecipe]) -> None:
    """Write RUN/race.json, the chosen recipe first; write nothing if there was no race."""
    if raced:
        replace_text(run / FILE, text_of(_Content(raced=tuple(raced)), indent=2) + "\n")
    else:
        (run / FILE).unlink(missing_ok=True)


def read_race(run: Path) -> list[RacedRecipe]:
    """Return the recipes of the race, the chosen one first; empty if there was no race.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    content = read_json(_Content, run / FILE, "run `thyroid search` again.")
    return [] if content is None else list(content.raced)
