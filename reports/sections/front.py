"""A search with several objectives: the trials on the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

from thyroid.run_files.trials_csv import Trial

AIMS = {"macro_f1": 1, "cross_recall": 1, "compute": -1}
"""Objective -> 1 if a larger value is better, -1 if a smaller one is."""
SHOWN = 20
"""Maximum number of rows of the table."""


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """A complete trial that has a value for each objective."""

    number: int
    macro_f1: float | None
    cross_recall: float | None
    compute: float | None
    """Stage-seconds."""
    front: bool
    """True if the trial is on the front."""
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Front:
    objectives: list[str]
    """Objectives for which some trial has a value."""
    without: list[str]
    """The other objectives."""
    trials: int
    """Number of trials that have a value for each objective."""
    left_out: int
    """Number of trials that lack a value."""
    size: int
    """Number of trials on the front."""
    listed: int
    """Number of these trials that the table lists."""
    chosen: int | None
    """Number of the chosen trial."""
    chosen_on: bool | None
    """True if the chosen trial is on the front."""
    points: list[FrontPoint]
    rows: list[Trial]
    """Trials in the table: those of the front that are best in the first objective."""


def front_info(
    trials: Sequence[Trial], objectives: Sequence[str], chosen: int | None
) -> Front | None:
    """The Pareto front of the complete trials; None if there is a single objective."""
    named = [name for name in objectives if name in AIMS]
    if len(named) < 2:
        return None
    known = [name for name in named if any(getattr(t, name) is not None for t in trials)]
    values = [{name: getattr(trial, name) for name in known} for trial in trials]
    whole = [i for i, own in enumerate(values) if known and None not in own.values()]
    best = set(compress(whole, non_dominated([values[i] for i in whole], known)))
    front = sorted(
        best, key=lambda i: (*(-AIMS[n] * values[i][n] for n in known), trials[i].number)
    )
    return Front(
        objectives=known,
        without=[name for name in named if name not in known],
        trials=len(whole),
        left_out=len(trials) - len(whole),
        size=len(front),
        listed=len(front[:SHOWN]),
        chosen=chosen,
        chosen_on=None if chosen is None else any(trials[i].number == chosen for i in front),
        points=[
            FrontPoint(
                number=trials[i].number,
                macro_f1=trials[i].macro_f1,
                cross_recall=trials[i].cross_recall,
                compute=trials[i].compute,
                front=i in best,
                chosen=trials[i].number == chosen,
            )
            for i in whole
        ],
        rows=[trials[i] for i in front[:SHOWN]],
    )


def non_dominated(
    trials: Sequence[Mapping[str, float | None]], objectives: Sequence[str]
) -> list[bool]:
    """Return True for each trial on the front; one that lacks a value is not.

    a dominates b: no objective of a is worse, and one is better. So trials with the same values
    are on the front together.
    """
    values = {
        i: tuple(-AIMS[name] * value for name in objectives if (value := trial[name]) is not None)
        for i, trial in enumerate(trials)
    }  # less is better
    whole = {i: own for i, own in values.items() if len(own) == len(objectives)}
    front: set[tuple[float, ...]] = set()
    for own in sorted(set(whole.values())):  # sorted after all that dominate it
        if not any(all(a <= b for a, b in zip(other, own, strict=True)) for other in front):
            front.add(own)
    return [whole.get(i) in front for i in range(len(trials))]
