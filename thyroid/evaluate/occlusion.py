"""Occlusion maps: how covering a region changes the probability of a class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor


def occlusion(
    predict: Callable[[Tensor], Tensor],
    counts: Tensor,
    classes: Tensor,
    *,
    patch: int,
    stride: int,
) -> Tensor:
    """Map how much log p of a class falls when the region around each pixel is covered.

    A square is placed at every `stride`-th pixel and at the edges (Zeiler & Fergus 2014, section
    4.2). It is filled with its blurred surroundings: not with zeros, which no scintigram has there,
    and not with anything it covers, or a hot nodule would shine through. A pixel's value is the
    mean over the squares that cover it. It is positive where the image supports the class.

    Parameters
    ----------
    predict
        Counts (n, S, S) -> probabilities (n, C).
    counts : (N, S, S) float32
    classes : (N,) int
        The class whose probability is mapped, for each image.
    patch : side of the square in pixels, at most S
    stride : pixels from one square to the next, at most `patch`, so that all pixels are covered

    Returns
    -------
    (N, S, S) float32
    """
    side = counts.shape[-1]
    if not 1 <= stride <= patch <= side:
        raise ValueError(f"stride {stride}, patch {patch} and side {side} do not ascend from 1")
    covers = _covers(side, patch, stride).to(counts.device)  # (P, S, S)
    times = covers.sum(0)  # (S, S), at least 1
    falls = torch.empty(counts.shape, dtype=torch.float32, device=counts.device)
    with torch.no_grad():
        for i, (image, c) in enumerate(zip(counts, classes, strict=True)):
            covered = torch.where(covers, surroundings(image, covers, patch / 2), image)
            p = predict(torch.cat([image[None], covered]))[:, int(c)]  # (1 + P,)
            log_p = p.clamp_min(torch.finfo(p.dtype).tiny).log()
            fall = log_p[0] - log_p[1:]
            falls[i] = (fall[:, None, None] * covers).sum(0) / times
    return falls


def surroundings(image: Tensor, covers: Tensor, sigma: float) -> Tensor:
    """Blur an image with a Gaussian over the pixels that are not covered.

    (S, S) float32, covers (P, S, S) bool -> (P, S, S) float32. Where a square covers everything in
    reach, the result is the image's mean. Edges are mirrored.
    """
    weights = gaussian_filter1d(np.eye(len(image)), sigma, axis=0, mode="reflect")
    G = torch.from_numpy(weights).to(image)
    seen = (~covers).to(image.dtype)
    weight = G @ seen @ G.T  # (P, S, S)
    smooth = (G @ (image * seen) @ G.T) / weight.clamp_min(1e-6)
    return torch.where(weight > 1e-6, smooth, image.mean())


def _covers(side: int, patch: int, stride: int) -> Tensor:
    """Return the squares as masks (P, S, S); the last of each row and column is at the edge."""
    starts = torch.tensor([*range(0, side - patch, stride), side - patch])
    pixel = torch.arange(side)
    inside = (pixel >= starts[:, None]) & (pixel < starts[:, None] + patch)  # (K, S)
    return (inside[:, None, :, None] & inside[None, :, None, :]).flatten(0, 1)
