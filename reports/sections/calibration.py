"""Calibration of the stated probabilities: temperature, reliability, credible sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reports.estimates import LEVEL, RESAMPLES, Estimate, estimate, has_flat_interval, rounded
from reports.run import Run
from thyroid.evaluate.bootstrap import bootstrap
from thyroid.evaluate.conformal import conformal_set, conformal_threshold
from thyroid.evaluate.metrics import Floats, Ints, calibration_error, log_loss, reliability
from thyroid.evaluate.temperature import ensemble_temperature, fit_temperature, tempered

CREDIBLE_LEVEL = 0.95
"""Required share of images whose class is in the credible set."""


@dataclass(frozen=True, kw_only=True)
class CalibrationErrors:
    """Errors of the probabilities of an ensemble, or means over seeds."""

    name: str
    """trained | tempered"""
    ece: Estimate | None
    """Expected calibration error."""
    log_loss: Estimate | None
    """nats"""


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Predictions of an ensemble or of all seeds whose probability is from `low` to `high`, and
    their accuracy.
    """

    low: float
    high: float
    share: float
    """Share of all predictions."""
    confidence: float
    """Mean probability of these predictions."""
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class CredibleSets:
    """Shares of images by their conformal sets of credible classes, for an ensemble or as means
    over seeds.
    """

    level: float
    """Required share of images whose class is in its set."""
    coverage: Estimate | None
    """Share of images whose class is in its set."""
    size: Estimate | None
    """Mean number of classes in a set."""
    one: Estimate | None
    several: Estimate | None
    none: Estimate | None


@dataclass(frozen=True, kw_only=True)
class SeedCalibration:
    """Values fitted to one seed's validation images or to an ensemble's out-of-fold predictions."""

    seed: int | None
    """None for the ensemble."""
    temperature: float
    threshold: float
    """1 minus the lowest probability of a credible class."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    state: str
    """no_test (there are only validation images, which cannot test what was fitted to them) |
    done"""


@dataclass(frozen=True, kw_only=True)
class MeasuredCalibration(Calibration):
    """Calibration that was fitted to validation images and measured on test images."""

    level: float
    resamples: int
    validation_images: int
    images: int
    ensemble: bool
    """True if it is the calibration of the ensemble of all networks, as in an exported model."""
    networks: int
    """Number of members of the ensemble, or of networks whose mean is shown."""
    temperature: dict[str, float]
    """mean, low and high over seeds; above 1 if the probabilities were too extreme."""
    fitted_temperature: float | None
    """Temperature of the out-of-fold predictions, from which the ensemble's is estimated."""
    rows: list[CalibrationErrors]
    """Errors of the probabilities as trained, and after temperature scaling."""
    curves: dict[str, list[ReliabilityBin]]
    """trained, tempered -> the bins that are not empty."""
    sets: CredibleSets
    by_seed: list[SeedCalibration]
    flat_intervals: bool
    """True if some interval has no width."""


def calibration_info(run: Run) -> Calibration | None:
    """Calibration of the seeds whose networks predicted both validation and test part; None if
    there is no such seed.

    With several folds, it is the calibration of the ensemble that an export would make.
    """
    validation, test = run.predictions["validation"], run.predictions["test"]
    if not test:
        return Calibration(state="no_test") if validation else None
    seeds = [seed for seed in test if seed in validation]
    if not seeds:
        return None
    first, ensemble = test[seeds[0]], run.folds > 1
    labels, patients = first.labels, first.images["patient_id"].to_numpy(dtype=str)
    known = validation[seeds[0]].labels
    pairs = [(validation[seed].probabilities, test[seed].probabilities) for seed in seeds]
    if ensemble:
        pairs = [(np.mean([p for p, _ in pairs], axis=0), np.mean([p for _, p in pairs], axis=0))]
    fitted, temperatures, thresholds, scaled, sets = [], [], [], [], []
    for fitted_on, tested in pairs:
        fitted.append(fit_temperature(known, fitted_on))
        threshold = conformal_threshold(known, tempered(fitted_on, fitted[-1]), CREDIBLE_LEVEL)
        members = run.folds * len(seeds)
        temperatures.append(
            ensemble_temperature(fitted[-1], averaged=len(seeds), members=members)
            if ensemble
            else fitted[-1]
        )
        thresholds.append(threshold)
        scaled.append(tempered(tested, temperatures[-1]))
        sets.append(conformal_set(scaled[-1], threshold))
    ways = {"trained": [tested for _, tested in pairs], "tempered": scaled}
    named: list[int | None] = [None] if ensemble else [*seeds]
    rows = [_errors(name, labels, p, patients) for name, p in ways.items()]
    found = _sets(labels, np.stack(sets), patients)
    return MeasuredCalibration(
        state="done",
        level=LEVEL,
        resamples=RESAMPLES,
        validation_images=len(known),
        images=len(labels),
        ensemble=ensemble,
        networks=run.folds * len(seeds),
        temperature={
            "mean": rounded(np.mean(temperatures)),
            "low": rounded(min(temperatures)),
            "high": rounded(max(temperatures)),
        },
        fitted_temperature=rounded(fitted[0]) if ensemble else None,
        rows=rows,
        curves={name: _curve(labels, p) for name, p in ways.items()},
        sets=CredibleSets(level=CREDIBLE_LEVEL, **found),
        by_seed=[
            SeedCalibration(seed=seed, temperature=rounded(t), threshold=rounded(min(q, 1.0)))
            for seed, t, q in zip(named, temperatures, thresholds, strict=True)
        ],
        flat_intervals=has_flat_interval(
            [*(e for row in rows for e in (row.ece, row.log_loss)), *found.values()]
        ),
    )


def _errors(
    name: str, labels: Ints, probabilities: Sequence[Floats], patients: Any
) -> CalibrationErrors:
    def statistic(weights: Floats) -> dict[str, Floats]:
        return {
            "ece": np.stack([calibration_error(labels, p, weights) for p in probabilities]),
            "log_loss": np.stack([log_loss(labels, p, weights) for p in probabilities]),
        }

    found = bootstrap(statistic, patients, resamples=RESAMPLES, level=LEVEL, pivotal=("ece",))
    return CalibrationErrors(
        name=name, ece=estimate(found["ece"]), log_loss=estimate(found["log_loss"])
    )


def _curve(labels: Ints, probabilities: Sequence[Floats]) -> list[ReliabilityBin]:
    together: dict[float, list[Any]] = {}
    for p in probabilities:
        for found in reliability(labels, p):
            if found.images:
                together.setdefault(found.low, []).append(found)
    total = len(labels) * len(probabilities)
    curve = []
    for low in sorted(together):
        bins, images = together[low], np.array([b.images for b in together[low]])
        curve.append(
            ReliabilityBin(
                low=rounded(low),
                high=rounded(bins[0].high),
                share=rounded(images.sum() / total),
                confidence=rounded(np.average([b.confidence for b in bins], weights=images)),
                accuracy=rounded(np.average([b.accuracy for b in bins], weights=images)),
            )
        )
    return curve


def _sets(
    labels: Ints, credible: npt.NDArray[np.bool_], patients: Any
) -> dict[str, Estimate | None]:
    """(S, N, C) -> the shares of `CredibleSets`."""
    sizes = credible.sum(axis=-1)  # (S, N)
    shares = {
        "coverage": np.take_along_axis(credible, labels[None, :, None], axis=-1)[..., 0],
        "size": sizes,
        "one": sizes == 1,
        "several": sizes > 1,
        "none": sizes == 0,
    }

    def statistic(weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=0)
        return {
            name: np.einsum("sn,nb->sb", values.astype(float), weights) / total
            for name, values in shares.items()
        }

    ranges = dict.fromkeys(shares, (0.0, 1.0)) | {"size": (0.0, float(credible.shape[-1]))}
    found = bootstrap(statistic, patients, resamples=RESAMPLES, level=LEVEL, ranges=ranges)
    return {name: estimate(interval) for name, interval in found.items()}
