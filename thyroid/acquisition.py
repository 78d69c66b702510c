"""Acquisition: from an image of activity to photon counts, as a gamma camera does it.

Generators learn the activity, which is free of noise. Generated images pass through the acquisition
before they are compared with real counts (AmbientGAN, Bora 2018). A generator trained without it
would imitate the noise, and its images would get noise twice.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def mean_one(rate: Tensor) -> Tensor:
    """Divide a rate (N, H, W), not negative, by each image's mean, which makes it an activity."""
    return rate / rate.mean((-2, -1), keepdim=True).clamp_min(1e-12)


def acquire(activity: Tensor, totals: Tensor, generator: Generator) -> Tensor:
    """Draw Poisson counts of an activity, differentiably.

    The counts are exact; in the backward pass, d counts / d expected counts is 1, its mean.

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
        rate = expected.nan_to_num()  # NaN is not a rate; it stays in the sum
        noise = torch.poisson(rate, generator=generator) - expected
    return expected + noise


def stabilised(counts: Tensor) -> Tensor:
    """Stabilise the variance of counts, relative to the image's mean (Anscombe 1948).

    sqrt((counts + 3/8) / (mean + 3/8)): like the normalisation `sqrt_mean`, but smooth at zero.
    (N, H, W) -> (N, 1, H, W) float32, mean square 1.
    """
    level = counts.mean((-2, -1), keepdim=True)
    return ((counts + 0.375) / (level + 0.375)).sqrt().unsqueeze(1)


def divide(counts: Tensor, share: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Split photons at random into two images: two independent shorter acquisitions.

    Parameters
    ----------
    counts : (N, H, W) float32, whole numbers
    share : (N,) float32, probability of a photon to go to the first image
    generator : on the device of `counts`

    Returns
    -------
    Two (N, H, W) float32 that sum to `counts`; independent if the image is Poisson.
    """
    probability = share.view(-1, 1, 1).expand_as(counts).contiguous()
    first = torch.binomial(counts, probability, generator=generator)
    return first, counts - first
