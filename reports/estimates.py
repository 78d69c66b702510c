"""Estimates as JSON has them, and the numbers that all comparisons share."""

from __future__ import annotations

from typing import Any

import numpy as np

from thyroid.evaluate.bootstrap import Interval
from thyroid.evaluate.paired import Difference

LEVEL = 0.95
RESAMPLES = 2000
ENOUGH_SEEDS = 5
"""Trainings of each method from which on a comparison has a verdict."""


def rounded(value: Any) -> float:
    """Twelve decimals: beyond these, figures hang on the processor."""
    return round(float(value), 12)


def probability(value: float) -> float:
    """Twelve digits, wherever they begin: p-values may be tiny and are no zero."""
    return float(f"{value:.12g}")


def has_flat_interval(tree: Any) -> bool:
    """Whether any interval in it has no width."""
    if isinstance(tree, dict):
        ends = tree.get("low"), tree.get("high")
        whole = "value" in tree and ends[0] is not None and ends[0] == ends[1]
        return whole or any(has_flat_interval(branch) for branch in tree.values())
    return isinstance(tree, list) and any(has_flat_interval(branch) for branch in tree)


def estimate(interval: Interval, c: int | None = None) -> dict[str, float] | None:
    """{value, low, high} of an interval, or of its entry for class `c`; None where undefined."""
    numbers = [
        rounded(x if c is None else x[c]) for x in (interval.value, interval.low, interval.high)
    ]
    if not np.isfinite(numbers).all():
        return None
    return dict(zip(("value", "low", "high"), numbers, strict=True))


def gain(difference: Difference, level: float | None = None) -> dict[str, float]:
    """{value, low, high} of a difference, at its own level or at another."""
    low, high = difference.interval(difference.level if level is None else level)
    return {"value": rounded(difference.value), "low": rounded(low), "high": rounded(high)}


def direction(
    gained: dict[str, float],
    p_value: float,
    seeds: int,
    learned: bool = True,
    tried: int = 1,
) -> str:
    """What a difference shows, in one word.

    higher | lower | undecided (the interval holds zero, or p is too large) | luck (higher, but what
    is higher knows nothing) | selected (the same images chose one side among the `tried` recipes:
    of equal ones the luckiest, which no interval of its own allows for) | few_seeds (no verdict,
    whatever the interval)
    """
    if seeds < ENOUGH_SEEDS:
        return "few_seeds"
    if p_value > 1 - LEVEL or gained["low"] <= 0 <= gained["high"]:
        return "undecided"
    if gained["low"] > 0 and not learned:
        return "luck"
    if tried > 1:
        return "selected"
    return "higher" if gained["low"] > 0 else "lower"
