"""The report of a run: one HTML file that needs nothing else, and its numbers beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reports.calibration import calibration_info
from reports.cases import case_pictures, cases_info
from reports.claims import claims_info
from reports.comparison import comparison_info
from reports.costs import costs_info
from reports.curves import curves_info
from reports.data import data_info
from reports.forgetting import forgetting_info
from reports.generators import generators_info
from reports.page import write_page
from reports.provenance import provenance_info
from reports.results import results_info
from reports.run import Run, read_run
from reports.savings import savings_info
from reports.scintigrams import contact_sheet, side_by_side
from reports.search import search_info
from reports.training import training_info
from reports.verdict import verdict_info
from reports.worth import uses_synthetic, worth_info


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
    info, sides = report_info(content), comparison_sheet(content)
    real = any(group["real"] for group in sides)  # then they need not be shown twice
    sheet = [] if real else training_sheet(content)
    pictures = {"sheet": sheet, "sides": sides, "cases": case_pictures(content)}
    return write_page("report.html", info, out, lang, **pictures)


def report_info(run: Run) -> dict[str, Any]:
    """Every number and name of the page: the content of report.json."""
    data, results, search = data_info(run), results_info(run), search_info(run)
    training, worth, forgetting = training_info(run), worth_info(run), forgetting_info(run)
    comparison = comparison_info(run, results)
    verdict = verdict_info(run.config, data, results, search, worth, comparison)
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
        "generators": generators_info(run),
        "search": search,
        "cases": cases_info(run),
        "savings": savings_info(run),
        "costs": costs_info(run),
        "provenance": provenance_info(run),
    }


def training_sheet(run: Run, size: int | None = None) -> list[dict[str, Any]]:
    """A few training images per class and cross; none where the data are gone."""
    if run.dataset is None or not run.parts:
        return []
    part = run.dataset.images["image_id"].map(run.parts)
    return contact_sheet(run.dataset, (part == "train").to_numpy(), per_group=3, size=size)


def comparison_sheet(run: Run) -> list[dict[str, Any]]:
    """Training images and synthetic ones of the same findings, with pixels of the same size."""
    if run.examples is None or not uses_synthetic(run.config):
        return []
    made = contact_sheet(run.examples, per_group=3)
    return side_by_side(training_sheet(run, run.examples.info.size), made)
