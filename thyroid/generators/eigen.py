"""Eigen-scintigrams: what a GAN has to beat.

The square root of a scintigram is taken for Gaussian: its mean is linear in the findings, so that
crosses compose, and its covariance is the same for all, of the few principal components that stand
out from photon noise.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

MOST = 2048
"""Images that it learns from, at most: evenly spread, as data sets are often sorted by class."""
RIDGE = 1.0
"""Images without a finding that each finding's mean is drawn towards."""


def fit(counts: Tensor, findings: Tensor) -> dict[str, Tensor]:
    """Learn from training images.

    A principal component is kept where its variance is above what noise alone would give the first
    one (Marchenko and Pastur 1967), less what noise adds to it (Johnstone 2001).

    Parameters
    ----------
    counts : (N, S, S) float32
    findings : (N, C) float32
        1 where an image shows the finding.

    Returns
    -------
    dict
        `means` (C + 1, S, S): of no finding, and what each adds; `components` (K, S, S), each as
        long as its standard deviation. Of square roots of activities, whose mean is 1.
    """
    step = -(-len(counts) // MOST)
    counts, findings = counts[::step].double(), findings[::step].double()
    n, side = len(counts), counts.shape[-1]
    mean = counts.mean((1, 2)).clamp_min(1e-6)  # (N,)
    x = ((counts + 3 / 8).sqrt() / mean.sqrt()[:, None, None]).flatten(1)  # (N, D); Anscombe 1948

    design = torch.cat([torch.ones_like(findings[:, :1]), findings], 1)  # (N, C + 1)
    penalty = torch.full_like(design[0], RIDGE)
    penalty[0] = 0
    means = torch.linalg.solve(design.T @ design + penalty.diag(), design.T @ x)  # (C + 1, D)
    rest = x - design @ means

    variances, directions = torch.linalg.eigh(rest @ rest.T / n)  # (N,), (N, N)
    noise = float((1 / (4 * mean)).mean())  # of a pixel's square root
    ratio = side**2 / n
    kept = variances > noise * (1 + math.sqrt(ratio)) ** 2
    variances, directions = variances[kept], directions[:, kept]
    long = rest.T @ directions / (n * variances).sqrt()  # (D, K), orthonormal
    long = long * (variances - noise * (1 + ratio)).clamp_min(0).sqrt()
    return {
        "means": means.view(-1, side, side).float(),
        "components": long.T.reshape(-1, side, side).float(),
    }


def draw(learned: dict[str, Tensor], findings: Tensor, random: Generator) -> Tensor:
    """Activities (n, S, S) float32, mean 1, of images with these findings (n, C)."""
    means, components = learned["means"], learned["components"]
    given = torch.cat([torch.ones_like(findings[:, :1]), findings], 1)
    luck = torch.randn(len(findings), len(components), generator=random, device=components.device)
    amplitude = torch.einsum("nc,cij->nij", given, means)
    amplitude = amplitude + torch.einsum("nk,kij->nij", luck, components)
    activity = amplitude.clamp_min(0).square()
    return activity / activity.mean((1, 2), keepdim=True).clamp_min(1e-6)
