"""Stores a network: weights, the optimiser's state, and a card that describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from thyroid.configuration import deciding, from_json, to_json
from thyroid.data.dataset import Dataset
from thyroid.errors import StorageError
from thyroid.files import cannot_write
from thyroid.networks.build import build
from thyroid.recipe import InputConfig, NetworkConfig
from thyroid.stage_config import ProbeConfig, SegmentConfig
from thyroid.stages.compute import Compute

WEIGHTS, OPTIMISER, MODEL = "model.safetensors", "optimiser.safetensors", "model.json"
TRAINING = "training.safetensors"
"""Weights from which training continues, if those of the model are an average."""


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, classes: Sequence[str] | None = None
) -> None:
    """Write a safetensors file.

    Parameters
    ----------
    classes : names of the rows of the network's last layer, stored in the file

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    with cannot_write(path.parent):
        path.write_bytes(save(plain, None if classes is None else {"classes": json.dumps(classes)}))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `save_tensors` wrote.

    Raises
    ------
    StorageError
        When the file is no safetensors file, even if its checksum is right.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    except SafetensorError:
        raise StorageError(
            f"{path} is no safetensors file: remove {path.parent} and run the same command again."
        ) from None


def optimiser_tensors(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by `parameter/entry`, such as `fc.weight/exp_avg`."""
    return {
        f"{name}/{entry}": tensor
        for name, parameter in network.named_parameters()
        for entry, tensor in optimiser.state.get(parameter, {}).items()
    }


def load_optimiser(network: nn.Module, optimiser: torch.optim.Optimizer, path: Path) -> None:
    """Load the state that `optimiser_tensors` gave; parameters without an entry start anew."""
    parameters = dict(network.named_parameters())
    for key, tensor in load_tensors(path).items():
        name, entry = key.rsplit("/", 1)
        parameter = parameters[name]
        # Moments have the layout of their parameter; the step count, too, is on its device
        like = parameter if tensor.shape == parameter.shape else tensor
        kept = torch.empty_like(like, dtype=tensor.dtype, device=parameter.device)
        optimiser.state[parameter][entry] = kept.copy_(tensor)


def load_weights(network: nn.Module, path: Path) -> None:
    """Load the weights in a file; x_i, which a plain network does not have, starts anew."""
    state = load_tensors(path)
    missing, unexpected = network.load_state_dict(state, strict=False)
    wrong = [name for name in missing if ".cross." not in name] + unexpected
    if wrong:
        raise RuntimeError(f"{path} is of another network: {wrong[0]}")


def save_networks(
    networks: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    folder: Path,
) -> None:
    """Write NAME.safetensors and NAME-optimiser.safetensors of each."""
    for name, network in networks.items():
        save_tensors(network.state_dict(), folder / f"{name}.safetensors")
        state = optimiser_tensors(network, optimisers[name])
        save_tensors(state, folder / f"{name}-optimiser.safetensors")


def load_networks(
    networks: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    folder: Path,
) -> None:
    """Load what `save_networks` wrote; a network without a file stays as it is."""
    for name, network in networks.items():
        weights = folder / f"{name}.safetensors"
        if weights.exists():
            network.load_state_dict(load_tensors(weights))
            load_optimiser(network, optimisers[name], folder / f"{name}-optimiser.safetensors")


def save_card(dataset: Dataset, config: SegmentConfig | ProbeConfig, folder: Path) -> None:
    """Write model.json: the network's data, input and configuration."""
    info = dataset.info
    card = {
        "classes": info.classes,
        "kind": info.kind,
        "pixel_mm": info.pixel_mm,
        "size": info.size,
        "dataset": dataset.digest,
        "input": to_json(config.input),
        "network": deciding(config.network),
    }
    (folder / MODEL).write_text(json.dumps(card, indent=2))


def load_model(folder: Path, on: Compute) -> tuple[nn.Module, dict[str, Any], InputConfig]:
    """Load the trained network in `folder`, its card (model.json) and its input configuration."""
    card = json.loads((folder / MODEL).read_text())
    network = on.place(build(from_json(NetworkConfig, card["network"]), len(card["classes"])))
    load_weights(network, folder / WEIGHTS)
    return network, card, from_json(InputConfig, card["input"])
