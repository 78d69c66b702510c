"""`thyroid report`."""

from __future__ import annotations

import json
from pathlib import Path

from thyroid.commands.options import RunPath


def report(run: RunPath, *, out: Path | None = None) -> None:
    """Write the report of a run.

    Args:
        run: folder that train, search or compare has filled.
        out: the page to write; default: RUN/report.html.
    """
    from reports.report import write_report
    from reports.verdict import verdict_line

    page = write_report(run, out)
    print(verdict_line(json.loads(page.with_suffix(".json").read_text())["verdict"]))
    print(f"report: {page}")
