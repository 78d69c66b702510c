"""docs/reference/run-files.md has the fields that the records of run_files have."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from thyroid.run_files import predictions_csv, trials_csv
from thyroid.run_files.cases_json import Case
from thyroid.run_files.config_json import (
    ComparisonSettings,
    Doses,
    RecordedDataset,
    RunConfig,
    SearchSettings,
)
from thyroid.run_files.metrics_jsonl import KINDS
from thyroid.run_files.quality_json import QualityRow
from thyroid.run_files.race_json import RacedRecipe
from thyroid.run_files.rows_json import ComparedRow
from thyroid.run_files.split_csv import SplitImage
from thyroid.run_files.stages_json import NeededStage
from thyroid.run_files.usage_json import Hours, SearchBudget

FILES = (Path(__file__).parents[2] / "docs" / "reference" / "run-files.md").read_text()
RECORDS: dict[str, Any] = {
    **KINDS,
    "config.json": RunConfig,
    "dataset": RecordedDataset,
    "search": SearchSettings,
    "comparison": ComparisonSettings,
    "dose": Doses,
    "split.csv": SplitImage,
    "race.json": RacedRecipe,
    "rows.json": ComparedRow,
    "stages.json": NeededStage,
    "usage.json": Hours,
    "budget": SearchBudget,
    "cases.json": Case,
    "quality.json": QualityRow,
}
"""Section -> record of its table. What a run holds is read by these records, each field checked."""
COLUMNS = {
    **{section: [field.name for field in fields(record)] for section, record in RECORDS.items()},
    "trials.csv": [*trials_csv.COLUMNS, "param_NAME"],
    "predictions": [*predictions_csv.COLUMNS, "fold", "p_CLASS"],
}


@pytest.mark.parametrize("section", COLUMNS)
def test_a_table_has_the_fields_in_their_order(section: str) -> None:
    (text,) = re.findall(rf"^##+ {re.escape(section)}\n(.*?)(?=^##|\Z)", FILES, re.M | re.S)
    rows = re.findall(r"^\|.*\|$", text, re.M)
    assert all(row.count("|") == 6 for row in rows)
    assert [row.split()[1] for row in rows[2:]] == COLUMNS[section]


def all_named(run: Path) -> bool:
    """Assert that the page names every file of a run; return True."""
    names = [path.name for path in run.iterdir() if not path.name.startswith(".")]
    assert not [name for name in names if name not in FILES]
    return True
