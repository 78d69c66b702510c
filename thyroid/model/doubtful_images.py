"""Images of a data set that a network trained on simulated scintigrams finds unlike scintigrams."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file

from thyroid.configuration import from_json
from thyroid.data.dataset import Dataset
from thyroid.model.gate import gate_of
from thyroid.model.starting_point import about, features_beside, shipped
from thyroid.network_input import network_input, sum_pixels
from thyroid.networks.activations import activations
from thyroid.networks.build import build
from thyroid.recipe import NetworkConfig, Recipe
from thyroid.run_files.features_file import read_features

FIELD_MM = 256.0
"""Side of the simulated fields."""
AT_ONCE = 256
MOST = 2000
"""Images that are looked at, evenly spread over larger data sets; a thousand take some seconds."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """Result of the check."""

    images: int
    """Number of images that were looked at."""
    doubtful: tuple[str, ...]
    """image_id of those that are unlike simulated scintigrams."""


def doubtful_images(dataset: Dataset) -> Looked | None:
    """Find images that are unlike simulated scintigrams, by the measures of `thyroid.model.gate`.

    They include about one in a hundred simulated scintigrams, and nearly all pictures of other
    things. The result is None if the field of view differs from that of the simulated scintigrams.
    """
    info, file = dataset.info, shipped(Recipe(), dataset.info.kind)
    card = about(file)
    size = card["input"]["size"]
    side_mm = None if info.pixel_mm is None else info.pixel_mm * info.size
    if info.size % size or (side_mm is not None and abs(side_mm / FIELD_MM - 1) > 0.1):
        return None
    network = build(from_json(NetworkConfig, card["network"]), len(card["classes"])).eval()
    network.load_state_dict(load_file(file))
    gate = gate_of([read_features(features_beside(file))], [0])
    number = len(dataset.images)
    rows = np.unique(np.linspace(0, number - 1, min(number, MOST)).round().astype(np.int64))
    doubtful: list[str] = []
    for some in np.array_split(rows, math.ceil(len(rows) / AT_ONCE)):
        counts = torch.from_numpy(dataset.counts[some].astype(np.float32))
        x = network_input(sum_pixels(counts, size), card["input"]["normalisation"])
        with torch.inference_mode():
            seen = activations(network, x).double().numpy()
        unlike = np.maximum(*gate.measure([seen])) > 1
        doubtful += dataset.images["image_id"].iloc[some[unlike]].tolist()
    return Looked(images=len(rows), doubtful=tuple(doubtful))
