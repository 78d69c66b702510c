"""Temperature scaling of stated probabilities (Guo et al. 2017)."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from thyroid.evaluate.metrics import Floats, Ints

LOG_T = 3.0
"""Temperatures are limited to exp(-LOG_T) to exp(LOG_T), 0.05 to 20. Without limits the best one
is 0 if all images are right, and infinite if the probabilities carry no information."""
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
    logits, rows = _logits(probabilities), np.arange(len(labels))

    def loss(log_t: float) -> float:
        return float(-log_softmax(logits / math.exp(log_t), axis=1)[rows, labels].mean())

    found = minimize_scalar(loss, bounds=(-LOG_T, LOG_T), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Compute softmax(log p / T), (N, C) -> (N, C). T above 1 makes probabilities more equal."""
    p: Floats = softmax(_logits(probabilities) / temperature, axis=1)
    return p


def _logits(probabilities: Floats) -> Floats:
    """Take logarithms, with zeros replaced by the least probability in single precision."""
    return np.log(np.maximum(probabilities, LEAST, dtype=np.float64))
