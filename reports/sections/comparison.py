"""The method compared with other networks, and with itself without one of its parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.estimates import ENOUGH_NETWORKS, LEVEL, RESAMPLES, Range, has_flat_interval
from reports.language import later
from reports.measured import measured
from reports.run import Run
from reports.sections.comparison_metrics import ROW_RESAMPLES
from reports.sections.comparison_rows import (
    DIFFERENCE_RESAMPLES,
    KINDS,
    PlannedRow,
    Table,
    comparison_tables,
    is_done,
    parts_of,
    planned,
)
from reports.sections.comparison_verdict import (
    AgainstBaselines,
    ComparisonVerdict,
    comparison_verdict,
)
from reports.sections.results import Confusion, Results, confusion
from thyroid.evaluate.metrics import confusion_matrix

STARTS = ("fine-tuned", "probe")
"""Parts of titles for which the page has an explanation."""
TITLES = (
    later("the method"),
    later("no synthetic images"),
    later("eigen-scintigrams instead of the DCGAN"),
    later("bicubic interpolation instead of the SRGAN"),
    later("single images alone, no cross images"),
    later("cross images mixed in from the start"),
    later("cross images' targets without other findings"),
    later("no superposed cross images"),
    later("no x_i"),
    later("x_i from the image"),
    later("x_i from the stem's output"),
    later("x_i from the block's mean"),
    later("fine-tuned"),
    later("probe"),
    later("random weights"),
)
"""Titles of rows, or parts of them. Names of networks and files are the same in every language."""


@dataclass(frozen=True, kw_only=True)
class BaselineConfusion(Confusion):
    title: str
    seeds: int
    """1 for an ensemble."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    plan: list[PlannedRow]
    rows: int
    waiting: int
    """Number of rows without predictions."""
    starts: list[str]
    """The kinds (fine-tuned, probe) that some row has."""
    level: float
    """Level of the metrics' intervals."""
    enough_networks: int
    part: str | None
    """test | validation; None if nothing is predicted yet, like the next two fields."""
    images: int | None
    patients: int | None
    resamples: dict[str, int]
    """Numbers of bootstrap resamples for the method, for a row and for a difference."""
    tables: list[Table]
    """The tables of baselines and of ablations that have a finished row."""
    levels: Range | None
    """Levels of the differences' intervals."""
    flat_intervals: bool
    """True if some interval has no width."""
    verdict: ComparisonVerdict
    best_confusion: BaselineConfusion | None
    """Confusion matrix of the best baseline."""


def comparison_info(run: Run, results: Results | None) -> Comparison | None:
    """The comparison; None if the run compared nothing.

    Parameters
    ----------
    results
        Results of the method.

    Raises
    ------
    InputError
        When a row and the method have predicted different images.
    """
    if run.config.command != "compare":
        return None
    rows = [row for row in run.rows if row.kind in ("method", *KINDS)]
    if len(rows) == 1 < len(run.rows):  # other sections show the other kinds
        return None
    plan = [planned(row, is_done(run, row)) for row in rows]
    method = next((row for row in run.rows if row.kind == "method"), None)
    tables = [] if results is None or method is None else comparison_tables(run, method, results)
    levels = [row.difference.level for table in tables for row in table.others]
    estimates = [e for table in tables for row in table.rows for e in vars(row.metrics).values()]
    verdict = ComparisonVerdict(state="running")
    if results is not None and method is not None:
        verdict = comparison_verdict(plan, tables)
    best = verdict.best if isinstance(verdict, AgainstBaselines) else None
    return Comparison(
        plan=plan,
        rows=len(plan),
        waiting=sum(not row.done and not row.diverged for row in plan),
        starts=[start for start in STARTS if any(start in parts_of(row) for row in plan)],
        level=LEVEL,
        enough_networks=ENOUGH_NETWORKS,
        part=results.part if results else None,
        images=results.images if results else None,
        patients=results.patients if results else None,
        resamples={
            "method": RESAMPLES,
            "row": ROW_RESAMPLES,
            "difference": DIFFERENCE_RESAMPLES,
        },
        tables=tables,
        levels=Range(low=min(levels), high=max(levels)) if levels else None,
        flat_intervals=has_flat_interval(estimates),
        verdict=verdict,
        best_confusion=_confusion(run, best),
    )


def _confusion(run: Run, title: str | None) -> BaselineConfusion | None:
    """Confusion matrix of the baseline of this title: of its ensemble, or summed over seeds."""
    found = [r for r in run.rows if r.kind == "baseline" and r.title == title and r.predictions]
    if not found:
        return None
    assert run.part is not None
    of = measured(run.part, run.folds, found[0].predictions, found[0].networks)
    matrices = [confusion_matrix(of.labels, row, len(run.classes)) for row in of.named]
    total = confusion(np.sum(matrices, axis=0), run.classes)
    return BaselineConfusion(title=found[0].title, seeds=len(matrices), **vars(total))
