"""The distances stage: how far a network's validation images lie from its training images, and from
altered ones.

An exported model measures the same for every new image. An image that lies farther than validation
images do, alone or relative to its distance from altered images, is unlike all that the network
knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from thyroid.evaluate.novelty import feature_distances, feature_reference, relative_distances
from thyroid.network_input import network_input
from thyroid.networks.activations import activations
from thyroid.networks.last_layer import features
from thyroid.run_files.features_file import NetworkFeatures, write_features
from thyroid.stage_config import DistancesConfig
from thyroid.stages import split
from thyroid.stages.altered_images import altered_images
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import Compute, start
from thyroid.stages.images import Held, Images, chunks, images, some_of

IN_MEMORY = 2**24
"""Most pixels of training images that are altered, unless each way makes more: 64 MB."""


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
    threadpool_limits(config.execution.threads)  # numpy's libraries; `start` set torch's
    dataset, parts = split.open_split(inputs)
    network, _, input_config = load_model(inputs["model"], on)

    def seen(counts: Images) -> npt.NDArray[np.float64]:
        return features_of(network, counts, input_config.normalisation, on, activations)

    rows = some_of(parts.train, config.most, "distances")
    training = images(dataset, rows, input_config, on)
    reference = feature_reference(seen(training), dataset.labels[rows])
    each = min(config.altered, len(rows))
    few = min(len(rows), max(each, IN_MEMORY // input_config.size**2))
    chosen = torch.linspace(0, len(rows) - 1, few).round().long()
    counts = training[chosen].cpu().numpy()  # (n, S, S)
    ways = [
        seen(Held(counts=torch.from_numpy(pictures).to(on.device)))
        for pictures in altered_images(counts, each, np.random.default_rng(0))
    ]
    altered = feature_reference(np.concatenate(ways), np.repeat(np.arange(len(ways)), each))
    held_out = seen(images(dataset, parts.validation, input_config, on))
    found = NetworkFeatures(
        reference=reference,
        altered=altered,
        held_out=feature_distances(reference, held_out),
        held_out_relative=relative_distances(reference, altered, held_out),
    )
    write_features(folder, found)
    yield {"training": len(rows), "altered": len(ways) * each, "validation": len(held_out)}


def features_of(
    network: nn.Module,
    counts: Images,
    normalisation: str,
    on: Compute,
    look: Callable[[nn.Module, Tensor], Tensor] = features,
) -> npt.NDArray[np.float64]:
    """Features (N, D) of counts (N, S, S), computed in float32, whatever the training used.

    An exported model computes in float32, too; bf16 has only three digits.

    Parameters
    ----------
    look : a network and its input (N, 1, S, S) -> features (N, D)
    """
    network.eval()
    found = []
    with torch.inference_mode():
        for some in chunks(len(counts), 256):
            x = on.arranged(network_input(counts[some], normalisation))  # (n, 1, S, S)
            found.append(look(network, x).double().cpu())
    return torch.cat(found).numpy()
