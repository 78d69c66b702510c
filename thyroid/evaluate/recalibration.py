"""Calibration of a model on the images of another place, and its gain there.

A calibration is a temperature and a threshold of credible classes. Its gain is measured on patients
that it was not fitted on: each patient in turn is left out or, if there are many, a hundredth of
the patients at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thyroid.evaluate.bootstrap import Interval, bootstrap
from thyroid.evaluate.conformal import conformal_set, conformal_threshold
from thyroid.evaluate.metrics import Floats, Ints, calibration_error, log_loss
from thyroid.evaluate.temperature import shrunk_temperature, tempered

FOLDS = 100
"""Maximum number of parts into which cross-validation divides the patients."""
FIGURES = ("log_loss", "ece", "coverage", "named")
RANGES = {f"{when}_{name}": (0.0, 1.0) for when in ("before", "after") for name in FIGURES[1:]}


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The numbers that turn mean probabilities into calibrated ones and credible classes."""

    temperature: float
    threshold: float
    """Classes with a probability of at least 1 - threshold are credible; at most 1."""


def least_patients(level: float) -> int:
    """Return the least number of patients with which there is a threshold if one is left out.

    >>> least_patients(0.95)
    20
    """
    return math.ceil(round(level / (1 - level), 9)) + 1


def recalibrated(
    labels: Ints, probabilities: Floats, patients: npt.ArrayLike, *, own: float, level: float
) -> Calibration:
    """Fit a calibration.

    Parameters
    ----------
    labels : (N,) int, N >= 1
    probabilities : (N, C) float, before calibration
    patients : (N,)
    own : the model's temperature, which the new one is shrunk towards
    level : intended share of new patients' images whose class is credible
    """
    temperature = shrunk_temperature(labels, probabilities, patients, own)
    stated = tempered(probabilities, temperature)
    threshold = conformal_threshold(labels, stated, level, patients)
    return Calibration(temperature=temperature, threshold=min(threshold, 1.0))


def gain(
    labels: Ints,
    probabilities: Floats,
    patients: npt.ArrayLike,
    *,
    before: Calibration,
    level: float,
) -> dict[str, Interval]:
    """Measure the model's own calibration, and those that are fitted without the patient measured.

    Parameters are those of `recalibrated`; `before` is the model's calibration.

    Returns
    -------
    dict
        `before_` or `after_` with each of `FIGURES`: log loss, calibration error, the share of
        images whose class is credible, and the share with one credible class. `log_loss_change`
        is after minus before. Intervals are over patients.
    """
    p = tempered(probabilities, before.temperature)
    credible = conformal_set(p, before.threshold)
    names, member = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    fold = member % min(len(names), FOLDS)
    new_p, new_credible = np.empty_like(p), np.empty_like(credible)
    for f in range(fold.max() + 1):
        out = fold == f
        fitted = recalibrated(
            labels[~out],
            probabilities[~out],
            member[~out],
            own=before.temperature,
            level=level,
        )
        new_p[out] = tempered(probabilities[out], fitted.temperature)
        new_credible[out] = conformal_set(new_p[out], fitted.threshold)

    def statistic(weights: Floats) -> dict[str, Floats]:
        found: dict[str, Floats] = {}
        for when, stated, sets in (("before", p, credible), ("after", new_p, new_credible)):
            holds, one = sets[np.arange(len(labels)), labels], sets.sum(axis=1) == 1
            found |= {
                f"{when}_log_loss": log_loss(labels, stated, weights),
                f"{when}_ece": calibration_error(labels, stated, weights),
                f"{when}_coverage": weights[holds].sum(axis=0) / weights.sum(axis=0),
                f"{when}_named": weights[one].sum(axis=0) / weights.sum(axis=0),
            }
        found["log_loss_change"] = found["after_log_loss"] - found["before_log_loss"]
        return {name: value[None] for name, value in found.items()}

    pivotal = ("before_ece", "after_ece")
    return bootstrap(statistic, patients, pivotal=pivotal, ranges=RANGES)
