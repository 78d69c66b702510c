"""Several objectives: the trials that no other is better than, as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

AIMS = {"macro_f1": 1, "cross_recall": 1, "compute": -1}
"""What a search may optimise -> 1 where more is better, -1 where less is."""
SHOWN = 20
"""Rows of the front's table at most."""


def front_info(
    trials: Sequence[dict[str, Any]], objectives: Sequence[str], chosen: int | None
) -> dict[str, Any] | None:
    """The Pareto front of the complete trials; None of a single objective.

    Returns
    -------
    dict
        `objectives`: those that any trial has a value of, `without` the others. `points`: each
        of `trials` trials' values, and whether it is on the `front` and `chosen`; `left_out`: how
        many more lack a value. `size`: of the front; `chosen_on`: whether the chosen one is on it;
        `rows`: its `listed` best by the first objective.
    """
    named = [name for name in objectives if name in AIMS]
    if len(named) < 2:
        return None
    known = [name for name in named if any(trial[name] is not None for trial in trials)]
    whole = [t for t in trials if all(t[name] is not None for name in known)] if known else []
    best = non_dominated(whole, known)
    front = [trial for trial, on in zip(whole, best, strict=True) if on]
    front.sort(key=lambda t: (*(-AIMS[name] * t[name] for name in known), t["number"]))
    return {
        "objectives": known,
        "without": [name for name in named if name not in known],
        "trials": len(whole),
        "left_out": len(trials) - len(whole),
        "size": len(front),
        "listed": len(front[:SHOWN]),
        "chosen": chosen,
        "chosen_on": None if chosen is None else any(t["number"] == chosen for t in front),
        "points": [
            {name: trial[name] for name in ("number", *known)}
            | {"front": on, "chosen": trial["number"] == chosen}
            for trial, on in zip(whole, best, strict=True)
        ],
        "rows": front[:SHOWN],
    }


def non_dominated(
    trials: Sequence[Mapping[str, float | None]], objectives: Sequence[str]
) -> list[bool]:
    """Which trials no other dominates; never one that lacks a value.

    a dominates b: no objective of a is worse, and one is better. So trials with the same values
    are on the front together.
    """
    values = {
        i: tuple(-AIMS[name] * value for name in objectives if (value := trial[name]) is not None)
        for i, trial in enumerate(trials)
    }  # less is better
    whole = {i: own for i, own in values.items() if len(own) == len(objectives)}
    front: set[tuple[float, ...]] = set()
    for own in sorted(set(whole.values())):  # what dominates a point sorts before it
        if not any(all(a <= b for a, b in zip(other, own, strict=True)) for other in front):
            front.add(own)
    return [whole.get(i) in front for i in range(len(trials))]
