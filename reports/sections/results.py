"""Metrics of the predictions on test images or, without a test part, on validation images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.estimates import (
    LEVEL,
    RESAMPLES,
    Estimate,
    estimate,
    has_flat_interval,
    probability,
    rounded,
)
from reports.run import Run
from thyroid.evaluate.bootstrap import Interval, metric_intervals
from thyroid.evaluate.chance import against_chance
from thyroid.evaluate.metrics import OVERALL, PER_CLASS, Ints, confusion_matrix, macro_f1

EXCHANGES = 1000
"""Exchanges of predictions among patients, for the test against chance."""
EXCHANGES_PER_RECIPE = 40
"""Least of these per recipe that the images chose among: with fewer, p could not reach 0.05."""


@dataclass(frozen=True, kw_only=True)
class OverallMetrics:
    """Metrics of a set of images, mean over seeds; `macro_`: mean over classes."""

    macro_recall: Estimate | None
    macro_precision: Estimate | None
    macro_specificity: Estimate | None
    macro_f1: Estimate | None
    macro_auroc: Estimate | None
    macro_auprc: Estimate | None
    accuracy: Estimate | None
    log_loss: Estimate | None
    """nats"""
    ece: Estimate | None
    """Expected calibration error."""


@dataclass(frozen=True, kw_only=True)
class SubsetMetrics(OverallMetrics):
    name: str
    """single | cross"""
    images: int
    patients: int


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """Metrics of one class against all others, mean over seeds; None where undefined."""

    name: str
    images: int
    patients: int
    recall: Estimate | None
    precision: Estimate | None
    specificity: Estimate | None
    f1: Estimate | None
    auroc: Estimate | None
    auprc: Estimate | None


@dataclass(frozen=True, kw_only=True)
class SeedMetrics:
    seed: int
    macro_f1: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often each class (row) was taken for each (column), over all seeds."""

    classes: tuple[str, ...]
    counts: list[list[int]]
    shares: list[list[float | None]]
    """A row sums to 1; None: no image of the class."""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """Metrics of always naming the most frequent class of these images."""

    name: str
    accuracy: float
    macro_f1: float


@dataclass(frozen=True, kw_only=True)
class Chance:
    """Macro-F1 that these predictions reach by luck."""

    macro_f1: float
    p_value: float
    """Probability of such a macro-F1 by luck. Bonferroni-corrected if the images chose among
    several recipes, as the best of many is lucky on the images that chose it."""
    exchanges: int
    """Number of exchanges of predictions among patients."""
    tried: int
    """Recipes that these images chose among."""


@dataclass(frozen=True, kw_only=True)
class Results:
    part: str
    """test | validation"""
    images: int
    patients: int
    cross_images: int
    level: float
    """Level of all intervals."""
    resamples: int
    seeds: list[int]
    by_seed: list[SeedMetrics]
    overall: OverallMetrics
    per_class: list[ClassMetrics]
    subsets: list[SubsetMetrics]
    """Single and cross images, where there are any."""
    flat_intervals: bool
    """True: some interval has no width."""
    confusion: Confusion
    guess: Guess
    chance: Chance
    learned: bool
    """True: the macro-F1 is above chance."""


def results_info(run: Run) -> Results | None:
    """Metrics of the run's predictions; None where there are none yet."""
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
                SubsetMetrics(
                    name=name,
                    images=int(chosen.sum()),
                    patients=len(np.unique(patients[chosen])),
                    **_overall(found),
                )
            )
    per_class = [
        ClassMetrics(
            name=name,
            images=int((labels == c).sum()),
            patients=len(np.unique(patients[labels == c])),
            **{metric: estimate(whole[metric], c) for metric in PER_CLASS},
        )
        for c, name in enumerate(run.classes)
    ]
    overall = OverallMetrics(**_overall(whole))
    intervals = [getattr(row, name) for row in per_class for name in PER_CLASS]
    intervals += [getattr(row, name) for row in (overall, *subsets) for name in _overall(whole)]
    chance = _chance(labels, predicted, patients, n_classes, run.tried)
    return Results(
        part=part,
        images=len(labels),
        patients=len(np.unique(patients)),
        cross_images=int(first.is_cross.sum()),
        level=LEVEL,
        resamples=RESAMPLES,
        seeds=list(by_seed),
        by_seed=[
            SeedMetrics(
                seed=seed,
                macro_f1=macro_f1(labels, row, n_classes),
                accuracy=float(np.mean(labels == row)),
            )
            for seed, row in zip(by_seed, predicted, strict=True)
        ],
        overall=overall,
        per_class=per_class,
        subsets=subsets,
        flat_intervals=has_flat_interval(intervals),
        confusion=confusion(np.asarray(counts), run.classes),
        guess=_guess(labels, run.classes),
        chance=chance,
        learned=chance.p_value <= 1 - LEVEL,
    )


def confusion(counts: Ints, classes: tuple[str, ...]) -> Confusion:
    """From counts (C, C), sums over seeds."""
    shares = [[float(n / sum(row)) if sum(row) else None for n in row] for row in counts.tolist()]
    return Confusion(classes=classes, counts=counts.tolist(), shares=shares)


def _guess(labels: Ints, classes: tuple[str, ...]) -> Guess:
    often = int(np.bincount(labels).argmax())
    return Guess(
        name=classes[often],
        accuracy=float(np.mean(labels == often)),
        macro_f1=macro_f1(labels, np.full_like(labels, often), len(classes)),
    )


def _chance(labels: Ints, predicted: Ints, patients: Any, classes: int, tried: int) -> Chance:
    exchanges = max(EXCHANGES, EXCHANGES_PER_RECIPE * tried)
    found = against_chance(labels, predicted, patients, classes, resamples=exchanges)
    return Chance(
        macro_f1=rounded(found.macro_f1),
        p_value=probability(min(1.0, tried * found.p_value)),
        exchanges=exchanges,
        tried=tried,
    )


def _overall(found: dict[str, Interval]) -> dict[str, Estimate | None]:
    return {name: estimate(found[name]) for name in (*(f"macro_{m}" for m in PER_CLASS), *OVERALL)}
