"""Paired difference of two methods' macro-F1 or accuracy, with the same seeds and test images.

Patients are drawn with replacement, each with all of its images, the same for both methods and all
seeds. Seeds are drawn likewise, each with its pair of models. The effects of patients and seeds
that both methods share therefore cancel.

Deviations of seeds are stretched because seeds are few, as in `bootstrap`. In simulations with five
seeds of large variation, 95 % intervals held the truth in 97 % of cases, and in 87 % without the
stretch; with variation of patients only, in 98 %. One seed has no deviation: then the interval
covers the variation of patients only.

Folds are no seeds: their training sets share patients, and the difference of two recipes contains
the luck of training sets. `training_luck` describes the correction for it, and how often intervals
of equal recipes then hold zero: 91 to 98 % out of fold, 92 to 99 % on a test set, 93 to 97 % for
ensembles (tests/benchmarks/test_fold_intervals.py).

The stretch grows with the level. When several comparisons are corrected for one another, p-values
far below 0.05 decide. These come from inverting the interval: with five seeds of large variation
and no difference, 0.7 % of them were below 0.005, against 2.6 % at the stretch of the 95 % level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.special import ndtri

from thyroid.evaluate.bootstrap import BLOCK, draw, stretch
from thyroid.evaluate.metrics import Floats, Ints, macro
from thyroid.evaluate.training_luck import overlap, shrinkage, widened


@dataclass(frozen=True, kw_only=True, eq=False)
class Difference:
    """The first method's metric minus the second's, with its resampling distribution."""

    by_seed: Floats
    """Difference of each seed, (S,); on a test set, of the networks of each fold, (K,)."""
    patient_means: Floats
    """Mean over all seeds in each resample of patients, (resamples,)."""
    seed_deviations: Floats
    """Deviation of the mean over drawn seeds from `patient_means`, not stretched, (resamples,)."""
    level: float
    """Confidence level of the interval `low` to `high`."""
    shared: float = 0.0
    """`training_luck.overlap` if `by_seed` are folds."""
    of_ensembles: float | None = None
    """Difference of the ensembles, if these are compared."""

    @property
    def value(self) -> float:
        """Mean over seeds, or the difference of the ensembles."""
        return float(self.by_seed.mean()) if self.of_ensembles is None else self.of_ensembles

    @property
    def standard_error(self) -> float:
        """Standard deviation over patients, seeds and training sets, without Student's t."""
        n = len(self.by_seed)
        few = n / (n - 1) * (1 + n * self.shared) if n > 1 else 0.0
        return float(np.sqrt(self.patient_means.var() + few * self.seed_deviations.var()))

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.interval(self.level)[0]

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.interval(self.level)[1]

    def interval(self, level: float) -> tuple[float, float]:
        """Return the interval's ends at any confidence level."""
        low, high = np.quantile(self._resampled(level), ((1 - level) / 2, (1 + level) / 2))
        return float(low), float(high)

    @cached_property
    def p_value(self) -> float:
        """Two-sided p-value of no difference: twice the smaller share of resamples beyond zero."""
        return self._beyond(self.level)

    @cached_property
    def interval_p_value(self) -> float:
        """1 minus the highest level whose interval excludes zero: the p-value to correct.

        `p_value` stretches seeds' deviations for one level, which is too little for far smaller p.
        """
        low, high = 0.0, 1.0
        for _ in range(30):
            p = (low + high) / 2
            low, high = (p, high) if self._beyond(1 - p) > p else (low, p)
        return high

    def _beyond(self, level: float) -> float:
        """Return the p-value at a level's stretch.

        The estimate counts as one resample, so that p is never zero (Davison & Hinkley 1997, 4.11).
        """
        values = self._resampled(level)
        beyond = 1 + min((values <= 0).sum(), (values >= 0).sum())
        return min(1.0, 2 * float(beyond) / (1 + len(values)))

    def _resampled(self, level: float) -> Floats:
        """Return the difference in each resample, (resamples,)."""
        factor = stretch(len(self.by_seed), level, self.shared)
        stretched = factor * self.seed_deviations
        return (self.patient_means + stretched).clip(-1, 1)


def detectable(difference: Difference) -> float:
    """Return the smallest true difference that would have been found with a power of 80 %.

    "Found" means that the 95 % interval excludes zero: half of its width + 0.84 standard errors.
    """
    low, high = difference.interval(0.95)
    return (high - low) / 2 + float(ndtri(0.8)) * difference.standard_error


def macro_f1_difference(
    labels: Ints,
    first: Ints,
    second: Ints,
    patients: npt.ArrayLike,
    *,
    classes: int,
    folds: int = 1,
    ensembles: tuple[Ints, Ints] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Compute the macro-F1 of one method minus that of another, mean over training seeds.

    Parameters
    ----------
    labels : (N,) int
    first, second : (S, N) or (K, S, N) int
        Classes that each method predicts; row s of both has the same training seed. With a first
        axis of K folds: those of every single network for the same test images.
    patients : (N,)
        Patient of each image.
    folds
        Number of folds if rows (S, N) are predicted out of fold.
    ensembles : (N,) int each
        Classes that the ensemble of all networks of each method predicts. The difference is that of
        the ensembles. The training-set luck added to it is that of single networks: an upper bound,
        unless the ensembles vary more than their members.
    """
    groups, member = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    every = np.ones(len(labels), dtype=bool)

    def counts(named: Ints, chosen: npt.NDArray[np.bool_]) -> csr_array:
        return _counts(member, len(groups), named, classes, chosen)

    def pair(*both: Ints) -> list[tuple[csr_array, csr_array]]:
        return [(counts(labels, labels == named), counts(named, every)) for named in both]

    actual = counts(labels, every)  # (C, P): TP + FN
    rows = zip(*(both.reshape(-1, len(labels)) for both in (first, second)), strict=True)
    pairs = [pair(*both) for both in rows]  # TP, and TP + FP
    together = [] if ensembles is None else [pair(*ensembles)]

    def difference(times: Floats, of: list[list[tuple[csr_array, csr_array]]]) -> Floats:
        there = actual @ times  # (C, B)
        f1 = [[_macro_f1(hits @ times, there, taken @ times) for hits, taken in p] for p in of]
        return np.stack([one - other for one, other in f1])

    return _difference(
        lambda times: difference(times, pairs),
        (lambda times: difference(times, together)[0]) if together else None,
        *(len(groups), _trained(first), folds, resamples, level, seed),
    )


def accuracy_difference(
    labels: Ints,
    first: Ints,
    second: Ints,
    patients: npt.ArrayLike,
    *,
    folds: int = 1,
    ensembles: tuple[Ints, Ints] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Compute the difference of accuracies; parameters as in `macro_f1_difference`."""
    groups, member = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    images = csr_array(np.bincount(member)[None].astype(float))  # (1, P)

    def gains(one: Ints, other: Ints) -> csr_array:
        gained = (one == labels).astype(float) - (other == labels)  # (S, N)
        return csr_array(np.stack([np.bincount(member, row, len(groups)) for row in gained]))

    def share(by_patient: csr_array, times: Floats) -> Floats:  # (S, P) -> (S, B)
        shares: Floats = (by_patient @ times) / (images @ times)
        return shares

    by_row = gains(*(both.reshape(-1, len(labels)) for both in (first, second)))
    together = None if ensembles is None else gains(*(named[None] for named in ensembles))
    return _difference(
        lambda times: share(by_row, times),
        None if together is None else (lambda times: share(together, times)[0]),
        *(len(groups), _trained(first), folds, resamples, level, seed),
    )


def _trained(predicted: Ints) -> int:
    """Return the number of folds whose networks predict the same images."""
    return len(predicted) if predicted.ndim == 3 else 1


def _difference(
    by_network: Callable[[Floats], Floats],
    of_ensembles: Callable[[Floats], Floats] | None,
    patients: int,
    trained: int,
    folds: int,
    resamples: int,
    level: float,
    seed: int,
) -> Difference:
    """Resample patients and seeds, or patients and folds.

    `by_network` maps how often each patient is drawn, (P, B), to differences (K S, B), ordered by
    the `trained` folds; `of_ensembles` maps it to (B,).
    """

    def by_row(times: Floats) -> Floats:  # (P, B) -> (S, B) of seeds, or (K, B) of folds
        differences = by_network(times)
        if trained == 1:
            return differences
        of_folds: Floats = differences.reshape(trained, -1, times.shape[1]).mean(axis=1)
        return of_folds

    patient_rng, seed_rng = np.random.default_rng(seed).spawn(2)
    once = np.ones((patients, 1))
    alone = by_row(once)[:, 0]
    as_networks = trained > 1 or of_ensembles is not None
    means, deviations, rows = [], [], []
    for start in range(0, resamples, BLOCK):
        block = min(BLOCK, resamples - start)
        times = draw(patient_rng, patients, block)
        differences = by_row(times)
        drawn = draw(seed_rng, len(alone), block) - 1  # (S, B)
        means.append(of_ensembles(times) if of_ensembles else differences.mean(axis=0))
        each = alone[:, None] if as_networks else differences
        deviations.append((each * drawn).mean(axis=0))
        if as_networks:
            rows.append(differences)
    kept = shrinkage(alone, np.concatenate(rows, axis=-1)) if as_networks else 1.0
    return Difference(
        by_seed=alone,
        patient_means=widened(np.concatenate(means), folds),
        seed_deviations=kept * np.concatenate(deviations) * (folds == 1),
        level=level,
        shared=overlap(trained),
        of_ensembles=float(of_ensembles(once)[0]) if of_ensembles else None,
    )


def _macro_f1(hits: Floats, actual: Floats, named: Floats) -> Floats:
    """Take the mean of F1 = 2 TP / (2 TP + FP + FN) over drawn classes, (C, B) each -> (B,)."""
    f1 = np.full(hits.shape, np.nan)
    np.divide(2 * hits, actual + named, out=f1, where=actual > 0)
    return macro(f1)


def _counts(
    member: Ints, patients: int, named: Ints, classes: int, chosen: npt.NDArray[np.bool_]
) -> csr_array:
    """Count the chosen images of each patient by class, (C, P).

    The matrix is sparse, because a patient has few images: ten times as fast, and exact.
    """
    ones = np.ones(int(chosen.sum()))
    return csr_array((ones, (named[chosen], member[chosen])), shape=(classes, patients))
