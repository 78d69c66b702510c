"""The feature network: a classifier with whose features and classes images are measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from thyroid.network_input import network_input
from thyroid.networks.resnet import ResNet
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import Compute


def load_feature_network(folder: Path, on: Compute) -> ResNet:
    """The trained classifier in `folder`, for inference.

    Raises
    ------
    TypeError
        When it is no residual network.
    """
    network, _, _ = load_model(folder, on)
    if not isinstance(network, ResNet):
        raise TypeError(f"the feature network must be a ResNet, not {type(network).__name__}")
    return network.eval()


def features_and_classes(
    network: ResNet, counts: Tensor, normalisation: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Features (N, D) float64 and predicted class (N,) int64 for counts (N, S, S).

    Computed in float32, whatever the network was trained in: bf16 has three digits.
    """
    features, verdicts = [], []
    with torch.inference_mode():
        for some in torch.split(counts, 256):
            x = network_input(some, normalisation)  # (n, 1, S, S)
            seen = network.features(x.contiguous(memory_format=torch.channels_last))  # (n, D)
            features.append(seen.double().cpu())
            verdicts.append(network.fc(seen).argmax(1).cpu())
    return torch.cat(features).numpy(), torch.cat(verdicts).numpy()
