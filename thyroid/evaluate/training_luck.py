"""Training-set luck: how far a recipe's figure would move with other patients to learn from.

A claim about a recipe is about new patients and new training sets of this size. K folds are K
trainings whose training sets share most of their patients, so their spread shows only a part of
that luck, and no estimate from one data set is unbiased (Bengio & Grandvalet 2004). Two cases,
each with the correction that simulations with known truth chose (tests/benchmarks/
test_fold_intervals.py; its table is in RESULTS.md there):

**A test set, which every fold's network predicts.** s^2 is the variance between folds. What the
mean over folds varies by, from training set to training set, is s^2 (1 / K + q). Let f be the luck
of one training set and r the correlation between two that share (K - 2) / (K - 1) of their
patients: then q = r / (1 - r). A smooth learner is near the optimum of its training set, where its
error grows with the square of the parameters' deviation, so that r is the square of that share,
and q = (K - 2)^2 / (2 K - 3): 0, 0.33, 1.29 and 3.76 for 2, 3, 5 and 10 folds. Measured: 0, 0.4,
1.0 and 2.7 with a quadratic discriminant, 0.7 of five folds with a small network, 0.1 where
networks differ by chance alone. Nadeau & Bengio's (2003) q = 1 / (K - 1) falls where it should
rise, as it was made for test images that differ from fold to fold.

Networks also differ because they err on different test images by chance, which patients' resamples
contain already. That part is subtracted from s^2: `shrinkage`.

**No test set: out-of-fold predictions.** Folds differ by their images, which hides what their
training sets do. Resampling patients, with predictions fixed, needs a variance larger by a factor
of 1.0 to 1.4 at five folds, 1.2 to 1.9 at two and 1.0 to 1.4 at ten, in the simulations; it gets
1 + n_validation / n_training = K / (K - 1): `widening`.
"""

from __future__ import annotations

import math

import numpy as np

from thyroid.evaluate.metrics import Floats


def overlap(folds: int) -> float:
    """Return q: s^2 (1 / K + q) is the variance of a mean over K folds, from s^2 between them.

    >>> [round(overlap(k), 2) for k in (1, 2, 3, 5, 10)]
    [0.0, 0.0, 0.33, 1.29, 3.76]
    """
    return (folds - 2) ** 2 / (2 * folds - 3) if folds > 2 else 0.0


def widening(folds: int) -> float:
    """Return the factor on the standard error that patients alone give out-of-fold predictions.

    >>> [round(widening(k) ** 2, 2) for k in (1, 2, 5)]
    [1.0, 2.0, 1.25]
    """
    return math.sqrt(folds / (folds - 1)) if folds > 1 else 1.0


def widened(resampled: Floats, folds: int) -> Floats:
    """Move resampled values (..., B) away from their mean by `widening`; NaN stay."""
    if folds == 1:
        return resampled
    known = np.isfinite(resampled)
    count = np.maximum(known.sum(axis=-1, keepdims=True), 1)
    mean = np.where(known, resampled, 0.0).sum(axis=-1, keepdims=True) / count
    moved: Floats = mean + widening(folds) * (resampled - mean)
    return moved


def shrinkage(values: Floats, resampled: Floats) -> Floats:
    """Return the factor on folds' deviations that takes the luck of test images out, 0 to 1.

    Parameters
    ----------
    values : (K, ...)
        Figure of each fold's network on all test images.
    resampled : (K, ..., B)
        The same in resamples of patients; those with NaN are left out.
    """
    defined = np.isfinite(resampled).all(axis=0)  # (..., B)
    deviations = np.where(defined, resampled - resampled.mean(axis=0), 0.0)
    count = np.maximum(defined.sum(axis=-1), 1)  # (...)
    mean = deviations.sum(axis=-1) / count  # (K, ...)
    squares = (deviations**2).sum(axis=-1) / count - mean**2
    of_images = squares.sum(axis=0)  # (...)
    of_all = ((values - values.mean(axis=0)) ** 2).sum(axis=0)
    left = np.maximum(of_all - of_images, 0.0)
    ratio = np.divide(left, of_all, out=np.zeros_like(left), where=of_all > 0)
    factor: Floats = np.sqrt(ratio)
    return factor
