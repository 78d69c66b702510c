"""How trials lie in the searched space: what parallel coordinates and slices draw."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from statistics import median
from typing import Any

from reports import svg

LINES = 300
"""Trials that are drawn at most."""
AXES = 10
PANELS = 12
SHADES = 5
FEW = 6
"""Different numbers, up to which each is named on its axis."""
NEAR = 0.1
"""Ticks nearer to an end than this share of the axis are left out."""


def search_space_info(
    trials: Sequence[dict[str, Any]], names: Sequence[str], chosen: int | None
) -> dict[str, Any] | None:
    """Where each trial lies on each parameter's axis; None where fewer than two have a value.

    Parameters
    ----------
    trials : `number`, `state`, `macro_f1` and `parameters` of every trial
    names : parameters, the most important first

    Returns
    -------
    dict
        `axes`: `name`, `kind` (number | log | word), `few`: whether it has few different values,
        and `ticks` as (place, text). `lines`: of each drawn trial its `number`, `state`,
        `macro_f1`, `shade` (of complete trials: 0 for the lowest fifth of the values to 4),
        `chosen`, and `places`, from 0 to 1 on each axis, None where it has no such parameter; the
        best come last, over the others. `shades`: the values that each stands for. `bold`: the
        chosen trial, or else the best complete one. `drawn` of `complete` trials have a line, and
        `marked` of `valued` ones, which may have been stopped, a mark. The first `crossed` of
        `parameters` axes are crossed by lines, and the first `panels` have a panel.
    """
    valued = [t for t in trials if t["macro_f1"] is not None and t["state"] != "failed"]
    if len(valued) < 2:
        return None
    shown = _shown(valued, chosen)
    complete = [t for t in shown if t["state"] == "complete"]
    order = sorted(t["macro_f1"] for t in complete)
    best = max(complete, key=lambda t: (t["macro_f1"], -t["number"]), default=None)
    bold = chosen if chosen is not None or best is None else best["number"]
    axes = [_axis(name, [t["parameters"].get(name) for t in shown]) for name in names]
    lines = [
        {
            "number": t["number"],
            "state": t["state"],
            "macro_f1": t["macro_f1"],
            "shade": _shade(order, t["macro_f1"]) if t["state"] == "complete" else None,
            "chosen": t["number"] == chosen,
            "places": [_place(axis, t["parameters"].get(axis["name"])) for axis in axes],
        }
        for t in sorted(shown, key=lambda t: (t["number"] == bold, t["macro_f1"], t["number"]))
    ]
    return {
        "complete": sum(t["state"] == "complete" for t in valued),
        "drawn": len(complete),
        "valued": len(valued),
        "marked": len(shown),
        "parameters": len(axes),
        "crossed": len(axes[:AXES]),
        "panels": len(axes[:PANELS]),
        "low": min(t["macro_f1"] for t in shown),
        "high": max(t["macro_f1"] for t in shown),
        "bold": bold,
        "shades": _shades(order),
        "axes": [{name: axis[name] for name in ("name", "kind", "few", "ticks")} for axis in axes],
        "lines": lines,
    }


def scale_of(values: Sequence[Any]) -> str:
    """How a parameter's values lie: word | number | log.

    Numbers are logarithmic where they are positive, span more than a factor of a hundred, and their
    median is nearer to the middle of a logarithmic axis than to that of a linear one.
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
    """At most so many of them, from the first to near the last, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def _shown(trials: Sequence[dict[str, Any]], chosen: int | None) -> Sequence[dict[str, Any]]:
    """The chosen trial, the best third of what is drawn, and others spread evenly."""
    if len(trials) <= LINES:
        return trials
    ranked = sorted(
        trials,
        key=lambda t: (
            t["number"] != chosen,
            t["state"] != "complete",
            -t["macro_f1"],
            t["number"],
        ),
    )
    best = ranked[: LINES // 3]
    return [*best, *evenly(ranked[len(best) :], LINES - len(best))]


def _shade(order: Sequence[float], value: float) -> int:
    return min(SHADES - 1, SHADES * bisect_left(order, value) // len(order))


def _shades(order: Sequence[float]) -> list[dict[str, Any]]:
    """The least and the greatest value of each shade that occurs."""
    values: dict[int, list[float]] = {}
    for value in order:
        values.setdefault(_shade(order, value), []).append(value)
    return [{"shade": shade, "low": own[0], "high": own[-1]} for shade, own in values.items()]


def _axis(name: str, values: Sequence[Any]) -> dict[str, Any]:
    known = [v for v in values if v is not None]
    kind = scale_of(known)
    different = sorted({str(v) for v in known}) if kind == "word" else sorted(set(known))
    few = kind == "word" or len(different) <= FEW
    axis = {"name": name, "kind": kind, "few": few}
    if kind == "word":
        axis["words"] = different
    else:
        axis["low"], axis["high"] = (different[0], different[-1]) if known else (0.0, 1.0)
    named = different if few else _round(axis)
    return axis | {"ticks": [(_place(axis, v), _label(v)) for v in named]}


def _round(axis: dict[str, Any]) -> list[float]:
    """The ends, and between them powers of ten or other round numbers."""
    low, high = axis["low"], axis["high"]
    if axis["kind"] == "log":
        first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
        inner = [10.0**power for power in range(first, last + 1)]
    else:
        inner = svg.Axis(low=low, high=high, start=0, end=1).ticks(4)
    apart = [v for v in inner if NEAR < (_place(axis, v) or 0.0) < 1 - NEAR]
    return [low, *apart, high]


def _label(value: Any) -> str:
    if isinstance(value, str):
        return value
    shown = f"{value:.3g}" if abs(value) < 1000 else f"{value:.6g}"
    return shown.replace("e-0", "e-")


def _place(axis: dict[str, Any], value: Any) -> float | None:
    if value is None:
        return None
    if axis["kind"] == "word":
        words = axis["words"]
        return float(round((words.index(str(value)) + 0.5) / len(words), 4))
    low, high = axis["low"], axis["high"]
    if low == high:
        return 0.5
    if axis["kind"] == "log":
        return float(round(math.log(value / low) / math.log(high / low), 4))
    return float(round((value - low) / (high - low), 4))
