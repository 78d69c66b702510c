"""A gate that knows simulated thyroid scintigrams: a network that ships with thyroid, and the
features of its training images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from thyroid.configuration import from_json
from thyroid.model.gate import Gate, gate_of
from thyroid.model.starting_point import about, features_beside, shipped
from thyroid.network_input import network_input, sum_pixels
from thyroid.networks.activations import activations
from thyroid.networks.build import build
from thyroid.recipe import InputConfig, NetworkConfig, Recipe
from thyroid.run_files.features_file import read_features

FIELD_MM = 256.0
"""Side of the simulated fields."""
AT_ONCE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class ScintigramGate:
    """On average it rejects one in a hundred simulated scintigrams, or fewer, and nearly all other
    pictures (starting_points/README.md).
    """

    network: nn.Module
    gate: Gate
    input: InputConfig

    def measure(self, counts: Tensor) -> npt.NDArray[np.float64]:
        """Return (N,) how unlike simulated scintigrams images (N, H, H) are: unlike if above 1."""
        seen = []
        with torch.inference_mode():
            for some in torch.split(counts, AT_ONCE):
                x = network_input(sum_pixels(some, self.input.size), self.input.normalisation)
                seen.append(activations(self.network, x))
        return np.maximum(*self.gate.measure([torch.cat(seen).double().numpy()]))


def scintigram_gate(
    kind: Literal["counts", "display"], size: int, pixel_mm: float | None
) -> ScintigramGate | None:
    """Return the gate for images of (size, size) pixels; None if their field of view differs from
    that of the simulated scintigrams, or their size is no multiple of the network's input.
    """
    file = shipped(Recipe(), kind)
    card = about(file)
    given = from_json(InputConfig, card["input"])
    side_mm = None if pixel_mm is None else pixel_mm * size
    if size % given.size or (side_mm is not None and abs(side_mm / FIELD_MM - 1) > 0.1):
        return None
    network = build(from_json(NetworkConfig, card["network"]), len(card["classes"])).eval()
    network.load_state_dict(load_file(file))
    gate = gate_of([read_features(features_beside(file))], [0])
    return ScintigramGate(network=network, gate=gate, input=given)
