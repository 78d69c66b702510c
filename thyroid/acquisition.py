"""From a picture of activity to photon counts: what a gamma camera adds to what is there.

Generators learn the activity, free of noise, and meet the real images on the side of the counts:
both pass through the same acquisition before they are compared (AmbientGAN, Bora 2018). A
generator trained on noisy images would imitate the noise, and get it twice.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def mean_one(rate: Tensor) -> Tensor:
    """A rate (N, H, W), not negative, as an activity: over each image's mean."""
    return rate / rate.mean((-2, -1), keepdim=True).clamp_min(1e-12)


def acquire(activity: Tensor, totals: Tensor, generator: Generator) -> Tensor:
    """Poisson counts of an activity, differentiable.

    The counts are exact; backwards, d counts / d expected counts is taken as 1, its mean.

    Parameters
    ----------
    activity : (N, H, W) float32, mean 1 in each image, not negative
    totals : (N,) float32, expected counts of each whole image
    generator : on the device of `activity`

    Returns
    -------
    (N, H, W) float32, whole numbers
    """
    expected = activity * (totals / activity[0].numel()).view(-1, 1, 1)
    with torch.no_grad():
        rate = expected.nan_to_num()  # NaN is no rate; it stays in the sum
        noise = torch.poisson(rate, generator=generator) - expected
    return expected + noise


def stabilised(counts: Tensor) -> Tensor:
    """Variance-stabilised counts over the image's level (Anscombe 1948).

    sqrt((counts + 3/8) / (mean + 3/8)): as `sqrt_mean` for a network, but smooth at zero counts.
    (N, H, W) -> (N, 1, H, W) float32, mean square 1.
    """
    level = counts.mean((-2, -1), keepdim=True)
    return ((counts + 0.375) / (level + 0.375)).sqrt().unsqueeze(1)


def divide(counts: Tensor, share: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Deal each photon to one of two images at random: two independent shorter acquisitions.

    Parameters
    ----------
    counts : (N, H, W) float32, whole numbers
    share : (N,) float32, chance of a photon to go into the first image
    generator : on the device of `counts`

    Returns
    -------
    Two (N, H, W) float32 that sum to `counts`; of a Poisson image they are independent.
    """
    probability = share.view(-1, 1, 1).expand_as(counts).contiguous()
    first = torch.binomial(counts, probability, generator=generator)
    return first, counts - first
