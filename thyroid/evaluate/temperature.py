"""Temperature scaling of stated probabilities (Guo et al. 2017)."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from thyroid.evaluate.metrics import Floats, Ints

LOG_T = 3.0
"""Temperatures lie in exp(-LOG_T) to exp(LOG_T), 0.05 to 20: where all images are right, or
probabilities tell nothing, the best one is 0 or infinite."""
LEAST = float(np.finfo(np.float32).smallest_subnormal)
"""What a probability of zero stands for: networks' softmax is of single precision."""


def fit_temperature(labels: Ints, probabilities: Floats) -> float:
    """The temperature T at which softmax(log p / T) has the least log loss (Guo et al. 2017).

    The loss is convex in 1 / T, so that there is one minimum; T lies in exp(-3) to exp(3).

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
    """softmax(log p / T), (N, C) -> (N, C): above 1, T makes probabilities more alike."""
    p: Floats = softmax(_logits(probabilities) / temperature, axis=1)
    return p


def _logits(probabilities: Floats) -> Floats:
    """Logarithms; of zero, that of the least probability that a network can state."""
    return np.log(np.maximum(probabilities, LEAST, dtype=np.float64))
