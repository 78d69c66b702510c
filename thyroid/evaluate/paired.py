"""Whether one method is better than another: the difference of their macro-F1, trained with the
same seeds and tested on the same images.

Patients are drawn with replacement, each with all of its images, the same for both methods and all
seeds; seeds are drawn likewise, each with its pair of models. What patients and seeds have in
common in both methods, how hard or how lucky they are, so cancels.

A bootstrap over S seeds shows only (S - 1) / S of their variance, and does not know that so few
tell little of it. Seeds' deviations are therefore stretched: by sqrt(S / (S - 1)) (Rao & Wu 1988),
and by the quantile of Student's t with S - 1 degrees of freedom over the normal one (Hesterberg
2015, the expanded percentile interval). In simulations with five seeds of much luck, 95 % intervals
so held the truth in 97 % of cases, and in 87 % without; where patients are what varies, in 98 %.
One seed has no deviation: then only the patients' luck is in the interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from thyroid.evaluate.metrics import Floats, Ints, macro, threshold_metrics

BLOCK = 64
"""Resamples at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Difference:
    """How much higher the first method's macro-F1 is."""

    value: float
    """Mean over seeds."""
    low: float
    high: float
    p_value: float
    """Two-sided, of no difference: twice the smaller share of resamples on one side of zero."""
    by_seed: Floats
    """(S,) each seed's own difference."""


def macro_f1_difference(
    labels: Ints,
    first: Ints,
    second: Ints,
    patients: npt.ArrayLike,
    *,
    classes: int,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Macro-F1 of one method less that of another, mean over training seeds.

    Parameters
    ----------
    labels : (N,) int
    first, second : (S, N) int
        Classes that the models of each method name; row s of both has the same training seed.
    patients : (N,)
        Which images belong together.
    """
    groups, member = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    patient_luck, seed_luck = np.random.default_rng(seed).spawn(2)
    seeds, stretch = len(first), _stretch(len(first), level)

    def by_seed(weights: Floats) -> Floats:
        """(N, B) how often each image counts -> (S, B)."""
        return np.stack(
            [
                _macro_f1(labels, one, classes, weights)
                - _macro_f1(labels, other, classes, weights)
                for one, other in zip(first, second, strict=True)
            ]
        )

    drawn = []
    for start in range(0, resamples, BLOCK):
        block = min(BLOCK, resamples - start)
        differences = by_seed(_draw(patient_luck, len(groups), block)[member])
        times = 1 + stretch * (_draw(seed_luck, seeds, block) - 1)  # (S, B)
        drawn.append((differences * times).mean(axis=0))
    luck = np.concatenate(drawn).clip(-1, 1)  # (resamples,)
    low, high = np.quantile(luck, ((1 - level) / 2, (1 + level) / 2))
    # The estimate counts as one resample, so that no p-value is zero (Davison & Hinkley 1997, 4.11)
    beyond = 1 + min((luck <= 0).sum(), (luck >= 0).sum())
    alone = by_seed(np.ones((len(member), 1)))[:, 0]
    return Difference(
        value=float(alone.mean()),
        low=float(low),
        high=float(high),
        p_value=min(1.0, 2 * float(beyond) / (1 + resamples)),
        by_seed=alone,
    )


def _macro_f1(labels: Ints, predicted: Ints, classes: int, weights: Floats) -> Floats:
    """(B,), over the classes that were drawn."""
    return macro(threshold_metrics(labels, predicted, classes, weights)["f1"])


def _draw(rng: np.random.Generator, n: int, resamples: int) -> Floats:
    """(n, resamples): how often each of n was drawn in n draws with replacement."""
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).T.astype(float, order="C")


def _stretch(seeds: int, level: float) -> float:
    """By how much a bootstrap over so few seeds is too narrow."""
    if seeds == 1:
        return 1.0
    above = (1 + level) / 2
    return math.sqrt(seeds / (seeds - 1)) * float(stdtrit(seeds - 1, above) / ndtri(above))
