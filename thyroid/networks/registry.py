"""One table of all classifiers: a name, a constructor, a default width."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file
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
        When the name is not registered or the weights do not fit.
    """
    if config.name not in NETWORKS:
        raise InputError(
            f"network.name '{config.name}' is unknown: choose one of {', '.join(NETWORKS)}."
        )
    network = NETWORKS[config.name](classes, config.width)
    if config.weights is not None:
        _load(network, Path(config.weights))
    return network


def _load(network: nn.Module, path: Path) -> None:
    """Copy every tensor but the head's from a safetensors file."""
    if not path.is_file():
        raise InputError(f"network.weights '{path}' is no file: give a safetensors file.")
    own = network.state_dict()
    given = load_file(path)
    body = {name: tensor for name, tensor in given.items() if not name.startswith("fc.")}
    wrong = [n for n, t in body.items() if n not in own or own[n].shape != t.shape]
    missing = [n for n in own if n not in body and not n.startswith("fc.")]
    if wrong or missing:
        raise InputError(
            f"network.weights '{path}' does not fit the network: '{(wrong + missing)[0]}' differs; "
            "give weights of the same network and width, with one input channel."
        )
    network.load_state_dict(body, strict=False)
