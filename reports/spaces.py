"""How trials lie in the searched space: what parallel coordinates and slices draw."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

LINES = 300
"""Trials that are drawn at most."""
AXES = 10
PANELS = 12
SHADES = 5


def space_info(
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
        `axes`: `name`, `kind` (number | log | word), and `ticks` as (place, text). `lines`: of each
        drawn trial its `number`, `state`, `macro_f1`, `shade` (0 for the lowest fifth of the values
        to 4), `chosen`, and `places`, from 0 to 1 on each axis, None where it has no such
        parameter; the best trials come last, over the others. `drawn` of `trials` trials are shown.
    """
    valued = [t for t in trials if t["macro_f1"] is not None and t["state"] != "failed"]
    if len(valued) < 2:
        return None
    shown = _shown(valued)
    axes = [_axis(name, [t["parameters"].get(name) for t in shown]) for name in names]
    order = sorted(t["macro_f1"] for t in shown)
    lines = [
        {
            "number": t["number"],
            "state": t["state"],
            "macro_f1": t["macro_f1"],
            "shade": min(SHADES - 1, SHADES * bisect_left(order, t["macro_f1"]) // len(order)),
            "chosen": t["number"] == chosen,
            "places": [_place(axis, t["parameters"].get(axis["name"])) for axis in axes],
        }
        for t in sorted(shown, key=lambda t: (t["number"] == chosen, t["macro_f1"], t["number"]))
    ]
    return {
        "trials": len(valued),
        "drawn": len(lines),
        "low": order[0],
        "high": order[-1],
        "axes": [{name: axis[name] for name in ("name", "kind", "ticks")} for axis in axes],
        "lines": lines,
    }


def _shown(trials: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """The best third of what is drawn, and others spread evenly."""
    if len(trials) <= LINES:
        return trials
    ranked = sorted(trials, key=lambda t: (-t["macro_f1"], t["number"]))
    best, rest = ranked[: LINES // 3], ranked[LINES // 3 :]
    step = len(rest) / (LINES - len(best))
    return [*best, *(rest[int(i * step)] for i in range(LINES - len(best)))]


def _axis(name: str, values: Sequence[Any]) -> dict[str, Any]:
    known = [v for v in values if v is not None]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in known):
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        log = low > 0 and high / low > 100
        axis = {"name": name, "kind": "log" if log else "number", "low": low, "high": high}
        middle = math.sqrt(low * high) if log else (low + high) / 2
        ticks = [low] if low == high else [low, middle, high]
        return axis | {"ticks": [(_place(axis, v), f"{v:.3g}") for v in ticks]}
    words = sorted({str(v) for v in known})
    axis = {"name": name, "kind": "word", "words": words}
    return axis | {"ticks": [(_place(axis, word), word) for word in words]}


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
