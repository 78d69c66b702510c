"""The distances stage: how far a network's validation images lie from its training images.

An exported model asks this of every new image: one that lies farther than validation images do is
unlike all that the network knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from thyroid.evaluate.novelty import feature_distances, feature_reference
from thyroid.network_input import network_input
from thyroid.networks.last_layer import features
from thyroid.run_files.features_file import NetworkFeatures, write_features
from thyroid.stage_config import DistancesConfig
from thyroid.stages import split
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import Compute, start
from thyroid.stages.images import Images, chunks, images, some_of


def fit(
    config: DistancesConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Write features.safetensors, as `thyroid.run_files.features_file` reads it.

    Raises
    ------
    LeakError
        When the network was trained on other images than the split's training part.
    """
    on = start(config.execution)
    threadpool_limits(config.execution.threads)  # numpy's, as torch's
    dataset, parts = split.open_split(inputs)
    network, _, input_config = load_model(inputs["model"], on)

    def seen(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        counts = images(dataset, rows, input_config, on)
        return features_of(network, counts, input_config.normalisation, on)

    training = some_of(parts.train, config.most, "distances")
    reference = feature_reference(seen(training), dataset.labels[training])
    held_out = feature_distances(reference, seen(parts.validation))
    write_features(folder, NetworkFeatures(reference=reference, held_out=held_out))
    yield {"training": len(training), "validation": len(held_out)}


def features_of(
    network: nn.Module, counts: Images, normalisation: str, on: Compute
) -> npt.NDArray[np.float64]:
    """Features (N, D) of counts (N, S, S), in float32 whatever the network was trained in: an
    exported model computes in it, and bf16 has three digits.
    """
    network.eval()
    found = []
    with torch.inference_mode():
        for some in chunks(len(counts), 256):
            x = on.arranged(network_input(counts[some], normalisation))  # (n, 1, S, S)
            found.append(features(network, x).double().cpu())
    return torch.cat(found).numpy()
