"""Some images of a data set, on the device; and back, from an activity to what is stored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from thyroid.acquisition import acquire
from thyroid.data.dataset import Dataset
from thyroid.network_input import sum_pixels
from thyroid.recipe import InputConfig
from thyroid.stages.compute import Compute


def images(
    dataset: Dataset, rows: npt.NDArray[np.int64], config: InputConfig, on: Compute
) -> tuple[Tensor, Tensor]:
    """Counts (N, S, S) float32 and labels (N,) int64."""
    counts = sum_pixels(torch.from_numpy(dataset.counts[rows].astype(np.float32)), config.size)
    return counts.to(on.device), torch.from_numpy(dataset.labels[rows]).to(on.device)


def detected(activity: Tensor, totals: Tensor, kind: str, generator: Generator) -> Tensor:
    """An activity as a data set of this kind would show it: counts, or a picture without noise.

    (N, S, S) float32 of mean 1, totals (N,) -> (N, S, S) float32, differentiable.
    """
    if kind == "counts":
        return acquire(activity, totals, generator)
    return activity * (totals / activity[0].numel()).view(-1, 1, 1)
