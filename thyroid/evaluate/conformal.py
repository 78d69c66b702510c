"""Conformal sets: the classes that are credible for an image (Sadinle et al. 2019)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thyroid.evaluate.metrics import Floats, Ints


def conformal_threshold(
    labels: Ints, probabilities: Floats, level: float, patients: npt.ArrayLike | None = None
) -> float:
    """Find the threshold q at which sets of classes with 1 - p <= q cover the label at `level`.

    q is the ceil((n + 1) level)-th smallest of the scores 1 - p_label of n images (split conformal
    prediction with the least ambiguous sets: Sadinle et al. 2019). The coverage holds on average
    over images exchangeable with these. Fewer than level / (1 - level) images are not enough: then
    q is 1, and every class is in every set.

    With `patients`, coverage holds for an image of a new patient, although images of one patient
    are alike: each of P patients counts 1 / (P + 1), divided among its images (hierarchical
    conformal prediction: Lee, Barber & Willett 2023). If each patient has one image, q is the same.

    Parameters
    ----------
    labels : (N,) int
    probabilities : (N, C) float, of images that the network was not trained on
    patients : (N,), optional
        Patient of each image; default: every image is a patient.
    """
    scores = 1 - probabilities[np.arange(len(labels)), labels]
    groups = np.arange(len(labels)) if patients is None else np.asarray(patients, dtype=str)
    _, member, images = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    share = np.cumsum(1 / images[member[order]]) / (len(images) + 1)  # (N,)
    reached = np.flatnonzero(share >= level - 1e-9)  # 100 x 0.55 is 55, not a little more
    return float(scores[order[reached[0]]]) if len(reached) else 1.0


def conformal_set(probabilities: Floats, threshold: float) -> npt.NDArray[np.bool_]:
    """Select the classes with 1 - p <= threshold, (N, C) bool; a set may be empty."""
    credible: npt.NDArray[np.bool_] = 1 - probabilities <= threshold
    return credible
