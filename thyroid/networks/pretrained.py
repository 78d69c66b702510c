"""Pretrained weights from a user's file, which are read without executing code in it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from thyroid.errors import InputError
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


def load_pretrained(network: nn.Module, path: Path, config: NetworkConfig) -> None:
    """Load weights of the same network, from torchvision or the user's own training.

    The first convolution's three channels are summed, so that a grey image gives what three equal
    channels would give. A head for other classes stays as initialised, and so does x_i.

    Raises
    ------
    InputError
        When the file does not hold weights of this network.
    """
    own = network.state_dict()
    head = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    try:
        given = {OLD_DENSENET.sub(r"\1\2", n): t for n, t in read_weights(path).items()}
        for name, tensor in own.items():
            if tensor.ndim == 4 and tensor.shape[1] == 1 and name in given:
                if given[name].shape[1] == 3:
                    given[name] = given[name].sum(1, keepdim=True)
                break  # the first convolution
        if given[f"{head}.weight"].shape != own[f"{head}.weight"].shape:
            given |= {name: own[name] for name in (f"{head}.weight", f"{head}.bias")}
        given |= {name: tensor for name, tensor in own.items() if ".cross." in name}
        # Auxiliary heads are not built here
        network.load_state_dict({n: t for n, t in given.items() if not n.startswith("aux")})
    except (ValueError, RuntimeError, LookupError):  # no weights, or of another network
        raise InputError(
            f"--weights {path} does not hold the weights of {config.name}: give a state dictionary "
            "of this network, as torchvision offers them of the published ones."
        ) from None
