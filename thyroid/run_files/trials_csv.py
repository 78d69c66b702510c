"""RUN/trials.csv: a row for each trial of a search that has ended."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from thyroid.configuration import from_json
from thyroid.errors import InputError
from thyroid.files import replace_text

FILE = "trials.csv"
PARAMETER = "param_"
"""Columns that begin with this hold the parameters of the search space."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Outcome of one trial."""

    number: int
    """Number of the trial, from 0."""
    state: Literal["complete", "pruned", "failed"]
    """pruned: stopped at a rung."""
    macro_f1: float | None = None
    """F1 averaged over classes, of the validation images of all its folds together, each predicted
    by a network that was not trained on it; mean over seeds. For a pruned trial: mean over its
    networks at the last epoch."""
    standard_error: float | None = None
    """Standard error of macro_f1 over patients and, with several folds, training sets; None for a
    pruned trial or a single patient."""
    cross_recall: float | None = None
    """Share of the validation images of several diseases whose primary finding is recognised, mean
    over seeds; None if there is no such image."""
    compute: float | None = None
    """Stage-seconds of all its stages, as if no stage were shared."""
    epochs: int
    """Number of epochs for which its classifiers were trained."""
    seconds: float | None = None
    """Seconds from beginning to end, including waiting; None for a trial of a warm start."""
    computed: float | None = None
    """Stage-seconds of the stages that were computed for it."""
    reused_stages: int | None = None
    """Stages that it needed and found in the store or shared with another trial."""
    computed_stages: int | None = None
    """Stages that were computed for it."""
    chosen: int = 0
    """1: its recipe was chosen; else 0. race.json has the comparison that decided."""
    reason: str = ""
    """Why it was stopped or failed, or the run from which a warm start took it."""
    parameters: dict[str, Any]
    """Parameters of the trial by name; each is a column `param_NAME`."""

    @property
    def row(self) -> dict[str, Any]:
        """Column -> cell."""
        searched = {PARAMETER + name: value for name, value in self.parameters.items()}
        return {name: getattr(self, name) for name in COLUMNS} | searched


COLUMNS = tuple(field.name for field in fields(Trial) if field.name != "parameters")
TEXTS = ("state", "reason")


def write_trials(run: Path, trials: Sequence[Trial]) -> None:
    """Write RUN/trials.csv."""
    rows, text = [trial.row for trial in trials], io.StringIO()
    columns = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    replace_text(run / FILE, text.getvalue())


def read_trials(run: Path) -> list[Trial]:
    """Return the trials of RUN/trials.csv by number; empty if there is no such file.

    Raises
    ------
    InputError
        When the file is not a table, lacks a column, or a cell is not of its column's type.
    """
    path = run / FILE
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            rows, named = list(table), table.fieldnames or ()
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table ({error}): search again.") from None
    missing = [name for name in COLUMNS if name not in named]
    if missing:
        raise InputError(f"{path} has no column '{missing[0]}': run `thyroid search` again.")
    trials = []
    for place, row in enumerate(rows, start=2):
        try:
            trials.append(_trial(row))
        except (InputError, TypeError, AttributeError):
            raise InputError(
                f"{path}, row {place} is not a trial's row: run `thyroid search` again."
            ) from None
    return sorted(trials, key=lambda trial: trial.number)


def _trial(row: dict[str, str]) -> Trial:
    cells = {name: text if name in TEXTS else _value(text) for name, text in row.items()}
    asked = [name for name in row if name.startswith(PARAMETER) and row[name]]
    plain = {name: cells[name] for name in COLUMNS}
    plain |= {"parameters": {name.removeprefix(PARAMETER): cells[name] for name in asked}}
    return from_json(Trial, plain)


def _value(text: str) -> Any:
    """Return a cell's value as in JSON: whole numbers as integers, None for an empty cell."""
    if text in ("", "True", "False"):
        return {"True": True, "False": False}.get(text)
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() else number
