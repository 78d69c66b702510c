"""How unlike all training images an image is, in the space of a network's features.

A network's features are scaled to unit length. Each class of training images has its own mean, all
classes share one covariance, and the distance is Mahalanobis's to the nearest class (Lee et al.
2018). With fewer images than features the covariance is singular, so it is shrunk towards a
multiple of the identity (Ledoit & Wolf 2004). Outside its directions of largest variance it is
taken as equal in all directions, as in probabilistic principal components (Tipping & Bishop 1999),
which keeps models small.

Distances recognise pictures of other kinds, but hardly a scintigram that is upside down. Therefore
an image is also compared with altered images, which no camera makes of a thyroid: it is unlike the
training images if it is far from them relative to its distance from the altered ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WIDEST = 128
"""Number of directions that are kept. Among 16 to 256 directions of an earlier network, 128 missed
as few pictures on development centres as all 537 did."""
NEAREST = 1e-6
"""Least distance by which another is divided."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureReference:
    """A summary of the training images' features, from which distances are computed."""

    means: Floats
    """(C, D) of each class."""
    directions: Floats
    """(R, D) orthonormal rows: the directions in which images of a class differ most."""
    deviations: Floats
    """(R,) standard deviation along each, shrunk."""
    floor: float
    """Root mean square of the standard deviations along all other directions; above 0."""


def feature_reference(features: Floats, labels: Ints) -> FeatureReference:
    """Summarise the features of training images.

    Parameters
    ----------
    features : (N, D)
    labels : (N,) int
    """
    unit = _unit(features)
    means = np.stack([unit[labels == c].mean(axis=0) for c in np.unique(labels)])
    centred = unit - means[np.unique(labels, return_inverse=True)[1]]
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    n, dimensions = centred.shape
    variances = singular**2 / n
    mean = max(float(variances.sum()) / dimensions, 1e-12)  # identical images have none
    weight = _shrinkage(centred, variances, mean)
    every = np.zeros(dimensions)
    every[: len(variances)] = variances
    shrunk = (1 - weight) * every + weight * mean
    kept = min(len(variances), WIDEST)
    rest = shrunk[kept:].mean() if kept < dimensions else shrunk[-1]
    return FeatureReference(
        means=means,
        directions=directions[:kept],
        deviations=np.sqrt(shrunk[:kept]),
        floor=math.sqrt(max(float(rest), 1e-12)),
    )


def _shrinkage(centred: Floats, variances: Floats, mean: float) -> float:
    """Return the weight of the identity (Ledoit & Wolf 2004, section 3.2), in [0, 1]."""
    n, dimensions = centred.shape
    square = float((variances**2).sum())  # of the covariance's elements
    spread = (square - dimensions * mean**2) / dimensions
    noise = (float(((centred**2).sum(axis=1) ** 2).sum()) / n - square) / (n * dimensions)
    return 1.0 if spread <= 0 else float(np.clip(noise / spread, 0, 1))


def feature_distances(reference: FeatureReference, features: Floats) -> Floats:
    """Measure each image's distance from the nearest class.

    Parameters
    ----------
    features : (N, D)

    Returns
    -------
    (N,)
    """
    unit = _unit(features)
    squared = []
    for mean in reference.means:
        from_mean = unit - mean
        along = from_mean @ reference.directions.T  # (N, R)
        rest = from_mean - along @ reference.directions
        squared.append(
            ((along / reference.deviations) ** 2).sum(axis=1)
            + ((rest / reference.floor) ** 2).sum(axis=1)
        )
    distances: Floats = np.sqrt(np.min(squared, axis=0))
    return distances


def relative_distances(training: FeatureReference, altered: FeatureReference, x: Floats) -> Floats:
    """Divide each image's distance from the training images by that from altered images.

    For the shipped network for pictures, a distance and a logistic regression on the features
    missed about twice as many pictures (docs/results/measurements.md).

    Parameters
    ----------
    x : (N, D) features

    Returns
    -------
    (N,)
    """
    return feature_distances(training, x) / np.maximum(feature_distances(altered, x), NEAREST)


def novelty_threshold(held_out: Floats, level: float) -> float:
    """Find the measure that a share `level` of images like the held-out ones does not exceed.

    It is the ceil((n + 1) level)-th smallest of n held-out measures, as in conformal prediction.
    With fewer than level / (1 - level) images this does not exist. Then the threshold is the upper
    end of a one-sided prediction interval of a normal distribution, or the largest measure if that
    is larger. The largest measure alone would be too low: one image in 41 exceeds the largest of
    40, and more do if patients have several images.
    """
    rank, n = math.ceil(round((len(held_out) + 1) * level, 9)), len(held_out)
    if rank <= n:
        return float(np.sort(held_out)[rank - 1])
    largest = float(held_out.max())
    if n < 2:
        return largest
    from scipy.stats import t  # slow to import; predict does not need it

    wide = float(t.ppf(level, n - 1)) * float(held_out.std(ddof=1)) * math.sqrt(1 + 1 / n)
    return max(largest, float(held_out.mean()) + wide)


def _unit(features: Floats) -> Floats:
    """Scale rows to length 1; a row of zeros stays."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Floats = features / np.maximum(length, 1e-12)
    return unit
