"""Quality of generated scintigrams: distances to real ones, memorisation, and Poisson noise.

Sets are compared by features, (N, D), of a classifier of scintigrams. A distance depends on that
network and on the number of images, so it needs a yardstick: the same distance, by the same
network, between as many real images and the same reference.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import ks_2samp
from sklearn.metrics.pairwise import euclidean_distances, polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.object_]

FEWEST_FRECHET = 50
"""Images of each set. With fewer images than features the distance is biased upwards, and so is its
yardstick; below this number it is mostly bias."""
FEWEST_KERNEL = 5
"""Images of each set. The kernel distance is noisy but unbiased."""
FEWEST_NEIGHBOURS = 10
"""Images of each set, for precision, recall, density and coverage."""
FEWEST_MEAN = 5
"""Images for a mean, a median, or a distribution of total counts."""
FEWEST_PERCENTILE = 20
"""Held-out images for a 5th percentile."""

NEIGHBOURS = 5
"""The k of precision, recall, density and coverage; at most a third of the images."""
NEAR = 0.05
"""Share of held-out images that count as suspiciously near to a training image."""


def compare(
    candidates: Floats, reference: Floats, groups: tuple[Groups, Groups] | None = None
) -> dict[str, float | None]:
    """Compute all distances between two sets of features; None if a set is too small.

    Parameters
    ----------
    candidates : (N, D) float64, of generated images, or of real ones for the yardstick
    reference : (M, D) float64, of real images
    groups : (N,) and (M,) str, if the sets were drawn to have the same mix of groups

    Returns
    -------
    dict
        frechet_distance, kernel_distance, precision, recall, density, coverage.
    """
    fewest = min(len(candidates), len(reference))
    near: dict[str, float | None] = dict.fromkeys(("precision", "recall", "density", "coverage"))
    if fewest >= FEWEST_NEIGHBOURS:
        near |= neighbourhoods(candidates, reference, k=min(NEIGHBOURS, fewest // 3))
    return {
        "frechet_distance": frechet_distance(candidates, reference)
        if fewest >= FEWEST_FRECHET
        else None,
        "kernel_distance": kernel_distance(candidates, reference, groups=groups)
        if fewest >= FEWEST_KERNEL
        else None,
        **near,
    }


def frechet_distance(x: Floats, y: Floats) -> float:
    """Compute the squared Frechet distance of Gaussians fitted to features (N, D) and (M, D).

    |mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^1/2) (Heusel et al. 2017, eq. 6), by torchmetrics.
    """
    metric = FrechetInceptionDistance(feature=_Features(x.shape[1]))
    metric.update(torch.from_numpy(x), real=False)
    metric.update(torch.from_numpy(y), real=True)
    return max(float(metric.compute()), 0.0)  # below zero by rounding if the sets are equal


class _Features(nn.Identity):
    """Stands in for torchmetrics' feature network, because features are given."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.num_features = number


def kernel_distance(
    x: Floats, y: Floats, *, groups: tuple[Groups, Groups] | None = None, paired: bool = False
) -> float:
    """Estimate the squared maximum mean discrepancy of features (N, D) and (M, D), unbiased.

    mean_i!=j k(x_i, x_j) + mean_i!=j k(y_i, y_j) - 2 mean k(x_i, y_j), with the kernel
    k(a, b) = (a.b / D + 1)^3 (KID: Binkowski et al. 2018); it may come out below zero.

    Parameters
    ----------
    groups : (N,) and (M,) str, if the mix of groups was fixed and not drawn: then i != j removes
        pairs within one group only, and the group's other pairs replace them
    paired : x_i and y_i show the same patient: the last mean is over i != j as well
    """
    k_xx, k_yy, k_xy = (
        polynomial_kernel(a, b, degree=3, coef0=1) for a, b in ((x, x), (y, y), (x, y))
    )
    of_x, of_y = groups or (np.zeros(len(x)), np.zeros(len(y)))
    across = _mean_of_pairs(k_xy, np.zeros(len(x))) if paired else k_xy.mean()
    return float(_mean_of_pairs(k_xx, of_x) + _mean_of_pairs(k_yy, of_y) - 2 * across)


def _mean_of_pairs(kernel: Floats, groups: Groups | Floats) -> float:
    """Average over i != j; n (n - 1) pairs within a group of n weigh as much as n^2 others."""
    same = groups[:, None] == groups[None, :]  # (N, N)
    n = same.sum(axis=1, keepdims=True)
    weights = np.where(same, n / np.maximum(n - 1, 1), 1.0)
    np.fill_diagonal(weights, 0.0)
    return float(np.average(kernel, weights=weights))


def neighbourhoods(candidates: Floats, reference: Floats, k: int) -> dict[str, float]:
    """Compute precision, recall, density and coverage of features (N, D) and (M, D).

    The neighbourhood B_k(x) of an image reaches to its k-th nearest neighbour in its own set.

    precision : share of candidates in the neighbourhood of any reference image
    recall : share of reference images in the neighbourhood of any candidate
        (both Kynkaanniemi et al. 2019, section 2)
    density : mean number of reference neighbourhoods that a candidate lies in, over k
    coverage : share of reference images with a candidate in their neighbourhood
        (both Naeem et al. 2020, section 3)
    """
    distances = euclidean_distances(candidates, reference)  # (N, M)
    near_reference = distances <= _radii(reference, k)[None, :]
    near_candidates = distances <= _radii(candidates, k)[:, None]
    return {
        "precision": float(near_reference.any(axis=1).mean()),
        "recall": float(near_candidates.any(axis=0).mean()),
        "density": float(near_reference.sum() / (k * len(candidates))),
        "coverage": float(near_reference.any(axis=0).mean()),
    }


def _radii(features: Floats, k: int) -> Floats:
    """Return the distance of each row to its k-th nearest other row, (N,)."""
    found, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(features).kneighbors()
    radii: Floats = found[:, -1]
    return radii


def nearest_distances(images: Floats, others: Floats) -> Floats:
    """Return the Euclidean distance of each of (N, D) to the nearest of (M, D), (N,)."""
    found, _ = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(others).kneighbors(images)
    distances: Floats = found[:, 0]
    return distances


def memorisation(distances: Floats, held_out: Floats, weights: Floats) -> dict[str, float | None]:
    """Compare distances of generated and of unseen real images to their nearest training image.

    Parameters
    ----------
    distances : (N,) of generated images to the nearest training image
    held_out : (M,) of unseen real images to the nearest training image
    weights : (N,) weight of each generated image

    Returns
    -------
    dict
        nearest_training_distance: median over the held-out median, 1 if nothing is copied;
        share_suspiciously_near: share below the held-out 5th percentile, 0.05 if nothing is
        copied. None if images are too few.
    """
    ratio = near = None
    if min(len(distances), len(held_out)) >= FEWEST_MEAN:
        median = np.quantile(distances, 0.5, weights=weights, method="inverted_cdf")
        ratio = float(median / np.median(held_out))
    if len(distances) >= FEWEST_MEAN and len(held_out) >= FEWEST_PERCENTILE:
        near = float(np.average(distances < np.quantile(held_out, NEAR), weights=weights))
    return {"nearest_training_distance": ratio, "share_suspiciously_near": near}


def neighbour_dispersion(counts: Floats) -> Floats:
    """Compute the variance of neighbouring pixels over their mean: 1 for Poisson noise.

    A block of 2 x 2 pixels a b / c d with T photons has the contrast a - b - c + d. If the expected
    counts are constant or linear there, the contrast's mean is 0 and the mean of its square is T,
    given T. So the mean of contrast^2 / T over blocks is 1 for Poisson counts (the index of
    dispersion of Fisher, Thornton & Mackenzie 1922). It is taken over the flatter half of the
    blocks: those whose 3 x 3 surrounding block totals vary least. This choice depends on totals
    only and is therefore independent of the contrasts.

    Parameters
    ----------
    counts : (N, H, W), whole numbers; H and W at least 6

    Returns
    -------
    (N,) float64, NaN if no block has the 4 photons that it needs to be counted.
    """
    n, rows, columns = counts.shape[0], counts.shape[1] // 2, counts.shape[2] // 2
    blocks = counts[:, : 2 * rows, : 2 * columns].reshape(n, rows, 2, columns, 2)
    totals = blocks.sum(axis=(2, 4))  # (N, rows, columns)
    sign = np.array([[1.0, -1.0], [-1.0, 1.0]])
    contrasts = np.einsum("nyaxb,ab->nyx", blocks, sign)

    around = sliding_window_view(totals, (3, 3), axis=(1, 2))  # (N, rows - 2, columns - 2, 3, 3)
    unevenness = around.var(axis=(3, 4)) / np.maximum(around.mean(axis=(3, 4)), 1)
    totals, contrasts = totals[:, 1:-1, 1:-1], contrasts[:, 1:-1, 1:-1]
    counted = totals >= 4
    dispersion = np.full(n, np.nan)
    for i in np.flatnonzero(counted.any(axis=(1, 2))):
        level = np.median(unevenness[i][counted[i]])
        flat = counted[i] & (unevenness[i] <= level)
        dispersion[i] = np.mean(contrasts[i][flat] ** 2 / totals[i][flat])
    return dispersion


def total_counts_distance(totals: Floats, reference: Floats) -> float | None:
    """Compute the Kolmogorov-Smirnov statistic of log total counts (N,) and (M,), 0 to 1.

    It is the largest difference of the two distribution functions; None if a set is too small. NaN
    is left out.
    """
    totals, reference = totals[np.isfinite(totals)], reference[np.isfinite(reference)]
    if min(len(totals), len(reference)) < FEWEST_MEAN:
        return None
    return float(ks_2samp(np.log(totals.clip(1)), np.log(reference.clip(1))).statistic)


def mean_of(values: Floats, weights: Floats) -> float | None:
    """Take the weighted mean of (N,) values without NaN; None if they are too few."""
    known = np.isfinite(values)
    if known.sum() < FEWEST_MEAN:
        return None
    return float(np.average(values[known], weights=weights[known]))
