"""Conditions of a comparison with baselines: their sizes and their failed trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.estimates import Range
from reports.sections.comparison_rows import MethodRow, OtherRow, PlannedRow

BUDGET = 0.75
"""A beaten baseline counts only if it has at least this share of the method's parameters."""


@dataclass(frozen=True, kw_only=True)
class FailedRow:
    """A baseline with failed trainings."""

    title: str
    failed: int
    trainings: int
    again: int
    """Number of trainings that failed at first, before all were repeated at a tenth of the learning
    rate; 0 if none was repeated."""


@dataclass(frozen=True, kw_only=True)
class Opponents:
    parameters: int | None
    """Number of parameters of the method."""
    counted: Range | None
    """Smallest and largest number of parameters of the baselines that count; None if none
    counts."""
    smaller: list[str]
    """Titles of baselines that are beaten but have too few parameters to count."""
    failed: list[FailedRow]
    detectable: Range | None
    """Range, over the baselines that count, of the smallest true difference that would have been
    shown with a power of 80 %."""


def opponents(
    planned: Sequence[PlannedRow], method: MethodRow, rows: Sequence[OtherRow]
) -> Opponents:
    """The conditions of a comparison with the baselines `rows`."""
    counted = [row for row in rows if counts(row, method)]
    sizes = [row.parameters for row in counted if row.parameters is not None]
    found = [row.detectable for row in counted]
    return Opponents(
        parameters=method.parameters,
        counted=Range(low=min(sizes), high=max(sizes)) if sizes else None,
        smaller=[row.title for row in rows if row.state == "higher" and _smaller(row, method)],
        failed=[
            FailedRow(
                title=row.title,
                failed=row.failed,
                trainings=row.trainings,
                again=row.failed_at_first,
            )
            for row in planned
            if row.kind == "baseline" and row.failed
        ],
        detectable=Range(low=min(found), high=max(found)) if found else None,
    )


def counts(row: OtherRow, method: MethodRow) -> bool:
    """Return whether a baseline counts in the statement that the method beats N of M baselines.

    A beaten baseline does not count if some of its trainings failed, or if it is small. A baseline
    that is not beaten always counts.
    """
    return row.state != "failed" and not (row.state == "higher" and _smaller(row, method))


def _smaller(row: OtherRow, method: MethodRow) -> bool:
    own, other = method.parameters, row.parameters
    return own is not None and other is not None and other < BUDGET * own
