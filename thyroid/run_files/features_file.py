"""RUN/model/foldF-seedS/features.safetensors: how a network's training images look to it.

The file has no features of single images. It has means and directions of the training images'
features, a regression that distinguishes training images from altered ones, and both measures for
the validation images, on which the network was not trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from thyroid.errors import InputError
from thyroid.evaluate.novelty import AlteredOdds, FeatureReference
from thyroid.files import cannot_write

FILE = "features.safetensors"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkFeatures:
    """Content of features.safetensors."""

    reference: FeatureReference
    """Means and directions of the features of the network's training images."""
    odds: AlteredOdds
    """The regression that distinguishes training images from altered ones."""
    held_out: Floats
    """(N,) distances of the validation images, in the order of the data set."""
    held_out_log_odds: Floats
    """(N,) log odds that the validation images are altered."""


def write_features(folder: Path, features: NetworkFeatures) -> None:
    """Write features.safetensors, in single precision.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    reference = features.reference
    tensors = {
        "means": reference.means,
        "directions": reference.directions,
        "deviations": reference.deviations,
        "floor": np.array([reference.floor]),
        "weights": features.odds.weights,
        "bias": np.array([features.odds.bias]),
        "held_out": features.held_out,
        "held_out_log_odds": features.held_out_log_odds,
    }
    single = {name: np.ascontiguousarray(t, dtype=np.float32) for name, t in tensors.items()}
    with cannot_write(folder):
        (folder / FILE).write_bytes(save(single))


def read_features(path: Path) -> NetworkFeatures:
    """Read the file that `write_features` wrote.

    Raises
    ------
    InputError
        When the file is missing or damaged.
    """
    try:
        stored = load_file(path)
        if any(t.dtype != np.float32 or not np.isfinite(t).all() for t in stored.values()):
            raise ValueError
        t = {name: values.astype(np.float64) for name, values in stored.items()}
        (floor,), (bias,) = t["floor"].tolist(), t["bias"].tolist()
        (_, dimensions), (number, sides) = t["means"].shape, t["directions"].shape
        sound = (
            dimensions == sides
            and t["deviations"].shape == (number,)
            and t["weights"].shape == (dimensions,)
            and t["held_out"].ndim == 1
            and t["held_out_log_odds"].shape == t["held_out"].shape
            and floor > 0
            and (t["deviations"] > 0).all()
        )
        if not sound:
            raise ValueError
    except (OSError, ValueError, KeyError, SafetensorError):
        raise InputError(f"{path} is damaged: run the command that made it again.") from None
    return NetworkFeatures(
        reference=FeatureReference(
            means=t["means"], directions=t["directions"], deviations=t["deviations"], floor=floor
        ),
        odds=AlteredOdds(weights=t["weights"], bias=bias),
        held_out=t["held_out"],
        held_out_log_odds=t["held_out_log_odds"],
    )
