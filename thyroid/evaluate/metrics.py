"""Metrics of classification: per class, macro means, and overall.

Every image may have a weight, and weights may have many columns: each is a bootstrap resample that
says how often each image is counted. Results then have one more trailing axis.

The metrics of a class are NaN if no image of positive weight has its label; macro means are taken
over the other classes. A class that exists but is never predicted has precision 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PER_CLASS = ("recall", "precision", "specificity", "f1", "auroc", "auprc")
OVERALL = ("accuracy", "log_loss", "ece")
RANGES = dict.fromkeys((*PER_CLASS, *(f"macro_{name}" for name in PER_CLASS), *OVERALL), (0.0, 1.0))
RANGES["log_loss"] = (0.0, float("inf"))
"""Least and greatest value of each metric."""


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The images whose predicted class has a probability in one range."""

    low: float
    high: float
    images: int
    confidence: float
    """Mean probability of the predicted class; NaN without images."""
    accuracy: float
    """Share of images whose predicted class is right; NaN without images."""


def measure(
    labels: Ints, probabilities: Floats, weights: Floats | None = None
) -> dict[str, Floats]:
    """Compute all metrics of one model on one set of images.

    Parameters
    ----------
    labels : (N,) int
        Index of the true class.
    probabilities : (N, C) float
        One row per image, each summing to 1.
    weights : (N,) or (N, B) float, optional
        Weight of each image, in each of B resamples; default 1.

    Returns
    -------
    dict
        Each name of `PER_CLASS`, (C,) or (C, B); `macro_` and that name, and each name of
        `OVERALL`, () or (B,).
    """
    classes = probabilities.shape[1]
    weights = np.ones(len(labels)) if weights is None else weights
    predicted = probabilities.argmax(axis=1)
    per_class = threshold_metrics(labels, predicted, classes, weights)
    per_class |= ranking_metrics(labels, probabilities, weights)
    return (
        per_class
        | {f"macro_{name}": macro(values) for name, values in per_class.items()}
        | {
            "accuracy": _mean(labels == predicted, weights),
            "log_loss": log_loss(labels, probabilities, weights),
            "ece": calibration_error(labels, probabilities, weights),
        }
    )


def confusion_matrix(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """Count images of class i (row) that were predicted as class j (column); (C, C) int."""
    pairs = labels * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def macro_f1(labels: Ints, predicted: Ints, classes: int) -> float:
    """Compute the mean F1 over the classes that occur in `labels`; fast enough for every epoch.

    F1 = 2 TP / (2 TP + FP + FN).

    >>> macro_f1(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), classes=3)
    0.7333333333333334
    """
    actual = np.bincount(labels, minlength=classes)
    named = np.bincount(predicted, minlength=classes)
    hits = np.bincount(labels[labels == predicted], minlength=classes)
    present = actual > 0
    return float(np.mean(2 * hits[present] / (actual + named)[present]))


def threshold_metrics(
    labels: Ints, predicted: Ints, classes: int, weights: Floats
) -> dict[str, Floats]:
    """Compute each class's recall, precision, specificity and F1, (C,) or (C, B)."""
    is_class = labels == np.arange(classes)[:, None]  # (C, N)
    is_named = predicted == np.arange(classes)[:, None]
    actual = _sum(is_class, weights)  # (C, ...): TP + FN
    named = _sum(is_named, weights)  # TP + FP
    hits = _sum(is_class & is_named, weights)  # TP
    negatives = weights.sum(axis=0) - actual  # TN + FP
    present = actual > 0
    return {
        "recall": _ratio(hits, actual, present),
        "precision": np.where(present, _ratio(hits, named, named > 0, otherwise=0.0), np.nan),
        "specificity": _ratio(negatives - (named - hits), negatives, present & (negatives > 0)),
        "f1": _ratio(2 * hits, actual + named, present),
    }


def ranking_metrics(labels: Ints, probabilities: Floats, weights: Floats) -> dict[str, Floats]:
    """Compute the areas under the ROC and the precision-recall curve, each class against the rest.

    AUROC is the probability that an image of the class scores above one of the rest, ties
    counting half (Mann-Whitney). AUPRC is average precision: the sum over distinct thresholds of
    (R_n - R_n-1) P_n. Only images of the class add to either sum, so only their terms are computed.
    """
    curves = [
        _areas(labels == c, probabilities[:, c], weights) for c in range(probabilities.shape[1])
    ]
    return {
        "auroc": np.stack([auroc for auroc, _ in curves]),
        "auprc": np.stack([auprc for _, auprc in curves]),
    }


def log_loss(labels: Ints, probabilities: Floats, weights: Floats) -> Floats:
    """Compute the mean of -log p(label), with p clipped at the smallest step of a float."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return _mean(-np.log(np.clip(chosen, np.finfo(float).eps, 1.0)), weights)


def calibration_error(
    labels: Ints, probabilities: Floats, weights: Floats, bins: int = 15
) -> Floats:
    """Compute the expected calibration error of the predicted class, in bins of equal width.

    ECE = sum over bins of n_b / N |accuracy_b - confidence_b| (Guo et al. 2017, eq. 3).
    """
    confidence = probabilities.max(axis=1)
    surplus = (probabilities.argmax(axis=1) == labels) - confidence
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    per_bin = _sum(
        np.where(which == np.arange(bins)[:, None], surplus, 0.0), weights
    )  # (bins, ...)
    total = np.asarray(weights.sum(axis=0))
    return _ratio(np.abs(per_bin).sum(axis=0), total, total > 0)


def reliability(labels: Ints, probabilities: Floats, bins: int = 15) -> list[Bin]:
    """Compute accuracy and mean confidence in all bins of equal width, including empty ones.

    The bins are those of `calibration_error`, which is the sum over them of
    images / N |accuracy - confidence|.

    Parameters
    ----------
    labels : (N,) int
    probabilities : (N, C) float, rows summing to 1
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    found = []
    for b in range(bins):
        inside = which == b
        some = bool(inside.any())
        found.append(
            Bin(
                low=b / bins,
                high=(b + 1) / bins,
                images=int(inside.sum()),
                confidence=float(confidence[inside].mean()) if some else math.nan,
                accuracy=float(right[inside].mean()) if some else math.nan,
            )
        )
    return found


def macro(values: Floats) -> Floats:
    """Take the mean over the classes that have a value, (C, ...) -> (...); NaN if none has."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return _ratio(np.where(known, values, 0.0).sum(axis=0), count, count > 0)


def _areas(
    positive: npt.NDArray[np.bool_], score: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """Return (AUROC, AUPRC) of one class, () or (B,) each; weights (N,) or (N, B)."""
    order = np.argsort(-score, kind="stable")
    descending = -score[order]
    at = np.flatnonzero(positive[order])  # ranks of the class's images
    first = np.searchsorted(descending, descending[at], side="left")  # where their ties begin
    last = np.searchsorted(descending, descending[at], side="right")  # and end
    own = weights[order[at]]  # (P, ...)
    passed = _running_sum(weights[order])  # (N + 1, ...): weight of the k highest scores
    passed_own = _running_sum(own)
    tp = passed_own[np.searchsorted(at, last)]  # (P, ...) at the end of each tie
    fp = passed[last] - tp
    fp_above = passed[first] - passed_own[np.searchsorted(at, first)]
    positives = passed_own[-1]
    negatives = passed[-1] - positives
    below = negatives - (fp + fp_above) / 2
    precision = _ratio(tp, tp + fp, tp + fp > 0, otherwise=0.0)
    auroc = _ratio((own * below).sum(axis=0), positives * negatives, positives * negatives > 0)
    return auroc, _ratio((own * precision).sum(axis=0), positives, positives > 0)


def _running_sum(values: Floats) -> Floats:
    """Return the sums of the first 0, 1, ... rows."""
    sums = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=sums[1:])
    return sums


def _mean(values: npt.NDArray[np.bool_] | Floats, weights: Floats) -> Floats:
    total = np.asarray(weights.sum(axis=0))
    return _ratio(_sum(values, weights), total, total > 0)


def _sum(values: npt.NDArray[np.bool_] | Floats, weights: Floats) -> Floats:
    """Compute the weighted sum over images, (..., N) and (N, B) -> (..., B).

    BLAS is not used: its threads would compete with a search for cores, and their number would
    change the last digits.
    """
    sums: Floats = np.einsum(
        "...n,n->..." if weights.ndim == 1 else "...n,nb->...b", values, weights
    )
    return sums


def _ratio(
    above: npt.ArrayLike, below: npt.ArrayLike, defined: npt.ArrayLike, otherwise: float = np.nan
) -> Floats:
    """Divide where `defined`, elsewhere return `otherwise`."""
    above, below = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    out = np.full(above.shape, otherwise)
    np.divide(above, below, out=out, where=np.asarray(defined))
    return out
