"""Permutation test of predictions against chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thyroid.evaluate.metrics import Ints


@dataclass(frozen=True, kw_only=True)
class Chance:
    """The macro-F1 of the same predictions when patients exchange them."""

    macro_f1: float
    """Mean over exchanges."""
    p_value: float
    """One-sided; the null hypothesis is that predictions do not depend on labels."""


def against_chance(
    labels: Ints, predicted: Ints, patients: Ints, classes: int, *, resamples: int
) -> Chance:
    """Test the mean macro-F1 over seeds by permutation (Ojala and Garriga 2010, test 1).

    A constant prediction is no measure of chance: a network that learned nothing predicts all
    classes, and its macro-F1 is several times as high. So patients exchange their predictions: a
    patient's images take those of another patient's images in order, starting again from the first
    if the other has fewer. p = (1 + exchanges with at least the observed macro-F1) / (1 + B).

    Labels are not exchanged. If they were, and if patients of one class had more images than
    others, the classes' numbers of images would change. A constant prediction would then reach less
    in exchanges than observed, and would look learned in every such data set.

    Parameters
    ----------
    labels : (N,) int
    predicted : (S, N) int
        Predictions of each seed on the same images.
    patients : (N,) anything that numpy sorts
    resamples : B

    >>> labels = np.array([0, 1] * 20)
    >>> known = against_chance(labels, labels[None], np.arange(40), 2, resamples=199)
    >>> known.p_value
    0.005
    """
    _, patient, counts = np.unique(patients, return_inverse=True, return_counts=True)
    by_patient = np.argsort(patient, kind="stable")
    first = np.cumsum(counts) - counts  # (P,) each patient's first position in `by_patient`
    place = np.empty(len(labels), dtype=np.int64)  # (N,) among the patient's own images
    place[by_patient] = np.arange(len(labels)) - np.repeat(first, counts)

    rng = np.random.default_rng(0)
    reached = np.empty(resamples)
    for i in range(resamples):
        other = rng.permutation(len(counts))[patient]  # (N,) each image's source patient
        taken = by_patient[first[other] + place % counts[other]]
        reached[i] = _macro_f1(labels, predicted[:, taken], classes)
    own = _macro_f1(labels, predicted, classes)
    # equal up to rounding counts as equal
    p_value = (1 + int((reached >= own - 1e-12).sum())) / (1 + resamples)
    return Chance(macro_f1=float(reached.mean()), p_value=p_value)


def _macro_f1(labels: Ints, predicted: Ints, classes: int) -> float:
    """Take the mean over seeds and over classes that have images; predicted (S, N)."""
    seeds = len(predicted)
    pairs = (np.arange(seeds)[:, None] * classes + labels) * classes + predicted
    confusion = np.bincount(pairs.ravel(), minlength=seeds * classes**2)
    confusion = confusion.reshape(seeds, classes, classes)
    right = np.diagonal(confusion, axis1=1, axis2=2)  # (S, C)
    there, named = confusion.sum(2), confusion.sum(1)
    f1 = 2 * right / np.maximum(there + named, 1)
    return float(f1[:, there[0] > 0].mean())
