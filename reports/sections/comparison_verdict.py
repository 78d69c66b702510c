"""The verdict on the method and the baselines, and the number of recipes tried for each."""

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
    """Smallest number of recipes for a baseline."""
    most: int
    """Largest number of recipes for a baseline."""
    uneven: bool
    """True if some baseline had another number of recipes than the method."""


@dataclass(frozen=True, kw_only=True)
class ComparisonVerdict:
    state: str
    """none (there is no baseline) | running (some baseline has no predictions yet) | failed (each
    baseline had failed trainings) | the `Direction` of the difference between the method and the
    best baseline"""


@dataclass(frozen=True, kw_only=True)
class AgainstBaselines(ComparisonVerdict):
    """The method compared with the best baseline, and the number of baselines that it beats."""

    best: str
    """Title of the baseline whose single networks have the highest mean macro-F1."""
    best_macro_f1: float | None
    """Mean over the single networks of this baseline."""
    gap: Estimate
    """Macro-F1 of the method minus the best baseline's; the reverse if the state is lower."""
    level: float
    """Level of the gap's interval."""
    p_value: float
    detectable: float
    """Smallest true difference that would have been shown with a power of 80 %."""
    ensembles: DifferenceAtLevel | None
    """The method's ensemble minus the best baseline's; None without ensembles."""
    networks: int
    tried: Budgets
    baselines: int
    """Number of baselines that count (see `opponents.counts`)."""
    opponents: Opponents
    beaten: int
    """Number of baselines that the method beats."""
    beaten_by: int
    """Number of baselines that beat the method."""


def comparison_verdict(plan: Sequence[PlannedRow], tables: Sequence[Table]) -> ComparisonVerdict:
    """The verdict; it has figures as soon as all baselines have predictions."""
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
    """Mean macro-F1 of single networks."""
    if row.single is not None:
        return row.single.macro_f1
    return row.metrics.macro_f1.value if row.metrics.macro_f1 else None


def _budgets(table: Table) -> Budgets:
    """Numbers of recipes tried for the method and the baselines; probes have nothing to try."""
    own = max(1, table.rows[0].trials or 0)
    others = [max(1, r.trials or 0) for r in table.others if "probe" not in parts_of(r)] or [own]
    uneven = any(own != other for other in others)
    return Budgets(method=own, fewest=min(others), most=max(others), uneven=uneven)
