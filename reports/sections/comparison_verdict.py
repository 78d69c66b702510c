"""The method against the baselines: the verdict, and what was tried for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.estimates import Estimate
from reports.sections.comparison_rows import (
    DifferenceAtLevel,
    MethodRow,
    PlannedRow,
    Table,
    parts_of,
)
from reports.sections.opponents import Opponents, counts, opponents


@dataclass(frozen=True, kw_only=True)
class Budgets:
    method: int
    fewest: int
    """Least of a baseline."""
    most: int
    """Most of a baseline."""
    uneven: bool
    """True: more were tried for the method than for some baseline, or fewer."""


@dataclass(frozen=True, kw_only=True)
class ComparisonVerdict:
    state: str
    """none (there is no baseline) | running (some baseline has no predictions yet) | failed (each
    baseline's trainings failed) | a `Direction`: of the method against the best baseline"""


@dataclass(frozen=True, kw_only=True)
class AgainstBaselines(ComparisonVerdict):
    """The method against the best baseline, and how many of them it beats."""

    best: str
    """Title of the best baseline, by the mean of its single networks."""
    best_macro_f1: float | None
    """Mean over its single networks."""
    gap: Estimate
    """Macro-F1 of the method less the best baseline's; the reverse where the state is lower."""
    level: float
    """Level of the gap's interval."""
    p_value: float
    detectable: float
    """Smallest true difference that would have been shown with a power of 80 %."""
    ensembles: DifferenceAtLevel | None
    """The method's ensemble less the best baseline's; None where there are none."""
    networks: int
    tried: Budgets
    baselines: int
    """Those that count (see `opponents.counts`)."""
    opponents: Opponents
    beaten: int
    """Baselines that the method beats."""
    beaten_by: int
    """Baselines that beat the method."""


def comparison_verdict(plan: Sequence[PlannedRow], tables: Sequence[Table]) -> ComparisonVerdict:
    """The method against the baselines, as soon as all have predictions."""
    planned = [row for row in plan if row.kind == "baseline"]
    table = next((table for table in tables if table.kind == "baseline"), None)
    if not planned:
        return ComparisonVerdict(state="none")
    if not all(row.done or row.diverged for row in planned):
        return ComparisonVerdict(state="running")
    rows = table.others if table is not None else []
    lost = {row.name for row in planned if 0 < row.trainings == row.failed}
    trained = [row for row in rows if row.state != "failed" and row.name not in lost]
    if table is None or not trained:
        return ComparisonVerdict(state="failed")
    best = max(trained, key=lambda row: _of_networks(row) or 0.0)
    method = table.rows[0]
    states = [row.state for row in rows if counts(row, method)]
    d = best.difference
    gap = Estimate(value=d.value, low=d.low, high=d.high)
    if best.state == "lower":
        gap = Estimate(value=-d.value, low=-d.high, high=-d.low)
    return AgainstBaselines(
        state=best.state,
        best=best.title,
        best_macro_f1=_of_networks(best),
        gap=gap,
        level=d.level,
        p_value=best.p_value,
        detectable=best.detectable,
        ensembles=best.ensembles,
        networks=best.shared_networks,
        tried=_budgets(table),
        baselines=len(states),
        opponents=opponents(planned, method, rows),
        beaten=states.count("higher"),
        beaten_by=states.count("lower"),
    )


def _of_networks(row: MethodRow) -> float | None:
    """Macro-F1 of single networks, mean."""
    if row.single is not None:
        return row.single.macro_f1
    return row.metrics.macro_f1.value if row.metrics.macro_f1 else None


def _budgets(table: Table) -> Budgets:
    """Recipes tried for the method and for the baselines but probes, which have nothing to try."""
    own = max(1, table.rows[0].trials or 0)
    others = [max(1, r.trials or 0) for r in table.others if "probe" not in parts_of(r)] or [own]
    uneven = any(own != other for other in others)
    return Budgets(method=own, fewest=min(others), most=max(others), uneven=uneven)
