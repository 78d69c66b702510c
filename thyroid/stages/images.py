"""Some images of a data set, on the device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
