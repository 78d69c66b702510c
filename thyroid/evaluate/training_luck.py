"""Training-set luck: how far a recipe's figure would move with other patients to learn from.

A claim about a recipe is about new patients and new training sets of this size. K folds are K
trainings whose training sets share most of their patients, so their spread shows only a part of
that luck, and no estimate from one data set is unbiased (Bengio & Grandvalet 2004). There are two
cases. Simulations with known truth chose the correction of each: tests/benchmarks/
test_fold_intervals.py, with its tables in docs/results/measurements.md.

**A test set, which every fold's network predicts.** With s^2 the variance between folds, the mean
over folds varies from training set to training set by s^2 (1 / K + q). If training sets that share
(K - 2) / (K - 1) of their patients have luck of correlation r, then q = r / (1 - r). A smooth
learner is near the optimum of its training set, where its error grows with the square of the
parameters' deviation. So r is the square of that share, and q = (K - 2)^2 / (2 K - 3): 0, 0.33,
1.29 and 3.76 for 2, 3, 5 and 10 folds. The measured q was 0.0, 0.5, 1.3 and 2.8 with a quadratic
discriminant, 0.5 with five folds of a small network, and 0.0 to 0.1 if networks differ by chance
alone: for those the intervals are wider than necessary. Nadeau & Bengio's (2003) q = 1 / (K - 1)
was made for test images that differ from fold to fold; it falls with K, while this q rises.

Networks also differ because they err by chance on different test images. The resamples of patients
contain that part already, and `shrinkage` removes it from s^2.

95 % intervals of the difference of equal recipes held zero in 92 to 99 % of cases, in 18 settings.
With folds treated as seeds, they did so in 82 to 100 %: too rarely for large test sets, and with
intervals three times as wide for two folds. One data set does not show the luck of ensembles; their
difference gets the luck of single networks, and its intervals held zero in 93 to 97 %.

**No test set: out-of-fold predictions.** Folds differ by their images, which hides the luck of
their training sets. Resampling patients with predictions fixed gives too small a variance. The
missing factor was 1.2 to 1.7 with two folds, 1.1 to 1.5 with three and 1.0 to 1.4 with five or ten
(1.5 with several images per patient, 1.7 for nearest neighbours, up to 1.9 for trees of three
seeds; none for a linear discriminant of 600 patients per class). The variance is multiplied by
1 + n_validation / n_training = K / (K - 1): `widening`. Intervals of the difference of equal
recipes then held zero in 91 to 98 % of cases, on average in 95.7 %; without the factor in 87 to
98 %; and with Nadeau & Bengio's t over folds in 92 to 100 %, being 1.5 to 8 times as wide.
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
    """Return the factor on the standard error of out-of-fold figures from resampled patients.

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
    """Return the factor on folds' deviations that removes the luck of test images, 0 to 1.

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
