"""Whether stated probabilities can be believed, and making them so: temperature, reliability,
and sets of credible classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from thyroid.evaluate.metrics import Floats, Ints

LOG_T = 3.0
"""Temperatures lie in exp(-LOG_T) to exp(LOG_T), 0.05 to 20: where all images are right, or
probabilities tell nothing, the best one is 0 or infinite."""
LEAST = float(np.finfo(np.float32).smallest_subnormal)
"""What a probability of zero stands for: networks' softmax is of single precision."""


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Images whose predicted class has a probability in one range."""

    low: float
    high: float
    images: int
    confidence: float
    """Mean probability of the predicted class; NaN where there is no image."""
    accuracy: float
    """Share of images that are of the predicted class; NaN where there is no image."""


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


def reliability(labels: Ints, probabilities: Floats, bins: int = 15) -> list[Bin]:
    """Accuracy beside the predicted class's probability, in bins of equal width.

    The bins are those of `metrics.calibration_error`, which is the sum over them of
    images / N |accuracy - confidence|; all of them, empty ones, too.

    Parameters
    ----------
    labels : (N,) int
    probabilities : (N, C) float, rows summing to 1
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    found = []
    for b in range(bins):
        inside = which == b
        some = bool(inside.any())
        found.append(
            Bin(
                low=b / bins,
                high=(b + 1) / bins,
                images=int(inside.sum()),
                confidence=float(confidence[inside].mean()) if some else math.nan,
                accuracy=float(right[inside].mean()) if some else math.nan,
            )
        )
    return found


def conformal_threshold(labels: Ints, probabilities: Floats, level: float = 0.95) -> float:
    """Score up to which a class is credible, so that the true one is as often as `level` says.

    The ceil((n + 1) level)-th smallest of the scores 1 - p_label of n images (split conformal
    prediction with the least ambiguous sets: Sadinle et al. 2019). It holds on average over images
    that could as well have been among these. Fewer than level / (1 - level) images cannot say: the
    threshold is then 1, at which every class is credible.

    Parameters
    ----------
    labels : (N,) int
    probabilities : (N, C) float, of images that the network was not trained on
    """
    scores = np.sort(1 - probabilities[np.arange(len(labels)), labels])
    rank = math.ceil(round((len(scores) + 1) * level, 9))  # 100 x 0.55 is 55, not a little more
    return float(scores[rank - 1]) if rank <= len(scores) else 1.0


def conformal_set(probabilities: Floats, threshold: float) -> npt.NDArray[np.bool_]:
    """(N, C): which classes are credible, 1 - p at most the threshold; it may be none."""
    credible: npt.NDArray[np.bool_] = 1 - probabilities <= threshold
    return credible


def _logits(probabilities: Floats) -> Floats:
    """Logarithms; of zero, that of the least probability that a network can state."""
    return np.log(np.maximum(probabilities, LEAST, dtype=np.float64))
