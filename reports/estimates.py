"""Estimates with their intervals, and the numbers that all comparisons share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from thyroid.evaluate.bootstrap import Interval
from thyroid.evaluate.paired import Difference, detectable
from thyroid.evaluate.significance import holm, holm_levels

LEVEL = 0.95
RESAMPLES = 2000
ENOUGH_NETWORKS = 5
"""Number of networks of each method, of several seeds or folds, that a verdict needs."""

Direction = Literal["higher", "lower", "undecided", "luck", "selected", "few_networks", "failed"]
"""Meaning of a difference: see `direction`. failed: it is higher than that of a row with failed
trainings, which is not a success."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Range:
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """A difference between networks of two recipes, paired by seed and fold; one of a family."""

    difference: Estimate
    level: float
    """Level of the difference's interval, by Holm's method in its family."""
    p_value: float
    """Corrected by Holm's method in its family."""
    uncorrected_p_value: float
    detectable: float
    """Smallest true difference that would have been shown with a power of 80 %."""
    state: Direction
    """Meaning of the difference, see `direction`."""


def rounded(value: Any) -> float:
    """Round to twelve decimals, because further ones depend on the processor."""
    return round(float(value), 12)


def probability(value: float) -> float:
    """Round to twelve significant digits, so that a tiny p-value stays above zero."""
    return float(f"{value:.12g}")


def has_flat_interval(estimates: Iterable[Estimate | None]) -> bool:
    """Return whether any interval has no width."""
    return any(e is not None and e.low == e.high for e in estimates)


def estimate(interval: Interval, c: int | None = None) -> Estimate | None:
    """An interval, or its entry for class `c`, as an estimate; None if it is undefined."""
    value, low, high = (
        rounded(x if c is None else x[c]) for x in (interval.value, interval.low, interval.high)
    )
    if not np.isfinite([value, low, high]).all():
        return None
    return Estimate(value=value, low=low, high=high)


def gain(difference: Difference, level: float | None = None) -> Estimate:
    """A difference with its interval, at the difference's own level or at a given one."""
    low, high = difference.interval(difference.level if level is None else level)
    return Estimate(value=rounded(difference.value), low=rounded(low), high=rounded(high))


def smallest_found(difference: Difference, level: float = LEVEL) -> float:
    """The smallest true difference that would have been shown at a level with a power of 80 %."""

    def half(level: float) -> float:
        low, high = difference.interval(level)
        return (high - low) / 2

    return rounded(detectable(difference) + half(level) - half(LEVEL))


def direction(
    gained: Estimate, p_value: float, networks: int, learned: bool = True, tried: int = 1
) -> Direction:
    """Name what a difference shows.

    Returns
    -------
    few_networks
        There are too few networks for a verdict, whatever the interval.
    undecided
        The interval contains zero, or p is too large.
    luck
        The first side is higher, but it has learned nothing.
    selected
        One side is the best of `tried` recipes on the same images. Of equal recipes the luckiest
        one is chosen, and the interval does not take this into account.
    higher, lower
        The difference is shown.
    """
    if networks < ENOUGH_NETWORKS:
        return "few_networks"
    if p_value > 1 - LEVEL or gained.low <= 0 <= gained.high:
        return "undecided"
    if gained.low > 0 and not learned:
        return "luck"
    if tried > 1:
        return "selected"
    return "higher" if gained.low > 0 else "lower"


def paired_differences(
    found: Sequence[Difference], networks: Sequence[int], tried: Sequence[int], learned: bool
) -> list[PairedDifference]:
    """A family of differences, with p-values and intervals by Holm's method.

    Parameters
    ----------
    networks, tried, learned : see `direction`; one value for each difference, `learned` for all
    """
    raw = [difference.interval_p_value for difference in found]
    corrected, levels = holm(raw), holm_levels(raw, LEVEL)
    family = []
    for i, (difference, p, level) in enumerate(zip(found, corrected, levels, strict=True)):
        gained = gain(difference, level)
        family.append(
            PairedDifference(
                difference=gained,
                level=rounded(level),
                p_value=probability(p),
                uncorrected_p_value=probability(raw[i]),
                detectable=smallest_found(difference, level),
                state=direction(gained, p, networks[i], learned, tried[i]),
            )
        )
    return family
