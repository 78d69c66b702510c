"""Conformal sets: the classes that are credible for an image (Sadinle et al. 2019)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from thyroid.evaluate.metrics import Floats, Ints


def conformal_threshold(labels: Ints, probabilities: Floats, level: float) -> float:
    """Find the threshold q at which sets of classes with 1 - p <= q cover the label at `level`.

    q is the ceil((n + 1) level)-th smallest of the scores 1 - p_label of n images (split conformal
    prediction with the least ambiguous sets: Sadinle et al. 2019). The coverage holds on average
    over images exchangeable with these. Fewer than level / (1 - level) images are not enough: then
    q is 1, and every class is in every set.

    Parameters
    ----------
    labels : (N,) int
    probabilities : (N, C) float, of images that the network was not trained on
    """
    scores = np.sort(1 - probabilities[np.arange(len(labels)), labels])
    rank = math.ceil(round((len(scores) + 1) * level, 9))  # 100 x 0.55 is 55, not a little more
    return float(scores[rank - 1]) if rank <= len(scores) else 1.0


def conformal_set(probabilities: Floats, threshold: float) -> npt.NDArray[np.bool_]:
    """Select the classes with 1 - p <= threshold, (N, C) bool; a set may be empty."""
    credible: npt.NDArray[np.bool_] = 1 - probabilities <= threshold
    return credible
