"""Temperature scaling of stated probabilities (Guo et al. 2017)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from thyroid.evaluate.metrics import Floats, Ints

LOG_T = 3.0
"""Temperatures are sought between exp(-LOG_T) and exp(LOG_T), 0.05 and 20."""
GAIN = 0.10
"""Share by which the best temperature of very many averaged networks is below that of one."""
SPREAD = 0.5
"""Standard deviation of log T that is assumed before images are seen: about 1 for a new model, and
about the model's own temperature for images of another place. The best temperature is then 0.4 to
2.7 times as high in 95 % of cases."""
LEAST = float(np.finfo(np.float32).smallest_subnormal)
"""Replaces a probability of zero: networks compute their softmax in single precision."""


def fit_temperature(labels: Ints, probabilities: Floats) -> float:
    """Find the temperature T of a new model's probabilities (Guo et al. 2017).

    It minimises the sum over images of the log loss of softmax(log p / T), plus
    (log T)^2 / (2 SPREAD^2). The second term matters only with few images. Without it, T would be
    0 if all images are right, so that a model of 50 images would be certain of everything, and
    infinite if the probabilities carry no information.

    Parameters
    ----------
    labels : (N,) int, N >= 1
    probabilities : (N, C) float, rows summing to 1
    """
    return _most_probable(labels, probabilities, np.ones(len(labels)), 1.0)


def shrunk_temperature(
    labels: Ints, probabilities: Floats, patients: npt.ArrayLike, own: float
) -> float:
    """Find a model's temperature for images of another place, if there are few of them.

    It minimises the sum over patients of the log loss of softmax(log p / T), averaged over each
    patient's images, plus (log T - log T_own)^2 / (2 SPREAD^2). This is the most probable T if
    log T varies between places with standard deviation SPREAD about the model's own. The more
    patients, the less the second term counts.

    Simulated with seven classes and 84 % of the images right: mean log loss above that of the best
    T, if T is kept, fitted on n patients alone, or shrunk (tests/evaluate/test_recalibration.py
    does it again).

    | best T / own | kept  | n = 20: alone, shrunk | n = 40: alone, shrunk | n = 160: shrunk |
    |--------------|-------|-----------------------|-----------------------|-----------------|
    | 1            | 0.000 | 0.160, 0.011          | 0.025, 0.009          | 0.003           |
    | 2            | 0.084 | 0.250, 0.035          | 0.027, 0.018          | 0.004           |
    | 3            | 0.248 | 0.425, 0.076          | 0.031, 0.032          | 0.004           |
    | 0.5          | 0.079 | 0.094, 0.016          | 0.021, 0.009          | 0.003           |

    A T fitted on 20 patients alone is worse than the one that it replaces. A SPREAD of 0.25 keeps
    too much of a wrong T (20 patients, factor 3: 0.128 instead of 0.076); a SPREAD of 1 follows
    chance (factor 1: 0.031 instead of 0.011).

    Parameters
    ----------
    labels : (N,) int, N >= 1
    probabilities : (N, C) float, rows summing to 1, before calibration
    patients : (N,)
        Patient of each image.
    own : the model's temperature
    """
    _, member, images = np.unique(
        np.asarray(patients, dtype=str), return_inverse=True, return_counts=True
    )
    return _most_probable(labels, probabilities, 1 / images[member], own)


def _most_probable(labels: Ints, probabilities: Floats, weights: Floats, before: float) -> float:
    """Return the T of the least weighted sum of log losses, shrunk towards `before`."""
    from scipy.optimize import minimize_scalar  # slow to import; predict does not need it
    from scipy.special import log_softmax

    logits, rows = _logits(probabilities), np.arange(len(labels))

    def loss(log_t: float) -> float:
        away = (log_t - math.log(before)) ** 2 / (2 * SPREAD**2)
        losses = -log_softmax(logits / math.exp(log_t), axis=1)[rows, labels]  # (N,)
        return float((weights * losses).sum()) + away

    found = minimize_scalar(loss, bounds=(-LOG_T, LOG_T), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))


def ensemble_temperature(temperature: float, *, averaged: int, members: int) -> float:
    """Estimate the temperature of an ensemble from that of smaller ones, or of single networks.

    Out-of-fold predictions are by as many networks as there are seeds. An ensemble of all folds is
    right more often, and at their temperature its probabilities would be too low. The best
    temperature for M networks was found to be about T_1 (1 - c (1 - 1 / M)): the more networks are
    averaged, the less of their scatter is left. For M of 2, 3, 4 and 5, c was 0.107, 0.105, 0.105
    and 0.104, with averaged weights and views, on 898 fresh images of the development centres.
    These are figures of one network on simulated images (tests/benchmarks/test_ensembles.py).

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
