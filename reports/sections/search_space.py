"""Positions of the trials in the searched space, for parallel coordinates and slices."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from reports import svg
from thyroid.run_files.trials_csv import Trial

LINES = 300
"""Maximum number of trials that are drawn."""
AXES = 10
PANELS = 12
SHADES = 5
FEW = 6
"""Maximum number of different values on an axis on which each value has a label."""
NEAR = 0.1
"""Ticks are left out if they are nearer to an end of the axis than this share of it."""


@dataclass(frozen=True, kw_only=True)
class ParameterAxis:
    name: str
    kind: str
    """number | log | word"""
    few: bool
    """True if the parameter has few different values."""
    low: float
    high: float
    words: list[str]
    """Values of the parameter if `kind` is word; they replace `low` and `high`."""
    ticks: list[tuple[float, str]]
    """Position from 0 to 1, and label."""

    def place(self, value: Any) -> float | None:
        """The position of a value, from 0 to 1; None for None."""
        if value is None:
            return None
        if self.kind == "word":
            return float(round((self.words.index(str(value)) + 0.5) / len(self.words), 4))
        if self.low == self.high:
            return 0.5
        if self.kind == "log":
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return float(round(share, 4))


@dataclass(frozen=True, kw_only=True)
class TrialLine:
    number: int
    state: str
    macro_f1: float
    shade: int | None
    """Fifth of the values to which the trial belongs, 0 (lowest) to 4; None if it is not
    complete."""
    chosen: bool
    places: list[float | None]
    """Position on each axis, from 0 to 1; None if the trial does not have the parameter."""


@dataclass(frozen=True, kw_only=True)
class Shade:
    """Lowest and highest macro-F1 of the trials of one shade."""

    shade: int
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Positions of the trials on the axes of the searched parameters."""

    complete: int
    drawn: int
    """Number of complete trials that have a line."""
    valued: int
    """Number of trials with a value, including stopped ones."""
    marked: int
    """Number of these trials that have a mark in the slices."""
    parameters: int
    crossed: int
    """Number of axes that the lines cross, counted from the first one."""
    panels: int
    """Number of axes that have a slice, counted from the first one."""
    low: float
    """Lowest macro-F1."""
    high: float
    bold: int | None
    """Number of the chosen trial; if none is chosen, of the best complete one."""
    shades: list[Shade]
    axes: list[ParameterAxis]
    lines: list[TrialLine]
    """The best trial is the last one and thus drawn over the others."""


def search_space_info(
    trials: Sequence[Trial], names: Sequence[str], chosen: int | None
) -> SearchSpace | None:
    """The positions of each trial; None if fewer than two trials have a value.

    Parameters
    ----------
    trials : all
    names : of the parameters, the most important first
    """
    valued = [(t, t.macro_f1) for t in trials if t.macro_f1 is not None and t.state != "failed"]
    if len(valued) < 2:
        return None
    shown = _shown(valued, chosen)
    complete = [(t, value) for t, value in shown if t.state == "complete"]
    order = sorted(value for _t, value in complete)
    best = max(complete, key=lambda pair: (pair[1], -pair[0].number), default=None)
    bold = chosen if chosen is not None or best is None else best[0].number
    axes = [_axis(name, [t.parameters.get(name) for t, _value in shown]) for name in names]
    lines = [
        TrialLine(
            number=t.number,
            state=t.state,
            macro_f1=value,
            shade=_shade(order, value) if t.state == "complete" else None,
            chosen=t.number == chosen,
            places=[axis.place(t.parameters.get(axis.name)) for axis in axes],
        )
        for t, value in sorted(shown, key=lambda p: (p[0].number == bold, p[1], p[0].number))
    ]
    return SearchSpace(
        complete=sum(t.state == "complete" for t, _value in valued),
        drawn=len(complete),
        valued=len(valued),
        marked=len(shown),
        parameters=len(axes),
        crossed=len(axes[:AXES]),
        panels=len(axes[:PANELS]),
        low=min(value for _t, value in shown),
        high=max(value for _t, value in shown),
        bold=bold,
        shades=_shades(order),
        axes=axes,
        lines=lines,
    )


def scale_of(values: Sequence[Any]) -> str:
    """Name the scale of a parameter's values: word | number | log.

    Numbers have a logarithmic scale if they are positive and span more than a factor of a hundred,
    and if their median is nearer to the middle of a logarithmic axis than to that of a linear one.
    """
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return "word"
    if not values or min(values) <= 0 or max(values) <= 100 * min(values):
        return "number"
    low, middle, high = min(values), median(values), max(values)
    linear = (middle - low) / (high - low)
    logarithmic = math.log(middle / low) / math.log(high / low)
    return "log" if abs(logarithmic - 0.5) < abs(linear - 0.5) else "number"


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """At most `count` of the trials, spread evenly from the first to near the last."""
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def _shown(
    trials: Sequence[tuple[Trial, float]], chosen: int | None
) -> Sequence[tuple[Trial, float]]:
    """The trials that are drawn: the chosen one, the best third, and others spread evenly."""
    if len(trials) <= LINES:
        return trials

    def rank(pair: tuple[Trial, float]) -> tuple[bool, bool, float, int]:
        trial, value = pair
        return trial.number != chosen, trial.state != "complete", -value, trial.number

    ranked = sorted(trials, key=rank)
    best = ranked[: LINES // 3]
    return [*best, *evenly(ranked[len(best) :], LINES - len(best))]


def _shade(order: Sequence[float], value: float) -> int:
    return min(SHADES - 1, SHADES * bisect_left(order, value) // len(order))


def _shades(order: Sequence[float]) -> list[Shade]:
    """The shades that trials have, with the range of each."""
    values: dict[int, list[float]] = {}
    for value in order:
        values.setdefault(_shade(order, value), []).append(value)
    return [Shade(shade=shade, low=own[0], high=own[-1]) for shade, own in values.items()]


def _axis(name: str, values: Sequence[Any]) -> ParameterAxis:
    known = [v for v in values if v is not None]
    kind = scale_of(known)
    word = kind == "word"
    different = sorted({str(v) for v in known}) if word else sorted(set(known))
    few = word or len(different) <= FEW
    low, high = (0.0, 1.0) if word or not known else (min(known), max(known))
    axis = ParameterAxis(
        name=name,
        kind=kind,
        few=few,
        low=low,
        high=high,
        words=different if word else [],
        ticks=[],
    )
    named = different if few else _round(axis)
    return replace(axis, ticks=[(axis.place(v) or 0.0, _label(v)) for v in named])


def _round(axis: ParameterAxis) -> list[float]:
    """The ends of the axis, and powers of ten or other round numbers between them."""
    if axis.kind == "log":
        first, last = math.ceil(math.log10(axis.low)), math.floor(math.log10(axis.high))
        inner = [10.0**power for power in range(first, last + 1)]
    else:
        inner = svg.Axis(low=axis.low, high=axis.high, start=0, end=1).ticks(4)
    apart = [v for v in inner if NEAR < (axis.place(v) or 0.0) < 1 - NEAR]
    return [axis.low, *apart, axis.high]


def _label(value: Any) -> str:
    if isinstance(value, str):
        return value
    shown = f"{value:.3g}" if abs(value) < 1000 else f"{value:.6g}"
    return shown.replace("e-0", "e-")
