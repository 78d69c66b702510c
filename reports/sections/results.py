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
from reports.measured import Measured, measured
from reports.run import Run
from thyroid.evaluate.bootstrap import Interval
from thyroid.evaluate.chance import against_chance
from thyroid.evaluate.metrics import (
    OVERALL,
    PER_CLASS,
    Floats,
    Ints,
    confusion_matrix,
    macro,
    macro_f1,
    measure,
    threshold_metrics,
)

EXCHANGES = 1000
"""Number of exchanges of predictions among patients in the test against chance."""
EXCHANGES_PER_RECIPE = 40
"""Minimum number of exchanges for each recipe in a choice on the same images: with fewer, p could
not reach 0.05."""


@dataclass(frozen=True, kw_only=True)
class OverallMetrics:
    """Metrics of a set of images, for an ensemble or as means over seeds.

    `macro_`: mean over classes.
    """

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
    """Metrics of one class against all others, for an ensemble or as means over seeds; None if
    undefined.
    """

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
class NetworkMetrics:
    """Metrics of one network or, out of fold, of the networks of one seed."""

    seed: int
    fold: int | None
    """None with one split, or out of fold."""
    macro_f1: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often images of a class (row) were classified as a class (column), by an ensemble or
    summed over seeds.
    """

    classes: tuple[str, ...]
    counts: list[list[int]]
    shares: list[list[float | None]]
    """Each row sums to 1; None for a class without images."""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """Metrics of always naming the most frequent class of these images."""

    name: str
    accuracy: float
    macro_f1: float


@dataclass(frozen=True, kw_only=True)
class Chance:
    """Macro-F1 that these predictions would reach by chance."""

    macro_f1: float
    p_value: float
    """Probability of reaching at least this macro-F1 by chance. It is Bonferroni-corrected if the
    recipe was chosen among several on these images, because the best of many is partly best by
    chance."""
    exchanges: int
    """Number of exchanges of predictions among patients."""
    tried: int
    """Number of recipes among which one was chosen by its result on these images."""


@dataclass(frozen=True, kw_only=True)
class SingleNetworks:
    """Metrics of an ensemble's single networks, means over folds and seeds."""

    overall: OverallMetrics
    per_class: list[ClassMetrics]


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """Macro-F1 and accuracy on the images outside the test part, as means over seeds. Each image is
    classified by the network that was not trained on it.
    """

    images: int
    patients: int
    macro_f1: Estimate | None
    accuracy: Estimate | None
    tried: int
    """Number of recipes among which one was chosen by its result on these images."""


@dataclass(frozen=True, kw_only=True)
class Results:
    part: str
    """test | validation"""
    folds: int
    """1 for one split."""
    by_centre: bool
    """True if each fold is a centre."""
    ensemble: bool
    """True if metrics are those of the ensemble of all networks. Otherwise they are means over
    seeds for single networks; with several folds, out of fold."""
    networks: int
    """Number of networks: folds times seeds."""
    images: int
    patients: int
    cross_images: int
    level: float
    """Level of all intervals."""
    resamples: int
    seeds: list[int]
    by_network: list[NetworkMetrics]
    overall: OverallMetrics
    per_class: list[ClassMetrics]
    subsets: list[SubsetMetrics]
    """Metrics of single images and of cross images, if there are any."""
    single: SingleNetworks | None
    """Metrics of the ensemble's members; None without an ensemble."""
    out_of_fold: OutOfFold | None
    """None unless `ensemble` is True."""
    flat_intervals: bool
    """True if some interval has no width."""
    confusion: Confusion
    guess: Guess
    chance: Chance
    learned: bool
    """True if the macro-F1 is above chance."""


def results_info(run: Run) -> Results | None:
    """Metrics of the run's predictions; None if there are none yet."""
    part = run.part
    if part is None:
        return None
    by_seed = run.predictions[part]
    stated = measured(part, run.folds, by_seed, run.networks)
    labels, patients, n_classes = stated.labels, stated.patients, len(run.classes)
    whole, overall, per_class = _metrics(stated, run.classes)
    subsets = []
    for name, chosen in (("single", ~stated.is_cross), ("cross", stated.is_cross)):
        if chosen.any():
            found = _intervals(stated.among(chosen))
            subsets.append(
                SubsetMetrics(
                    name=name,
                    images=int(chosen.sum()),
                    patients=len(np.unique(patients[chosen])),
                    **_overall(found),
                )
            )
    counts = sum(confusion_matrix(labels, row, n_classes) for row in stated.named)
    intervals = [getattr(row, name) for row in per_class for name in PER_CLASS]
    intervals += [getattr(row, name) for row in (overall, *subsets) for name in _overall(whole)]
    chance = _chance(labels, stated.named, patients, n_classes, run.tried)
    ensemble = part == "test" and run.folds > 1
    return Results(
        part=part,
        folds=run.folds,
        by_centre=run.by_centre,
        ensemble=ensemble,
        networks=run.folds * len(by_seed),
        images=len(labels),
        patients=len(np.unique(patients)),
        cross_images=int(stated.is_cross.sum()),
        level=LEVEL,
        resamples=RESAMPLES,
        seeds=list(by_seed),
        by_network=_by_network(stated),
        overall=overall,
        per_class=per_class,
        subsets=subsets,
        single=_single(stated, run.classes),
        out_of_fold=_out_of_fold(run) if ensemble else None,
        flat_intervals=has_flat_interval(intervals),
        confusion=confusion(np.asarray(counts), run.classes),
        guess=_guess(labels, run.classes),
        chance=chance,
        learned=chance.p_value <= 1 - LEVEL,
    )


def _intervals(of: Measured, *, single: bool = False) -> dict[str, Interval]:
    return of.intervals(
        lambda p, weights: measure(of.labels, p, weights),
        resamples=RESAMPLES,
        pivotal=("ece",),
        single=single,
    )


def _metrics(
    of: Measured, classes: tuple[str, ...], *, single: bool = False
) -> tuple[dict[str, Interval], OverallMetrics, list[ClassMetrics]]:
    found = _intervals(of, single=single)
    per_class = [
        ClassMetrics(
            name=name,
            images=int((of.labels == c).sum()),
            patients=len(np.unique(of.patients[of.labels == c])),
            **{metric: estimate(found[metric], c) for metric in PER_CLASS},
        )
        for c, name in enumerate(classes)
    ]
    return found, OverallMetrics(**_overall(found)), per_class


def _by_network(of: Measured) -> list[NetworkMetrics]:
    """Metrics of each member of an ensemble; without an ensemble, of each seed."""
    classes = of.stated.shape[-1]
    named: list[tuple[tuple[int, int | None], Ints]]
    if of.networks is None:
        named = [((seed, None), row) for seed, row in zip(of.seeds, of.named, strict=False)]
    else:
        named = [
            ((seed, fold), p.argmax(axis=-1))
            for fold, of_fold in enumerate(of.networks)
            for seed, p in zip(of.seeds, of_fold, strict=True)
        ]
    return [
        NetworkMetrics(
            seed=seed,
            fold=fold,
            macro_f1=macro_f1(of.labels, row, classes),
            accuracy=float(np.mean(of.labels == row)),
        )
        for (seed, fold), row in named
    ]


def _single(of: Measured, classes: tuple[str, ...]) -> SingleNetworks | None:
    if of.networks is None:
        return None
    _found, overall, per_class = _metrics(of, classes, single=True)
    return SingleNetworks(overall=overall, per_class=per_class)


def _out_of_fold(run: Run) -> OutOfFold | None:
    """Metrics on development images, each classified by the network not trained on it."""
    by_seed = run.predictions["validation"]
    if not by_seed:
        return None
    of = measured("validation", run.folds, by_seed, {})
    classes = len(run.classes)

    def metrics(p: Floats, weights: Floats) -> dict[str, Floats]:
        named = p.argmax(axis=1)
        f1 = threshold_metrics(of.labels, named, classes, weights)["f1"]
        share = (named == of.labels).astype(float) @ weights / weights.sum(axis=0)
        return {"macro_f1": macro(f1), "accuracy": share}

    found = of.intervals(metrics, resamples=RESAMPLES)
    return OutOfFold(
        images=len(of.labels),
        patients=len(np.unique(of.patients)),
        macro_f1=estimate(found["macro_f1"]),
        accuracy=estimate(found["accuracy"]),
        tried=run.chosen_among,
    )


def confusion(counts: Ints, classes: tuple[str, ...]) -> Confusion:
    """The confusion matrix of counts (C, C), which are summed over seeds."""
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
