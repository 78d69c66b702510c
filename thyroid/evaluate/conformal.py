"""Conformal sets: the classes that are credible for an image (Sadinle et al. 2019)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from thyroid.evaluate.metrics import Floats, Ints


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
