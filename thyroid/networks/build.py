"""Builds the classifier that a recipe names. Importing this module fills the registry."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import torch
from torch import Tensor, nn

from thyroid import networks
from thyroid.errors import InputError
from thyroid.networks.last_layer import last_layer
from thyroid.networks.registry import NETWORKS, Entry
from thyroid.networks.standardise import standardise
from thyroid.networks.timm_network import PREFIX, timm_entry
from thyroid.recipe import NetworkConfig

for _module in pkgutil.iter_modules(networks.__path__):
    if _module.name != "build":
        importlib.import_module(f"{networks.__name__}.{_module.name}")

BASELINES: tuple[str, ...] = tuple(name for name, entry in NETWORKS.items() if entry.small)
"""Names of networks that two CPU cores train in minutes."""
PUBLISHED: tuple[str, ...] = tuple(name for name, entry in NETWORKS.items() if entry.published)
"""Names of networks that are built as in their publications."""


def build(config: NetworkConfig, classes: int) -> nn.Module:
    """Build the network that `config` names, initialised from torch's global generator.

    Raises
    ------
    InputError
        When the name is not registered, or the network does not take one of the settings.
    """
    entry = entry_of(config.name)
    options: dict[str, Any] = {}
    if entry.has_width:
        options["width"] = config.width
    elif config.width is not None:
        raise InputError(f"network.width has no meaning for {config.name}: leave it out.")
    if entry.residual:
        options["cross_feature"] = config.cross_feature
    elif config.cross_feature != "none":
        raise InputError(
            f"network.cross_feature {config.cross_feature} needs a residual network, and "
            f"{config.name} is not one: choose network.cross_feature none, or one of "
            f"{', '.join(name for name, e in NETWORKS.items() if e.residual)}."
        )
    return standardise(entry.constructor(classes, **options), config)


def require_size(config: NetworkConfig, size: int) -> None:
    """Check that images are large enough for the network.

    Raises
    ------
    InputError
        When images of `size` pixels a side are too small.
    """
    smallest = entry_of(config.name).smallest
    if size < smallest:
        raise InputError(
            f"input.size {size} is too small for {config.name}: it takes {smallest} pixels or more."
        )


def require_fit(network: nn.Module, config: NetworkConfig, size: int, classes: int) -> None:
    """Check that a network, perhaps a user's own, returns one number per image and class.

    Raises
    ------
    InputError
        When it does not.
    """
    training = network.training
    try:
        with torch.no_grad():
            given = network.eval()(torch.zeros(2, 1, size, size))
    except Exception as wrong:  # user code may raise anything
        said = " ".join(str(wrong).split()).rstrip(".")
        raise InputError(
            f"The network '{config.name}' cannot take images of {size} pixels: {said}."
        ) from wrong
    network.train(training)
    shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
    if shape != (2, classes):
        raise InputError(
            f"The network '{config.name}' must return a tensor of shape (images, {classes} "
            f"classes), but for 2 images it returned {shape}."
        )


def is_residual(config: NetworkConfig) -> bool:
    """Check that the network takes a cross-feature term x_i and has stages that can be frozen."""
    return entry_of(config.name).residual


def parameters(config: NetworkConfig, classes: int, *, probe: bool = False) -> int:
    """Count the trainable parameters; a probe's are those of the last layer."""
    with torch.device("meta"):
        network = build(config, classes)
        trained = last_layer(network, config) if probe else network
        return sum(p.numel() for p in trained.parameters())


def gains_from_bf16(config: NetworkConfig) -> bool:
    """Return True where training is faster in bf16 on a processor with amx_bf16.

    Depthwise convolutions have no bf16 kernel there, and slow most networks that have them.
    """
    gains = entry_of(config.name).bf16
    if gains is None:
        with torch.random.fork_rng():
            layers = build(config, classes=2).modules()
        gains = not any(isinstance(m, nn.Conv2d) and 1 < m.groups == m.in_channels for m in layers)
    return gains


def entry_of(name: str) -> Entry:
    """Return a network's entry: from the registry, or for `timm:NAME` one made for it.

    Raises
    ------
    InputError
        When the name is not registered, or timm has no such network.
    """
    if name.startswith(PREFIX):
        return timm_entry(name)
    if name not in NETWORKS:
        raise InputError(
            f"network.name '{name}' is unknown: choose one of {', '.join(NETWORKS)}, or timm:NAME."
        )
    return NETWORKS[name]
