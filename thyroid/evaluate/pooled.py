"""Macro-F1 of out-of-fold predictions with its standard error, without resampling, for races.

The standard error is that of the delta method (infinitesimal jackknife; Efron & Tibshirani 1993,
chapter 21). An image of class y with the prediction n moves macro-F1 by its influence

    1 / C  sum over classes c of (2 [y = n = c] - F1_c ([y = c] + [n = c])) / (TP + FN + TP + FP)_c

The influences of all images sum to zero. Images of one patient are not independent: their
influences are added up to one number per patient, u, and SE^2 = P / (P - 1) sum of u^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thyroid.evaluate.metrics import Floats, Ints
from thyroid.evaluate.training_luck import widening


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and its standard error, which is NaN for a single patient."""

    value: float
    standard_error: float

    @property
    def known_error(self) -> float | None:
        """The standard error; None for a single patient."""
        return None if math.isnan(self.standard_error) else self.standard_error


def pooled_macro_f1(
    labels: Ints, predicted: Ints, patients: npt.ArrayLike, *, classes: int, folds: int = 1
) -> Estimate:
    """Compute macro-F1 over all images together, mean over training seeds.

    Parameters
    ----------
    labels : (N,) int
    predicted : (N,) or (S, N) int
        Classes that the networks predict for images that they were not trained on: image i by the
        network of its fold. Images of some folds are enough.
    patients : (N,)
        Patient of each image.
    folds
        Number K of folds that patients were dealt to, including those that are missing here. With
        several, the standard error contains the luck of training sets (`training_luck.widening`).
    """
    value, influence = _macro_f1(labels, predicted, classes)
    return Estimate(value=value, standard_error=_standard_error(influence, patients, folds))


def pooled_difference(
    labels: Ints,
    first: Ints,
    second: Ints,
    patients: npt.ArrayLike,
    *,
    classes: int,
    folds: int = 1,
) -> Estimate:
    """Compute the macro-F1 of one recipe minus another's, on the same images of the same folds.

    Parameters are those of `pooled_macro_f1`. Errors that both recipes make cancel. The recipes may
    have different numbers of seeds.
    """
    one, of_first = _macro_f1(labels, first, classes)
    other, of_second = _macro_f1(labels, second, classes)
    error = _standard_error(of_first - of_second, patients, folds)
    return Estimate(value=one - other, standard_error=error)


def _macro_f1(labels: Ints, predicted: Ints, classes: int) -> tuple[float, Floats]:
    """Return the mean over seeds, and each image's influence on it, (N,)."""
    actual = np.bincount(labels, minlength=classes).astype(float)  # (C,)
    present = actual > 0
    values, influences = [], []
    for named in np.atleast_2d(predicted):
        hits = np.bincount(labels[labels == named], minlength=classes)
        both = actual + np.bincount(named, minlength=classes)  # (C,): TP + FN + TP + FP
        f1 = np.divide(2 * hits, both, out=np.zeros(classes), where=present)
        share = np.divide(1.0, both, out=np.zeros(classes), where=present) / present.sum()
        penalty = f1 * share
        values.append(f1.sum() / present.sum())
        right = 2 * share[labels] * (labels == named)
        influences.append(right - penalty[labels] - penalty[named])
    return float(np.mean(values)), np.mean(influences, axis=0)


def _standard_error(influence: Floats, patients: npt.ArrayLike, folds: int) -> float:
    groups, member = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if len(groups) == 1:
        return float("nan")
    of_patient = np.bincount(member, influence)
    return widening(folds) * float(np.sqrt(len(groups) / (len(groups) - 1) * (of_patient**2).sum()))
