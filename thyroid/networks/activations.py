"""Activations of any network at several depths."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thyroid.networks.last_layer import features

DEPTHS = (1, 2, 3)
"""Quarters of the convolutions."""


def activations(network: nn.Module, x: Tensor) -> Tensor:
    """Return the last linear layer's input, and each channel's mean and maximum after a quarter,
    half and three quarters of the convolutions; each of these scaled to length 1.

    The last layer's input is learned to separate the classes, and alone lacks much of what
    separates other pictures from scintigrams.

    Parameters
    ----------
    x : (N, 1, H, W) float32

    Returns
    -------
    (N, D) float32; for a network without convolutions, its features alone
    """
    seen: list[Tensor] = []

    def look(_: nn.Module, __: object, made: Tensor) -> None:
        seen.append(torch.cat([made.mean((2, 3)), made.amax((2, 3))], 1))

    hooks = [convolution.register_forward_hook(look) for convolution in _chosen(network)]
    try:
        parts = [features(network, x), *seen]
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat([F.normalize(part.float(), dim=1) for part in parts], 1)


def _chosen(network: nn.Module) -> list[nn.Conv2d]:
    every = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    return [every[i] for i in sorted({len(every) * quarter // 4 for quarter in DEPTHS if every})]
