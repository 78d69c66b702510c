"""Metrics of each row of a comparison, for an ensemble or as means over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.estimates import Estimate, estimate, rounded
from reports.measured import Measured
from reports.sections.results import Results
from thyroid.evaluate.metrics import (
    Floats,
    calibration_error,
    macro,
    macro_f1,
    ranking_metrics,
    threshold_metrics,
)

ROW_RESAMPLES = 1000
"""Number of resamples for the intervals of a row; the method's are copied from the results."""
METRICS = (
    *("macro_recall", "macro_precision", "macro_specificity", "macro_f1", "macro_auroc"),
    *("accuracy", "ece"),
)


@dataclass(frozen=True, kw_only=True)
class RowMetrics:
    """Metrics of a row, for an ensemble or as means over seeds; None if undefined."""

    macro_recall: Estimate | None
    macro_precision: Estimate | None
    macro_specificity: Estimate | None
    macro_f1: Estimate | None
    macro_auroc: Estimate | None
    accuracy: Estimate | None
    ece: Estimate | None
    single_accuracy: Estimate | None
    cross_accuracy: Estimate | None


@dataclass(frozen=True, kw_only=True)
class SingleMetrics:
    """Mean, lowest and highest macro-F1 of an ensemble's single networks."""

    macro_f1: float
    low: float
    high: float


def method_metrics(results: Results) -> RowMetrics:
    """Metrics of the method, copied from the section of the results."""
    accuracy = {subset.name: subset.accuracy for subset in results.subsets}
    return RowMetrics(
        **{name: getattr(results.overall, name) for name in METRICS},
        single_accuracy=accuracy.get("single"),
        cross_accuracy=accuracy.get("cross"),
    )


def row_metrics(of: Measured) -> RowMetrics:
    """Metrics of another row, with intervals."""
    labels, cross = of.labels, of.is_cross
    classes = of.stated.shape[-1]

    def metrics(p: Floats, weights: Floats) -> dict[str, Floats]:
        named = p.argmax(axis=1)
        per_class = threshold_metrics(labels, named, classes, weights)
        per_class["auroc"] = ranking_metrics(labels, p, weights)["auroc"]
        means = {f"macro_{name}": macro(values) for name, values in per_class.items()}
        right = (named == labels).astype(float)
        return means | {
            "accuracy": right @ weights / weights.sum(axis=0),
            "ece": calibration_error(labels, p, weights),
        }

    found = of.intervals(metrics, resamples=ROW_RESAMPLES, pivotal=("ece",))
    return RowMetrics(
        **{name: estimate(found[name]) for name in METRICS},
        single_accuracy=_accuracy(of.among(~cross)),
        cross_accuracy=_accuracy(of.among(cross)),
    )


def _accuracy(of: Measured) -> Estimate | None:
    def share(p: Floats, weights: Floats) -> dict[str, Floats]:
        right = (p.argmax(axis=1) == of.labels).astype(float)
        return {"accuracy": right @ weights / weights.sum(axis=0)}

    if not of.labels.size:
        return None
    found = of.intervals(share, resamples=ROW_RESAMPLES)
    return estimate(found["accuracy"])


def single_metrics(of: Measured) -> SingleMetrics | None:
    """Macro-F1 of the members of an ensemble; None without an ensemble."""
    if of.networks is None:
        return None
    classes, images = of.stated.shape[-1], len(of.labels)
    named = of.networks.argmax(axis=-1).reshape(-1, images)
    values = [macro_f1(of.labels, row, classes) for row in named]
    return range_of(values)


def range_of(values: Sequence[float]) -> SingleMetrics:
    """Mean, lowest and highest of some values of macro-F1."""
    return SingleMetrics(
        macro_f1=rounded(np.mean(values)), low=rounded(min(values)), high=rounded(max(values))
    )
