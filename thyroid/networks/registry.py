"""One table of all classifiers: a name, a constructor, a default width."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from thyroid.errors import InputError
from thyroid.networks.lenet import lenet5
from thyroid.networks.resnet import resnet18, resnet34, resnet50, resnet_small
from thyroid.recipe import NetworkConfig

NETWORKS: dict[str, Callable[[int, int | None], nn.Module]] = {
    "lenet5": lenet5,
    "resnet_small": resnet_small,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
}
"""Name -> constructor(classes, width): (N, 1, H, W) float32 -> logits (N, classes)."""


def build(config: NetworkConfig, classes: int) -> nn.Module:
    """The network that `config` names, initialised from torch's global generator.

    Raises
    ------
    InputError
        When the name is not registered.
    """
    if config.name not in NETWORKS:
        raise InputError(
            f"network.name '{config.name}' is unknown: choose one of {', '.join(NETWORKS)}."
        )
    return NETWORKS[config.name](classes, config.width)
