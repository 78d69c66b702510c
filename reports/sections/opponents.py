"""Terms on which baselines are beaten or not: their size, what was tried for them, what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.estimates import Range
from reports.sections.comparison_rows import MethodRow, OtherRow, PlannedRow

BUDGET = 0.75
"""Least share of the method's parameters with which a baseline that is beaten counts as beaten."""


@dataclass(frozen=True, kw_only=True)
class FailedRow:
    """A baseline of which some training failed."""

    title: str
    failed: int
    trainings: int
    again: int
    """Trainings that had failed before all were repeated at a tenth of the learning rate; 0: none
    was repeated."""


@dataclass(frozen=True, kw_only=True)
class Opponents:
    parameters: int | None
    """The method's."""
    counted: Range | None
    """Fewest and most parameters of the baselines that count; None where there are none."""
    smaller: list[str]
    """Titles of baselines that are beaten, and have too few parameters to be counted."""
    failed: list[FailedRow]
    detectable: Range | None
    """Least and greatest of the smallest true differences that would have been shown with a power
    of 80 %, over the baselines that count."""


def opponents(
    planned: Sequence[PlannedRow], method: MethodRow, rows: Sequence[OtherRow]
) -> Opponents:
    """The terms of a comparison with the baselines `rows`."""
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
    """Return whether a baseline is one of those of which the method beats some, or not.

    Left out are only rows that would be wins: where trainings failed, and where the baseline is too
    small. A small one that is not beaten counts.
    """
    return row.state != "failed" and not (row.state == "higher" and _smaller(row, method))


def _smaller(row: OtherRow, method: MethodRow) -> bool:
    own, other = method.parameters, row.parameters
    return own is not None and other is not None and other < BUDGET * own
