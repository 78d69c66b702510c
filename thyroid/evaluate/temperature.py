"""Temperature scaling of stated probabilities (Guo et al. 2017)."""

from __future__ import annotations

import math

import numpy as np

from thyroid.evaluate.metrics import Floats, Ints

LOG_T = 3.0
"""Temperatures are limited to exp(-LOG_T) to exp(LOG_T), 0.05 to 20. Without limits the best one
is 0 if all images are right, and infinite if the probabilities carry no information."""
GAIN = 0.10
"""Share by which the best temperature of very many averaged networks is below that of one."""
LEAST = float(np.finfo(np.float32).smallest_subnormal)
"""Replaces a probability of zero: networks compute their softmax in single precision."""


def fit_temperature(labels: Ints, probabilities: Floats) -> float:
    """Find the temperature T that minimises the log loss of softmax(log p / T) (Guo et al. 2017).

    The loss is convex in 1 / T, so it has one minimum. T is limited to exp(-3) to exp(3).

    Parameters
    ----------
    labels : (N,) int, N >= 1
    probabilities : (N, C) float, rows summing to 1
    """
    from scipy.optimize import minimize_scalar  # slow to import, and predictions do without
    from scipy.special import log_softmax

    logits, rows = _logits(probabilities), np.arange(len(labels))

    def loss(log_t: float) -> float:
        return float(-log_softmax(logits / math.exp(log_t), axis=1)[rows, labels].mean())

    found = minimize_scalar(loss, bounds=(-LOG_T, LOG_T), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))


def ensemble_temperature(temperature: float, *, averaged: int, members: int) -> float:
    """Estimate the temperature of an ensemble from that of smaller ones, or of single networks.

    Out-of-fold predictions are by as many networks as there are seeds. An ensemble of all folds is
    right more often, and would be less sure than it may be at their temperature. The best one for
    M networks was found to be about T_1 (1 - c (1 - 1 / M)): the more networks are averaged, the
    less of their scatter is left. For M of 2, 3, 4 and 5, c was 0.107, 0.105, 0.105 and 0.104, with
    averaged weights and views, on 898 fresh images of the development centres. It is a constant of
    one network on simulated images (tests/benchmarks/test_ensembles.py).

    Parameters
    ----------
    temperature : best for the mean of `averaged` networks
    averaged : M of the predictions that it was fitted on
    members : M of the ensemble
    """
    before, after = (1 - GAIN * (1 - 1 / m) for m in (averaged, members))
    return temperature * after / before


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Compute softmax(log p / T), (N, C) -> (N, C). T above 1 makes probabilities more equal."""
    logits = _logits(probabilities) / temperature
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    p: Floats = odds / odds.sum(axis=1, keepdims=True)
    return p


def _logits(probabilities: Floats) -> Floats:
    """Take logarithms, with zeros replaced by the least probability in single precision."""
    return np.log(np.maximum(probabilities, LEAST, dtype=np.float64))
