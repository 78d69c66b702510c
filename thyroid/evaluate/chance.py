"""Whether predictions know anything of the labels: a test against chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thyroid.evaluate.metrics import Ints


@dataclass(frozen=True, kw_only=True)
class Chance:
    """What the same predictions reach when patients exchange them."""

    macro_f1: float
    """In the mean over exchanges."""
    p_value: float
    """One-sided, of no predictions' macro-F1 being higher than by luck."""


def against_chance(
    labels: Ints, predicted: Ints, patients: Ints, classes: int, *, resamples: int
) -> Chance:
    """Permutation test of the mean macro-F1 over seeds (Ojala and Garriga 2010, test 1).

    Always naming one class is no measure of chance: a network that learned nothing names all of
    them, and its macro-F1 is several times as high. So patients exchange what the networks say of
    them: a patient's images take the predictions of another's, in their order, and again from the
    first where the other has fewer. p = (1 + exchanges that reach as much) / (1 + B).

    Labels stay where they are: were they exchanged, and had the patients of one class more images
    than others, each class would have another number of images than it has, at which naming that
    one class alone reaches less. It was taken for knowledge in every such data set.

    Parameters
    ----------
    labels : (N,) int
    predicted : (S, N) int
        Of each seed, on the same images.
    patients : (N,) anything that numpy sorts
    resamples : B

    >>> labels = np.array([0, 1] * 20)
    >>> known = against_chance(labels, labels[None], np.arange(40), 2, resamples=199)
    >>> known.p_value
    0.005
    """
    _, patient, counts = np.unique(patients, return_inverse=True, return_counts=True)
    by_patient = np.argsort(patient, kind="stable")
    first = np.cumsum(counts) - counts  # (P,) of each patient, in that order
    place = np.empty(len(labels), dtype=np.int64)  # (N,) among the patient's own images
    place[by_patient] = np.arange(len(labels)) - np.repeat(first, counts)

    rng = np.random.default_rng(0)
    reached = np.empty(resamples)
    for i in range(resamples):
        other = rng.permutation(len(counts))[patient]  # (N,) whose predictions each image takes
        taken = by_patient[first[other] + place % counts[other]]
        reached[i] = _macro_f1(labels, predicted[:, taken], classes)
    own = _macro_f1(labels, predicted, classes)
    # equal but for the last bit is equal
    p_value = (1 + int((reached >= own - 1e-12).sum())) / (1 + resamples)
    return Chance(macro_f1=float(reached.mean()), p_value=p_value)


def _macro_f1(labels: Ints, predicted: Ints, classes: int) -> float:
    """Mean over seeds and over the classes that have images; predicted (S, N)."""
    seeds = len(predicted)
    pairs = (np.arange(seeds)[:, None] * classes + labels) * classes + predicted
    confusion = np.bincount(pairs.ravel(), minlength=seeds * classes**2)
    confusion = confusion.reshape(seeds, classes, classes)
    right = np.diagonal(confusion, axis1=1, axis2=2)  # (S, C)
    there, named = confusion.sum(2), confusion.sum(1)
    f1 = 2 * right / np.maximum(there + named, 1)
    return float(f1[:, there[0] > 0].mean())
