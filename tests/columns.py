"""What reports/FILES.md says of a run's columns, against the run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

FILES = (Path(__file__).parents[1] / "reports" / "FILES.md").read_text()
LISTS = {"rows.json": "rows", "stages.json": "stages", "usage.json": "purposes"}
STAGES = ("classifier", "dcgan", "srgan", "synthesis")


def documented(section: str) -> set[str]:
    """Names in the first column of a section's table."""
    (text,) = re.findall(rf"^##+ {re.escape(section)}\n(.*?)(?=^##|\Z)", FILES, re.M | re.S)
    rows = re.findall(r"^\| (\S+) \|.*\|$", text, re.M)
    assert rows, section
    assert all(row.count("|") == 6 for row in re.findall(r"^\|.*\|$", text, re.M)), section
    return set(rows) - {"column", "field"}


def written(run: Path) -> Iterator[tuple[str, set[str]]]:
    """Section of FILES.md, names that the run's file has."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for stage in {line["stage"] for line in lines}:
        yield stage, {name for line in lines if line["stage"] == stage for name in line}
    yield "split.csv", set(pd.read_csv(run / "split.csv").columns)
    for path in run.rglob("predictions/**/*.csv"):
        columns = pd.read_csv(path).columns
        yield "predictions", {"p_CLASS" if c.startswith("p_") else c for c in columns}
    if (run / "trials.csv").exists():
        columns = pd.read_csv(run / "trials.csv").columns
        yield "trials.csv", {"param_NAME" if c.startswith("param_") else c for c in columns}
    for name, listed in LISTS.items():
        if (run / name).exists():
            for row in json.loads((run / name).read_text())[listed]:
                yield name, set(row)


def documented_as_written(run: Path) -> set[str]:
    """The sections that the run has files of, each of which says what is there and no more."""
    sections = set()
    for section, names in written(run):
        assert names == documented(section), section
        sections.add(section)
    files = [
        path
        for path in run.iterdir()
        if not path.name.startswith(".") and f"{path.name}" not in FILES
    ]
    assert not files, files
    return sections
