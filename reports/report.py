"""The report of a run: one self-contained HTML file, and a JSON file of its numbers beside it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from reports.language import later
from reports.page import write_page
from reports.run import Run, read_run
from reports.sections.calibration import Calibration, calibration_info
from reports.sections.cases import CasesOfRun, case_pictures, cases_info
from reports.sections.claims import Claims, claims_info
from reports.sections.comparison import Comparison, comparison_info
from reports.sections.curves import CurvesOfClasses, curves_info
from reports.sections.data import Data, data_info, training_sheet
from reports.sections.dose import DoseResponse, dose_info
from reports.sections.generators import Generators, generators_info, real_and_synthetic
from reports.sections.provenance import Provenance, provenance_info
from reports.sections.results import Results, results_info
from reports.sections.retention import Retention, retention_info
from reports.sections.search import Search, search_info
from reports.sections.sharing import Sharing, sharing_info
from reports.sections.synthetic_gain import SyntheticGain, synthetic_gain_info
from reports.sections.training import Training, training_info
from reports.sections.unseen import Unseen, unseen_info
from reports.sections.usage import UsageOfRun, usage_info
from reports.sections.verdict import Verdict, verdict_info

TITLES = {
    "verdict": later("Verdict"),
    "claims": later("Claims of the publication"),
    "comparison": later("Comparison"),
    "dose": later("Dose of synthetic images"),
    "unseen": later("A combination that was never seen"),
    "results": later("Results on test images"),
    "training": later("Training"),
    "generators": later("Synthetic scintigrams"),
    "search": later("Search"),
    "sharing": later("What was computed"),
    "usage": later("Node-hours and stage-hours"),
    "cases": later("Cases"),
    "data": later("Data"),
    "provenance": later("How to reproduce"),
    "limits": later("Limits"),
}
"""The sections, in the order of the page."""
OPTIONAL = (
    *("claims", "comparison", "dose", "unseen", "generators", "search", "sharing", "usage"),
    "cases",
)
"""Sections that are left out if they have nothing to show."""
DRAWN = (
    *("calibration", "comparison", "curves", "dose", "front", "generators", "importance"),
    *("results", "search", "search_space", "stage_tree", "training"),
)
FIGURES = {f"{name}_figures": import_module(f"reports.sections.{name}_figures") for name in DRAWN}
"""Modules with the functions that templates call to draw figures."""


def write_report(run: str | Path, out: str | Path | None = None, lang: str = "en") -> Path:
    """Write the report of a run, finished or still at work; the same run gives the same bytes.

    Parameters
    ----------
    run
        Folder that `thyroid train`, `search`, `compare` or `demo` wrote.
    out
        Path of the page; default: RUN/report.html, or RUN/report.zh.html in Chinese. Its numbers
        are written beside it, with the suffix .json.
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
    pairs = real_and_synthetic(content)
    shown = any(group.real for group in pairs)
    pictures = {
        "generators": pairs,
        "cases": case_pictures(content),
        "sheet": [] if shown else training_sheet(content),
    }
    return write_page(
        "report.html", vars(info), out, lang, pictures=pictures, sections=contents(info), **FIGURES
    )


@dataclass(frozen=True, kw_only=True)
class Report:
    """Every number and name of the page: the content of report.json."""

    format_version: int = 1
    verdict: Verdict
    claims: Claims | None
    comparison: Comparison | None
    dose: DoseResponse | None
    unseen: Unseen | None
    results: Results | None
    retention: Retention | None
    curves: CurvesOfClasses | None
    calibration: Calibration | None
    training: Training | None
    generators: Generators | None
    synthetic_gain: SyntheticGain | None
    search: Search | None
    sharing: Sharing | None
    usage: UsageOfRun | None
    cases: CasesOfRun | None
    data: Data
    provenance: Provenance


def report_info(run: Run) -> Report:
    """The numbers of all sections; a section comes after those whose numbers it needs."""
    data, training, search = data_info(run), training_info(run), search_info(run)
    results, retention, gain = results_info(run), retention_info(run), synthetic_gain_info(run)
    comparison, generators = comparison_info(run, results), generators_info(run)
    searched = None if search is None else search.parameters
    verdict = verdict_info(run.config, data, results, searched, gain, comparison, generators)
    state = verdict.synthetic.state
    return Report(
        verdict=verdict,
        claims=claims_info(run.config, training, results, comparison, gain, state, retention),
        comparison=comparison,
        dose=dose_info(run, results),
        unseen=unseen_info(run, results),
        results=results,
        retention=retention,
        curves=curves_info(run, comparison),
        calibration=calibration_info(run),
        training=training,
        generators=generators,
        synthetic_gain=gain,
        search=search,
        sharing=sharing_info(run),
        usage=usage_info(run),
        cases=cases_info(run),
        data=data,
        provenance=provenance_info(run),
    )


def contents(report: Report) -> list[tuple[str, str]]:
    """Name and title of each section that the page has, in the order of the page."""
    titles = dict(TITLES)
    if report.results and report.results.part == "validation":
        titles["results"] = later("Results on validation images")
    return [
        (name, title)
        for name, title in titles.items()
        if name not in OPTIONAL or getattr(report, name) is not None
    ]
