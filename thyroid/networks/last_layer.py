"""Features of images: the input of the last linear layer, for any network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thyroid.errors import InputError
from thyroid.recipe import NetworkConfig


def width(network: nn.Module, classes: int) -> int:
    """Return the number of a network's features, D."""
    linear = _linear(network)
    return linear[-1].in_features if linear else classes


def last_layer(network: nn.Module, config: NetworkConfig) -> nn.Linear:
    """Return the linear layer that computes a network's logits from its features.

    Raises
    ------
    InputError
        When the network has no such layer, or it has no bias.
    """
    linear = _linear(network)
    if not linear or linear[-1].bias is None:
        raise InputError(
            f"The network '{config.name}' does not end in a linear layer with a bias, and a probe "
            "needs one: choose another network."
        )
    return linear[-1]


def features(network: nn.Module, x: Tensor) -> Tensor:
    """Return the input of the last linear layer, or the logits of a network without such a layer.

    Parameters
    ----------
    x : (N, 1, H, W) float32

    Returns
    -------
    (N, D) float32
    """
    linear = _linear(network)
    seen: list[Tensor] = []
    if not linear:
        return torch.as_tensor(network(x)).flatten(1)
    hook = linear[-1].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        network(x)
    finally:
        hook.remove()
    return seen[-1].flatten(1)


def name_of_last(network: nn.Module) -> str:
    """Return the name of the last linear layer, which computes logits from features.

    Raises
    ------
    InputError
        When there is none.
    """
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InputError(
            f"The network {type(network).__name__} has no linear layer, which --weights needs: "
            "add one at its end, or leave out --weights."
        )
    return str(linear[-1])


def _linear(network: nn.Module) -> list[nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Linear)]
