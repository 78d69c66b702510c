"""The gate of a model: it tells images that are unlike all training images.

A network is sure of many pictures that are no scintigrams. In its features they lie far from all
training images. Each network's distances are divided by the median distance of the validation
images, which it was not trained on, and averaged over the networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thyroid.evaluate.novelty import FeatureReference, feature_distances, novelty_threshold

Floats = npt.NDArray[np.float64]

LEVEL = 0.99
"""Share of held-out distances, each of one network, that the threshold is not exceeded by."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Gate:
    """The training images of each network, and the limit of distances from them."""

    references: tuple[FeatureReference, ...]
    """One for each network."""
    scales: tuple[float, ...]
    """Median held-out distance of each network; above 0."""
    threshold: float
    """Mean scaled distance above which an image is unlike the training images; above 0."""

    def distances(self, features: Sequence[Floats]) -> Floats:
        """Measure images: above 1, an image is unlike all training images.

        Parameters
        ----------
        features : (N, D) of each network

        Returns
        -------
        (N,)
        """
        scaled = [
            feature_distances(reference, of_network) / scale
            for reference, of_network, scale in zip(
                self.references, features, self.scales, strict=True
            )
        ]
        distances: Floats = np.mean(scaled, axis=0) / self.threshold
        return distances


def gate_of(
    references: Sequence[FeatureReference], held_out: Sequence[Floats], folds: Sequence[int]
) -> Gate:
    """Make the gate of networks.

    Parameters
    ----------
    held_out
        Each network's distances of its validation images, which networks of one fold have in common
        and in the same order.
    folds
        Fold of each network.
    """
    scales = [max(float(np.median(distances)), 1e-6) for distances in held_out]
    scaled = [distances / scale for distances, scale in zip(held_out, scales, strict=True)]
    of_images = [
        np.mean([own for own, f in zip(scaled, folds, strict=True) if f == fold], axis=0)
        for fold in sorted(set(folds))
    ]
    return Gate(
        references=tuple(references),
        scales=tuple(scales),
        threshold=novelty_threshold(np.concatenate(of_images), LEVEL),
    )
