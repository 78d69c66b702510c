"""RUN/model/foldF-seedS/features.safetensors: how a network's training images look to it.

The file has no features of single images. It has means and directions of the features of training
images and of altered ones, and both measures for the validation images, on which the network was
not trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from thyroid.errors import InputError
from thyroid.evaluate.novelty import FeatureReference
from thyroid.files import cannot_write

FILE = "features.safetensors"
ALTERED = "altered_"
"""Beginning of the names of what is known of altered images."""

Floats = npt.NDArray[np.float64]


class EarlierVersion(Exception):
    """The file was written before altered images had means and directions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkFeatures:
    """Content of features.safetensors."""

    reference: FeatureReference
    """Means and directions of the features of the network's training images."""
    altered: FeatureReference
    """Means and directions of the features of altered training images, by the way of altering."""
    held_out: Floats
    """(N,) distances of the validation images, in the order of the data set."""
    held_out_relative: Floats
    """(N,) distances of these images relative to those from altered images."""


def write_features(folder: Path, features: NetworkFeatures) -> None:
    """Write features.safetensors, in single precision.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    tensors = {
        **_tensors(features.reference, ""),
        **_tensors(features.altered, ALTERED),
        "held_out": features.held_out,
        "held_out_relative": features.held_out_relative,
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
        if "held_out_log_odds" in stored:
            raise EarlierVersion
        if any(t.dtype != np.float32 or not np.isfinite(t).all() for t in stored.values()):
            raise ValueError
        t = {name: values.astype(np.float64) for name, values in stored.items()}
        found = NetworkFeatures(
            reference=_reference(t, ""),
            altered=_reference(t, ALTERED),
            held_out=t["held_out"],
            held_out_relative=t["held_out_relative"],
        )
        sound = (
            found.reference.means.shape[1] == found.altered.means.shape[1]
            and found.held_out.ndim == 1
            and found.held_out.shape == found.held_out_relative.shape
        )
        if not sound:
            raise ValueError
    except EarlierVersion:
        raise InputError(
            f"{path} is of an earlier version of thyroid: run the command of this run again. It "
            "keeps the trained networks that are in its store. A run of pictures with --weights "
            "phantom needs --weights FILE, as CHANGELOG.md says."
        ) from None
    except (OSError, ValueError, KeyError, SafetensorError):
        raise InputError(f"{path} is damaged: run the command that made it again.") from None
    return found


def _tensors(reference: FeatureReference, prefix: str) -> dict[str, Floats]:
    return {
        f"{prefix}means": reference.means,
        f"{prefix}directions": reference.directions,
        f"{prefix}deviations": reference.deviations,
        f"{prefix}floor": np.array([reference.floor]),
    }


def _reference(t: Mapping[str, Floats], prefix: str) -> FeatureReference:
    """Read what `_tensors` made.

    Raises
    ------
    ValueError
        When the numbers or their shapes are not those of a reference.
    """
    means, directions, deviations, floor = (
        t[f"{prefix}{name}"] for name in ("means", "directions", "deviations", "floor")
    )
    (classes, dimensions), (number, sides) = means.shape, directions.shape
    if not classes or dimensions != sides or deviations.shape != (number,) or floor.shape != (1,):
        raise ValueError
    if not (floor[0] > 0 and (deviations > 0).all()):
        raise ValueError
    return FeatureReference(
        means=means, directions=directions, deviations=deviations, floor=float(floor[0])
    )
