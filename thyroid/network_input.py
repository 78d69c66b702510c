"""From counts to a network's input: summed pixels, then normalised intensities."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from thyroid.errors import InputError


def sum_pixels(counts: Tensor, size: int) -> Tensor:
    """Sum blocks of pixels, which keeps counts whole and Poisson noise Poisson.

    Parameters
    ----------
    counts : (N, H, H), any real dtype
    size : side of the result in pixels; divides H

    Returns
    -------
    (N, size, size) float32

    Raises
    ------
    InputError
        When `size` does not divide H.
    """
    n, height, _ = counts.shape
    factor, rest = divmod(height, size)
    if rest or not factor:
        fitting = [height // f for f in (1, 2, 4, 8) if height % f == 0 and height // f >= 16]
        raise InputError(
            f"input.size {size} does not divide the data set's image size {height}: "
            f"choose one of {', '.join(map(str, fitting))}."
        )
    blocks = counts.to(torch.float32).view(n, size, factor, size, factor)
    return blocks.sum((2, 4))


def _per_mean(counts: Tensor) -> Tensor:
    """Divide counts by the image's mean; an empty image stays zero."""
    return counts / counts.mean((-2, -1), keepdim=True).clamp_min(1e-6)


NORMALISATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    # The square root makes Poisson noise equally strong everywhere (Bartlett 1936)
    "sqrt_mean": lambda counts: _per_mean(counts).sqrt(),
    "log_mean": lambda counts: torch.log1p(_per_mean(counts)),
    "mean": _per_mean,
    # For comparison: it hides whether the thyroid or the salivary glands are hottest
    "maximum": lambda counts: counts / counts.amax((-2, -1), keepdim=True).clamp_min(1),
}


WHITE: Mapping[str, float] = {"sqrt_mean": 6.0, "log_mean": 3.6, "mean": 36.0, "maximum": 1.0}
"""Intensity that is white for networks trained on photographs: 36 times the mean of the image.
Brighter pixels stay brighter. It is a constant, since white at an image's own maximum would hide
how much of all activity is in the gland (docs/results/measurements.md has other values)."""


def network_input(counts: Tensor, normalisation: str) -> Tensor:
    """Normalise counts (N, H, W) -> intensities (N, 1, H, W) float32."""
    return NORMALISATIONS[normalisation](counts.to(torch.float32)).unsqueeze(1)
