"""`thyroid report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from thyroid.commands.options import RunPath, require_page, run_here


def report(run: RunPath, *, out: Path | None = None, lang: Literal["en", "zh"] = "en") -> None:
    """Write the report of a run.

    Args:
        run: folder that train, search or compare has filled.
        out: the page to write; default: RUN/report.html, or RUN/report.zh.html.
        lang: language of the page, English or Chinese.
    """
    if out is not None:
        require_page(out)
    with run_here(run, alone=False) as folder:
        tell_report(folder, out, lang)


def tell_report(run: Path, out: Path | None = None, lang: Literal["en", "zh"] = "en") -> None:
    """Write the report, and print its verdict and its path."""
    from reports.report import write_report
    from reports.sections.verdict import verdict_line

    page = write_report(run, out, lang)
    print(verdict_line(json.loads(page.with_suffix(".json").read_text())["verdict"]))
    print(f"report: {page}")
