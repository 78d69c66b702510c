"""The gate of a model: it recognises images that are unlike all training images.

A network gives high probabilities to many pictures that are no scintigrams. In its features most of
these lie far from all training images. Most of the rest, such as scintigrams upside down, have a
greater ratio of the distance from training images to that from altered ones than held-out images
have. The distance is divided by the median distance of the network's validation images, which it
was not trained on; both measures are averaged over networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from thyroid.evaluate.novelty import feature_distances, novelty_threshold, relative_distances
from thyroid.run_files.features_file import NetworkFeatures

Floats = npt.NDArray[np.float64]

LEVEL = 0.99
"""Share of held-out images, each seen by one network, that the gate lets pass."""
EACH = (1 + LEVEL) / 2
"""Share below each of the two limits, so that at least LEVEL is below both."""
LEAST = 1e-6
"""Least limit: features that are all the same have distances of 0."""
ENOUGH = round(EACH / (1 - EACH))
"""Least number of held-out images whose largest measure can be such a limit: 199."""


class Unlikeness(NamedTuple):
    """Two measures of N images, each as a multiple of its limit: above 1 means unlike."""

    distance: Floats
    """(N,) from all training images."""
    altered: Floats
    """(N,) distance from all training images relative to that from altered images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Gate:
    """The training images of each network, and the limits of both measures."""

    networks: tuple[NetworkFeatures, ...]
    scales: tuple[float, ...]
    """Median held-out distance of each network; above 0."""
    threshold: float
    """Mean scaled distance above which an image is unlike the training images; above 0."""
    relative: float
    """Mean relative distance above which an image is unlike the training images; above 0."""

    def measure(self, features: Sequence[Floats]) -> Unlikeness:
        """Measure images.

        Parameters
        ----------
        features : (N, D) of each network
        """
        pairs = list(zip(self.networks, self.scales, features, strict=True))
        scaled = [feature_distances(n.reference, seen) / scale for n, scale, seen in pairs]
        relative = [relative_distances(n.reference, n.altered, seen) for n, _, seen in pairs]
        return Unlikeness(
            distance=np.mean(scaled, axis=0) / self.threshold,
            altered=np.mean(relative, axis=0) / self.relative,
        )


def gate_of(networks: Sequence[NetworkFeatures], folds: Sequence[int]) -> Gate:
    """Make the gate of networks.

    Parameters
    ----------
    networks
        Those of one fold have their validation images in common, in the same order.
    folds
        Fold of each network.
    """
    scales = [max(float(np.median(network.held_out)), 1e-6) for network in networks]
    distances = [n.held_out / scale for n, scale in zip(networks, scales, strict=True)]
    return Gate(
        networks=tuple(networks),
        scales=tuple(scales),
        threshold=max(novelty_threshold(_of_images(distances, folds), EACH), LEAST),
        relative=max(
            novelty_threshold(
                _of_images([network.held_out_relative for network in networks], folds), EACH
            ),
            LEAST,
        ),
    )


def _of_images(measures: Sequence[Floats], folds: Sequence[int]) -> Floats:
    """Average the networks of each fold: (images,)."""
    return np.concatenate(
        [
            np.mean([own for own, f in zip(measures, folds, strict=True) if f == fold], axis=0)
            for fold in sorted(set(folds))
        ]
    )
