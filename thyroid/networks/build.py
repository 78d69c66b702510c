"""Builds the classifier that a recipe names. Importing this module fills the registry."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import torch
from torch import Tensor, nn

from thyroid import networks
from thyroid.errors import InputError
from thyroid.networks.registry import NETWORKS, Entry
from thyroid.recipe import NetworkConfig

for _module in pkgutil.iter_modules(networks.__path__):
    if _module.name != "build":
        importlib.import_module(f"{networks.__name__}.{_module.name}")

BASELINES: tuple[str, ...] = tuple(name for name, entry in NETWORKS.items() if entry.small)
"""Those that two processors train in minutes."""
PUBLISHED: tuple[str, ...] = tuple(name for name, entry in NETWORKS.items() if entry.published)
"""Those of the publications."""


def build(config: NetworkConfig, classes: int) -> nn.Module:
    """The network that `config` names, initialised from torch's global generator.

    Raises
    ------
    InputError
        When the name is not registered, or the network does not take what the configuration says.
    """
    entry = _entry(config)
    options: dict[str, Any] = {}
    if entry.has_width:
        options["width"] = config.width
    elif config.width is not None:
        raise InputError(f"network.width is not for {config.name}: leave it away.")
    if entry.residual:
        options["cross_feature"] = config.cross_feature
    elif config.cross_feature != "none":
        raise InputError(
            f"network.cross_feature {config.cross_feature} is for residual networks, and "
            f"{config.name} is none: choose none, or one of "
            f"{', '.join(name for name, e in NETWORKS.items() if e.residual)}."
        )
    return entry.constructor(classes, **options)


def require_size(config: NetworkConfig, size: int) -> None:
    """Raises
    ------
    InputError
        When pictures of this side, in pixels, are too small for the network.
    """
    smallest = _entry(config).smallest
    if size < smallest:
        raise InputError(
            f"input.size {size} is too small for {config.name}: it takes {smallest} pixels or more."
        )


def require_fit(network: nn.Module, config: NetworkConfig, size: int, classes: int) -> None:
    """Whether a network, perhaps of the user's own, gives each picture a number per class.

    Raises
    ------
    InputError
        When it does not.
    """
    training = network.training
    try:
        with torch.no_grad():
            given = network.eval()(torch.zeros(2, 1, size, size))
    except Exception as wrong:  # of code that is not ours
        said = " ".join(str(wrong).split()).rstrip(".")
        raise InputError(
            f"The network '{config.name}' cannot take images of {size} pixels: {said}."
        ) from wrong
    network.train(training)
    shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
    if shape != (2, classes):
        raise InputError(
            f"The network '{config.name}' must give a tensor of (images, {classes} classes), and "
            f"of 2 images it gave {shape}."
        )


def is_residual(config: NetworkConfig) -> bool:
    """Whether it takes a cross-feature term x_i, and has stages that may be frozen."""
    return _entry(config).residual


def parameters(config: NetworkConfig, classes: int) -> int:
    """How many numbers training changes."""
    with torch.device("meta"):
        return sum(p.numel() for p in build(config, classes).parameters())


def _entry(config: NetworkConfig) -> Entry:
    if config.name not in NETWORKS:
        raise InputError(
            f"network.name '{config.name}' is unknown: choose one of {', '.join(NETWORKS)}."
        )
    return NETWORKS[config.name]
