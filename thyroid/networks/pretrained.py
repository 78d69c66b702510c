"""Pretrained weights from a user's file, which are read without executing code in it."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from thyroid.errors import InputError
from thyroid.networks.last_layer import name_of_last
from thyroid.networks.standardise import BUFFERS
from thyroid.networks.timm_network import TimmNetwork
from thyroid.recipe import NetworkConfig

OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""Names in torchvision's DenseNet files: norm.1 for the module norm1."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dictionary from .pth or .safetensors.

    Raises
    ------
    ValueError
        When the file is neither of them.
    """
    try:
        state: dict[str, Tensor] = load_file(path)
        return state
    except SafetensorError:
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about pickles that hold no weights
            state = torch.load(path, weights_only=True, map_location="cpu")
        if all(isinstance(tensor, Tensor) for tensor in state.values()):
            return {str(name): tensor for name, tensor in state.items()}
    except Exception:  # damaged bytes raise many errors, and code is refused
        pass
    raise ValueError(f"{path} holds no state dictionary")


def class_names(path: Path) -> list[str] | None:
    """Read the classes of the last layer from a safetensors file's metadata; None if unknown."""
    try:
        with safe_open(path, framework="pt") as file:
            names = json.loads((file.metadata() or {})["classes"])
    except (SafetensorError, KeyError, ValueError):
        return None
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else None


PHOTOGRAPHS = (0.449, 0.226)
"""Mean and standard deviation of ImageNet's grey values, from black 0 to white 1, with which
torchvision's networks were trained."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Parameters that a weights file supplied, and the input that these weights expect."""

    parameters: frozenset[str]
    """Names of the network's parameters that have the file's values; the others are new."""
    mean: float
    """Mean with which the input is to be standardised."""
    std: float
    """Standard deviation, likewise."""
    colour: bool
    """True for weights trained on photographs: `mean` and `std` are of grey values from black 0 to
    white 1. False: they are of the network's input."""


def load_pretrained(
    network: nn.Module, path: Path, config: NetworkConfig, classes: Sequence[str] = ()
) -> Loaded:
    """Load weights of the same network: torchvision's, timm's, or of a training with this software.

    The first convolution's three channels are summed, so that a grey image gives the same as three
    equal channels. If the file names the classes of its last layer, classes that are also among
    `classes` keep their rows of that layer, and others start anew. If it names none, or no classes
    are given, the last layer is kept if it has the same number of classes. x_i stays as
    initialised, and so do the network's own mean and standard deviation of the input.

    Raises
    ------
    InputError
        When the file does not hold weights of this network.
    """
    own = network.state_dict()
    last = name_of_last(network)
    colour = False
    photographs = network.photographs if isinstance(network, TimmNetwork) else PHOTOGRAPHS
    try:
        given = {OLD_DENSENET.sub(r"\1\2", n): t for n, t in read_weights(path).items()}
        if isinstance(network, TimmNetwork):
            given, colour = network.state_of(given, own)
        for name, tensor in own.items():
            if tensor.ndim == 4 and tensor.shape[1] == 1 and name in given:
                if given[name].shape[1] == 3:
                    given[name] = given[name].sum(1, keepdim=True)
                    colour = True
                break  # the first convolution
        scale = [float(given.pop(name, default)) for name, default in BUFFERS.items()]
        names = class_names(path) if classes else None
        alike = given[f"{last}.weight"].shape == own[f"{last}.weight"].shape
        for name in (name for name in own if name.startswith(f"{last}.")):
            if names is not None:
                given[name] = _of_classes(given[name], names, own[name], classes)
            elif not alike:
                given[name] = own[name]
        kept = {n: t for n, t in own.items() if ".cross." in n or n in BUFFERS}
        # Auxiliary heads are not built here, and x_i starts anew
        new = {n: t for n, t in given.items() if not n.startswith("aux") and ".cross." not in n}
        new |= kept
        network.load_state_dict(new)
    except (ValueError, RuntimeError, LookupError, TypeError, AttributeError):
        # no weights, or of another network
        raise InputError(
            f"--weights {path} does not hold the weights of {config.name}: give a state "
            "dictionary of this network, such as those that torchvision and timm offer."
        ) from None
    loaded = {name for name, _ in network.named_parameters() if new[name] is not own[name]}
    mean, std = (round(number, 6) for number in (photographs if colour else scale))
    return Loaded(parameters=frozenset(loaded), mean=mean, std=std, colour=colour)


def _of_classes(given: Tensor, names: Sequence[str], own: Tensor, classes: Sequence[str]) -> Tensor:
    """The rows of `own` (len(classes), ...), replaced by those of `given` of the same class."""
    if not set(names) & set(classes):
        return own
    made = own.clone()
    for row, name in enumerate(classes):
        if name in names:
            made[row] = given[names.index(name)]
    return made


def came_with_weights(network: nn.Module) -> list[nn.Parameter]:
    """Parameters that fine-tuning treats as pretrained: all but the last layer's and x_i's; in the
    order of the network's modules, in general from the input to the output.

    The last layer is new if the classes are; even with the same classes it still has to learn.
    """
    last = name_of_last(network)
    return [
        parameter
        for name, parameter in network.named_parameters()
        if not name.startswith(f"{last}.") and ".cross." not in name
    ]
