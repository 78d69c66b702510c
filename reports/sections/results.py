"""Metrics of a run's predictions with their intervals, as plain numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.estimates import LEVEL, RESAMPLES, estimate, probability, rounded
from reports.run import Run
from thyroid.evaluate.bootstrap import Interval, metric_intervals
from thyroid.evaluate.chance import against_chance
from thyroid.evaluate.metrics import OVERALL, PER_CLASS, confusion_matrix, macro_f1

EXCHANGES = 1000
"""Of predictions among patients, for the test against chance."""
EXCHANGES_PER_RECIPE = 40
"""At least, where the images chose among recipes: p can then get below the level after all."""


def results_info(run: Run) -> dict[str, Any] | None:
    """Test results, or validation results where there is no test part; None where neither is yet.

    Every metric is the mean over seeds, as {value, low, high}; None where it is undefined.
    """
    part = run.part
    if part is None:
        return None
    by_seed = run.predictions[part]
    first = next(iter(by_seed.values()))
    labels, patients = first.labels, first.images["patient_id"].to_numpy(dtype=str)
    probabilities = np.stack([p.probabilities for p in by_seed.values()])  # (S, N, C)
    predicted = probabilities.argmax(axis=-1)  # (S, N)
    n_classes = len(run.classes)

    whole = metric_intervals(labels, probabilities, patients, level=LEVEL, resamples=RESAMPLES)
    counts = sum(confusion_matrix(labels, row, n_classes) for row in predicted)
    subsets = []
    for name, chosen in (("single", ~first.is_cross), ("cross", first.is_cross)):
        if chosen.any():
            found = metric_intervals(
                labels[chosen],
                probabilities[:, chosen],
                patients[chosen],
                level=LEVEL,
                resamples=RESAMPLES,
            )
            subsets.append(
                {
                    "name": name,
                    "images": int(chosen.sum()),
                    "patients": len(np.unique(patients[chosen])),
                }
                | _overall(found)
            )
    per_class = [
        {
            "name": name,
            "images": int((labels == c).sum()),
            "patients": len(np.unique(patients[labels == c])),
        }
        | {metric: estimate(whole[metric], c) for metric in PER_CLASS}
        for c, name in enumerate(run.classes)
    ]
    overall = _overall(whole)
    intervals: list[Any] = [row[name] for row in per_class for name in PER_CLASS]
    for metrics in (overall, *subsets):
        intervals += [e for e in metrics.values() if isinstance(e, dict)]
    chance = _chance_info(labels, predicted, patients, n_classes, run.tried)
    return {
        "part": part,
        "images": len(labels),
        "patients": len(np.unique(patients)),
        "cross_images": int(first.is_cross.sum()),
        "level": LEVEL,
        "resamples": RESAMPLES,
        "seeds": list(by_seed),
        "by_seed": [
            {
                "seed": seed,
                "macro_f1": macro_f1(labels, row, n_classes),
                "accuracy": float(np.mean(labels == row)),
            }
            for seed, row in zip(by_seed, predicted, strict=True)
        ],
        "overall": overall,
        "per_class": per_class,
        "subsets": subsets,
        "flat_intervals": any(e is not None and e["low"] == e["high"] for e in intervals),
        "confusion": confusion_info(np.asarray(counts), run.classes),
        "guess": _guess_info(labels, run.classes),
        "chance": chance,
        "learned": chance["p_value"] <= 1 - LEVEL,
    }


def confusion_info(counts: np.ndarray[Any, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    """Counts (C, C), sums over seeds; a row's shares sum to 1 (None: a class without images)."""
    total = counts.sum(axis=1, keepdims=True)
    shares = [
        [float(n / t[0]) for n in row] if t[0] else [None] * len(row)
        for row, t in zip(counts, total, strict=True)
    ]
    return {"classes": list(classes), "counts": counts.tolist(), "shares": shares}


def _guess_info(labels: np.ndarray[Any, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    """What always naming the most frequent class of these images would reach."""
    often = int(np.bincount(labels).argmax())
    guess = np.full_like(labels, often)
    return {
        "name": classes[often],
        "accuracy": float(np.mean(labels == often)),
        "macro_f1": macro_f1(labels, guess, len(classes)),
    }


def _chance_info(
    labels: np.ndarray[Any, Any],
    predicted: np.ndarray[Any, Any],
    patients: np.ndarray[Any, Any],
    classes: int,
    tried: int,
) -> dict[str, Any]:
    """Macro-F1 of these predictions by luck, and the p-value of their own being luck.

    The best of many recipes is lucky on the images that chose it: p is Bonferroni's, of as many.
    """
    exchanges = max(EXCHANGES, EXCHANGES_PER_RECIPE * tried)
    found = against_chance(labels, predicted, patients, classes, resamples=exchanges)
    return {
        "macro_f1": rounded(found.macro_f1),
        "p_value": probability(min(1.0, tried * found.p_value)),
        "exchanges": exchanges,
        "tried": tried,
    }


def _overall(found: dict[str, Interval]) -> dict[str, Any]:
    return {name: estimate(found[name]) for name in (*(f"macro_{m}" for m in PER_CLASS), *OVERALL)}
