"""The report of a run: one HTML file that needs nothing else, and its numbers beside it."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from reports import sections
from reports.calibration import calibration_info
from reports.claims import claims_info
from reports.comparison import comparison_info
from reports.curves import curves_info
from reports.data import data_info, training_sheet
from reports.language import later
from reports.page import write_page
from reports.provenance import provenance_info
from reports.results import results_info
from reports.retention import forgetting_info
from reports.run import Run, read_run
from reports.synthetic_gain import worth_info
from reports.training import training_info
from reports.verdict import verdict_info

ALONE: dict[str, ModuleType] = {
    found.name: importlib.import_module(f"{sections.__name__}.{found.name}")
    for found in pkgutil.iter_modules(sections.__path__)
}
"""The sections that stand by themselves."""


def write_report(run: str | Path, out: str | Path | None = None, lang: str = "en") -> Path:
    """Write the report of a run, finished or still at work; the same run gives the same bytes.

    Parameters
    ----------
    run
        Folder that `thyroid train`, `search`, `compare` or `demo` wrote.
    out
        The page; where not given RUN/report.html, or RUN/report.zh.html of another language than
        English. Its numbers go to the same name with .json.
    lang
        `en` or `zh`.

    Raises
    ------
    InputError
        When the folder holds no run, a file of it is damaged, or the page cannot be written.
    """
    content = read_run(Path(run))
    name = "report.html" if lang == "en" else f"report.{lang}.html"
    out = content.folder / name if out is None else Path(out)
    info = report_info(content)
    drawing = {name: module for name, module in ALONE.items() if hasattr(module, "pictures")}
    drawn = {name: module.pictures(content) for name, module in drawing.items()}
    twice = any(group["real"] for group in drawn.get("generators", ()))
    pictures = drawn | {"sheet": [] if twice else training_sheet(content)}
    return write_page("report.html", info, out, lang, pictures=pictures, sections=contents(info))


def report_info(run: Run) -> dict[str, Any]:
    """Every number and name of the page: the content of report.json."""
    alone = {name: module.info(run) for name, module in ALONE.items()}
    data, results = data_info(run), results_info(run)
    training, worth, forgetting = training_info(run), worth_info(run), forgetting_info(run)
    comparison = comparison_info(run, results)
    verdict = verdict_info(run.config, data, results, alone.get("search"), worth, comparison)
    synthetic = verdict["synthetic"]["state"]
    claims = (training, results, comparison, worth, synthetic, forgetting)
    return {
        "format_version": 1,
        "verdict": verdict,
        "data": data,
        "training": training,
        "results": results,
        "curves": curves_info(run, comparison),
        "calibration": calibration_info(run),
        "comparison": comparison,
        "forgetting": forgetting,
        "claims": claims_info(run.config, *claims),
        "worth": worth,
        **alone,
        "provenance": provenance_info(run),
    }


def contents(info: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and title of each section that the page has, in the order of the page."""
    results = info["results"]
    argument = {
        "verdict": later("Verdict"),
        "claims": later("Claims of the publication"),
        "comparison": later("Comparison"),
        "results": later("Results on validation images")
        if results and results["part"] == "validation"
        else later("Results on test images"),
        "training": later("Training"),
        "data": later("Data"),
        "reproduce": later("How to reproduce"),
        "limits": later("Limits"),
    }
    titles = argument | {name: module.TITLE for name, module in ALONE.items()}
    silent = {name for name in ("claims", "comparison", *ALONE) if info[name] is None}
    order = [name for first in argument for name in _and_after(first)]
    return [(name, titles[name]) for name in order if name not in silent]


def _and_after(name: str) -> list[str]:
    """A section, and those that come after it wherever it stands."""
    followers = [other for other, module in ALONE.items() if name == module.AFTER]
    return [name, *(each for other in followers for each in _and_after(other))]
