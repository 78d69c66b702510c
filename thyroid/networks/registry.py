"""One table of all classifiers: name, title, constructor, what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from thyroid.errors import InputError
from thyroid.networks import baselines, resnet
from thyroid.networks.lenet import lenet5
from thyroid.recipe import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One classifier: (N, 1, H, W) float32 -> logits (N, classes)."""

    title: str
    constructor: Callable[..., nn.Module]
    """(classes), and `width` and `cross_feature` where these are taken."""
    head: str
    """Its last linear layer."""
    smallest: int = 16
    """Least side of a picture, in pixels."""
    has_width: bool = False
    residual: bool = False
    """Whether it takes a cross-feature term x_i."""


def _residual(title: str, constructor: Callable[..., nn.Module]) -> Entry:
    return Entry(title=title, constructor=constructor, head="fc", has_width=True, residual=True)


NETWORKS: Mapping[str, Entry] = {
    "lenet5": Entry(title="LeNet-5", constructor=lenet5, head="fc", has_width=True),
    "alexnet_small": Entry(
        title="AlexNet, small", constructor=baselines.alexnet_small, head="20", smallest=32
    ),
    "vgg_small": Entry(title="VGG, small", constructor=baselines.vgg_small, head="32", smallest=32),
    "googlenet_small": Entry(
        title="GoogLeNet, small", constructor=baselines.googlenet_small, head="11"
    ),
    "densenet_small": Entry(
        title="DenseNet, small", constructor=baselines.densenet_small, head="classifier"
    ),
    "efficientnet_small": Entry(
        title="EfficientNet, small", constructor=baselines.efficientnet_small, head="classifier.1"
    ),
    "convnext_small": Entry(
        title="ConvNeXt, small", constructor=baselines.convnext_small, head="classifier.2"
    ),
    "resnet_small": _residual("ResNet-10, small", resnet.resnet_small),
    "alexnet": Entry(
        title="AlexNet", constructor=baselines.alexnet, head="classifier.6", smallest=64
    ),
    "vgg16": Entry(title="VGG-16", constructor=baselines.vgg16, head="classifier.6", smallest=32),
    "googlenet": Entry(title="GoogLeNet", constructor=baselines.googlenet, head="fc"),
    "densenet121": Entry(
        title="DenseNet-121", constructor=baselines.densenet121, head="classifier", smallest=32
    ),
    "efficientnet_b0": Entry(
        title="EfficientNet-B0", constructor=baselines.efficientnet_b0, head="classifier.1"
    ),
    "convnext_tiny": Entry(
        title="ConvNeXt-Tiny", constructor=baselines.convnext_tiny, head="classifier.2", smallest=32
    ),
    "resnet18": _residual("ResNet-18", resnet.resnet18),
    "resnet34": _residual("ResNet-34", resnet.resnet34),
    "resnet50": _residual("ResNet-50", resnet.resnet50),
}

BASELINES: tuple[str, ...] = ("lenet5", *(name for name in NETWORKS if name.endswith("_small")))
"""Those that two processors train in minutes."""
PUBLISHED: tuple[str, ...] = tuple(name for name in NETWORKS if not name.endswith("_small"))
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
