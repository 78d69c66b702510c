"""Standardises a network's input, as networks trained on photographs expect it.

Padding comes after standardisation, so that its zeros mean the same as in their training. If
standardisation were folded into the first convolution, outputs at the border would differ.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from thyroid.recipe import NetworkConfig

BUFFERS: Mapping[str, float] = {"input_mean": 0.0, "input_std": 1.0}
"""Names in the state dictionary, so that stored weights include how to standardise their input;
weights without them take the input as it is."""


def standardise(network: nn.Module, config: NetworkConfig) -> nn.Module:
    """Have the network standardise its input, (x - mean) / std with the numbers of `config`."""
    numbers = {name: getattr(config, name) for name in BUFFERS}
    if numbers != BUFFERS:
        for name, number in numbers.items():
            network.register_buffer(name, torch.tensor(number))
        network.register_forward_pre_hook(_standardised)
    return network


def _standardised(network: nn.Module, given: tuple[Tensor]) -> Tensor:
    mean, std = (network.get_buffer(name) for name in BUFFERS)
    return (given[0] - mean) / std
