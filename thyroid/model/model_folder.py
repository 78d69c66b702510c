"""Reads a model folder: a network with its input transform and calibrated probabilities."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from thyroid.configuration import from_json
from thyroid.errors import InputError
from thyroid.evaluate.conformal import conformal_set
from thyroid.evaluate.temperature import LEAST
from thyroid.files import sha256_of
from thyroid.networks.build import build
from thyroid.recipe import InputConfig, NetworkConfig
from thyroid.views import NUMBER, Viewed

FORMAT_VERSION = 2
WEIGHTS, CARD, README, ONNX = "model.safetensors", "model.json", "README.md", "model.onnx"
MOST_SIDE = 1024
"""Largest side of a data set's images in pixels."""
BATCH = 64
"""Number of images, or views of images, that are predicted at a time."""


class Calibrated(nn.Module):
    """Maps counts to calibrated probabilities: softmax(log p / T) (Guo et al. 2017, eq. 9), with p
    the mean over views.
    """

    def __init__(self, viewed: Viewed, temperature: float) -> None:
        super().__init__()
        self.viewed = viewed
        self.temperature = temperature

    def forward(self, counts: Tensor) -> Tensor:
        """(N, H, H) counts, H a multiple of the input size -> (N, C), rows summing to 1."""
        p: Tensor = self.viewed(counts)
        return (p.clamp_min(LEAST).log() / self.temperature).softmax(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A network that predicts, and everything that it needs."""

    name: str
    classes: tuple[str, ...]
    kind: Literal["counts", "display"]
    size: int
    """Rows and columns of the model's grid."""
    pixel_mm: float | None
    """Pixel size of the grid; None for pictures."""
    input: InputConfig
    threshold: float
    """Classes with a probability of at least 1 - threshold are credible."""
    level: float
    """Expected share of images whose class is credible, for images like the calibration images."""
    total_counts: tuple[int, int] | None
    """Least and most counts of a training image; None if unknown."""
    network: Calibrated
    card: dict[str, Any]
    """Content of model.json."""

    @property
    def learned(self) -> bool:
        """False if its results were no better than chance."""
        return bool(self.card.get("metrics", {}).get("learned", True))

    def probabilities(self, counts: Tensor) -> Tensor:
        """Predict calibrated probabilities (N, C) float32 from counts (N, H, H)."""
        with torch.inference_mode():
            batch = BATCH // NUMBER[self.network.viewed.views]
            return torch.cat([self.network(some) for some in torch.split(counts, batch)])

    def credible(self, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return the conformal set of each image, (N, C)."""
        return conformal_set(probabilities, self.threshold)


def read_model(folder: Path) -> Model:
    """Read and verify what `thyroid export` wrote.

    Raises
    ------
    InputError
        When the folder holds no model, a newer format, a damaged model, or a network that has
        changed since.
    """
    card = _read_card(folder)
    try:
        calibration, classes = card["calibration"], card["classes"]
        config = from_json(InputConfig, card["input"])
        architecture = from_json(NetworkConfig, card["network"])
        if sha256_of(folder / WEIGHTS) != card["weights_sha256"]:
            raise ValueError
        weights = load_file(folder / WEIGHTS)
        with torch.device("meta"):  # the card may describe a network larger than the memory
            network = build(architecture, len(classes))
        span = card["total_counts"]
        model = Model(
            name=str(card["name"]),
            classes=tuple(map(str, classes)),
            kind=card["kind"],
            size=int(card["size"]),
            pixel_mm=None if card["pixel_mm"] is None else float(card["pixel_mm"]),
            input=config,
            threshold=float(calibration["threshold"]),
            level=float(calibration["level"]),
            total_counts=None if span is None else (int(span[0]), int(span[1])),
            network=Calibrated(
                Viewed(network, config, card.get("views", "one")),  # none before format 2
                float(calibration["temperature"]),
            ).eval(),
            card=card,
        )
        _require_sound(model)
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        RuntimeError,
        SafetensorError,
        InputError,
    ):
        raise InputError(
            f"{folder} is damaged, or was changed after it was exported: export it again."
        ) from None
    try:
        if any(weights[name].dtype != like.dtype for name, like in network.state_dict().items()):
            raise ValueError
        network.load_state_dict(weights, assign=True)
    except (KeyError, ValueError, RuntimeError):  # intact, but with other names or shapes
        raise InputError(
            f"{model.name}: its weights are not those of the network that this thyroid builds: "
            "train it again, or use the thyroid that it was trained with."
        ) from None
    return model


def _require_sound(model: Model) -> None:
    """Check the values of the card.

    Raises
    ------
    ValueError
        When a value is not one that an export writes.
    """
    numbers = (model.network.temperature, model.threshold, model.level)
    sound = (
        all(name and name.isprintable() for name in model.classes)
        and len(set(model.classes)) == len(model.classes)
        and model.kind in ("counts", "display")
        and model.network.viewed.views in NUMBER
        and 0 < model.size <= MOST_SIDE
        and model.size % model.input.size == 0
        and (model.pixel_mm is None) == (model.kind == "display")
        and (model.pixel_mm is None or 0.1 <= model.pixel_mm <= 20)
        and all(map(math.isfinite, numbers))
        and model.network.temperature > 0
    )
    if not sound:
        raise ValueError


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        version = card.get("format_version")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder} is no model, it has no {CARD}: name a folder that `thyroid export` wrote."
        ) from None
    except OSError as refusal:
        raise InputError(f"{path} cannot be read ({refusal.strerror}): check the path.") from None
    except (ValueError, AttributeError):
        raise InputError(f"{path} is damaged: export the model again.") from None
    if version is None:
        raise InputError(
            f"{folder} is a run's own network, which is not calibrated: "
            f"`thyroid export {folder.parent} MODEL` makes a model of it."
        )
    if type(version) is not int or version > FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version} and this thyroid reads up to {FORMAT_VERSION}: "
            "install a newer thyroid."
        )
    return dict(card)
