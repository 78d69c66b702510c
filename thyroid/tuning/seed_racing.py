"""More seeds for the recipes whose order the seeds so far leave open."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

FIELD = 6
"""So many of the best take part."""

UNKNOWN = 4
"""So many of them get a second seed while nobody has one: what seeds do is not known yet."""

Values = dict[int, list[float]]
"""Trial number to the values of its seeds 0, 1, ..."""


def race_seeds(
    values: Mapping[int, Sequence[float]],
    more: Callable[[Sequence[tuple[int, int]]], Sequence[float] | None],
    max_seeds: int,
) -> Values:
    """Give contenders one more seed, again and again, until the best one stands apart from the
    others by a standard error of their difference, or all contenders have `max_seeds`.

    A racing rule after Maron & Moore 1994: seeds go where they may change the choice.

    Parameters
    ----------
    values : of the trials that take part, each with at least one seed
    more : the values of some (trial, seed), which it computes; None ends it, with what is known
    """
    known = {number: list(given) for number, given in values.items()}
    while True:
        close = contenders(known)
        fewest = min(len(known[number]) for number in close)
        if len(close) == 1 or fewest >= max_seeds:
            return known
        asked = [(n, fewest) for n in close if len(known[n]) == fewest]
        found = more(asked)
        if found is None:
            return known
        for (number, _), value in zip(asked, found, strict=True):
            known[number].append(value)


def contenders(values: Mapping[int, Sequence[float]]) -> list[int]:
    """The trials that may be the best one, which comes first.

    The spread among seeds is taken to be the same for all, and pooled; a single seed each says
    nothing about it.
    """
    ranked = sorted(values, key=lambda number: (-fmean(values[number]), number))
    spread = seed_spread(values.values())
    if spread is None:
        return ranked[:UNKNOWN]
    best = ranked[0]

    def close(number: int) -> bool:
        error = spread * math.sqrt(1 / len(values[best]) + 1 / len(values[number]))
        return fmean(values[best]) - fmean(values[number]) <= error

    return [number for number in ranked if number == best or close(number)]


def seed_spread(values: Iterable[Sequence[float]]) -> float | None:
    """Standard deviation among the seeds of one recipe, pooled; None without two of any."""
    groups = [group for group in values if len(group) > 1]
    if not groups:
        return None
    squares = sum((value - fmean(group)) ** 2 for group in groups for value in group)
    return math.sqrt(squares / sum(len(group) - 1 for group in groups))
