"""Reads a model folder: networks with their input transform, calibrated probabilities, a gate."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from thyroid.configuration import from_json
from thyroid.errors import InputError, PackageMissing
from thyroid.evaluate.conformal import conformal_set
from thyroid.files import sha256_of
from thyroid.model.ensemble import Ensemble
from thyroid.model.gate import Gate, Unlikeness
from thyroid.model.merging import Merging
from thyroid.model.scintigram_gate import ScintigramGate, scintigram_gate
from thyroid.networks.activations import activations
from thyroid.networks.build import build
from thyroid.recipe import InputConfig, NetworkConfig
from thyroid.run_files.features_file import read_features
from thyroid.run_files.network import Network
from thyroid.views import NUMBER, Viewed

FORMAT_VERSION = 3
CARD, README, ONNX, MEMBERS = "model.json", "README.md", "model.onnx", "members"
HASHES = "training_images.txt"
"""The hash of the pixels (`thyroid.data.scintigram.image_id`) of each image that the model was
trained or calibrated on, one per line."""
MOST_HASHES = 500_000
WEIGHTS_OF_FORMAT_1 = "model.safetensors"
MOST_SIDE = 1024
"""Largest side of a data set's images in pixels."""

Floats = npt.NDArray[np.float64]


def member_files(network: Network) -> tuple[str, str]:
    """Return the files of a network's weights and features in a model folder."""
    name = f"{MEMBERS}/{network.name}"
    return f"{name}.safetensors", f"{name}-features.safetensors"


def stored_files(card: dict[str, Any], what: Literal["weights", "features"]) -> list[str]:
    """Return the file of each network in a model folder, by its card.

    Raises
    ------
    ValueError
        When the card names no network, a network twice, or a network without its numbers.
    """
    found = []
    for member in card["members"]:
        fold, seed = member["fold"], member["seed"]
        if type(fold) is not int or type(seed) is not int or min(fold, seed) < 0:
            raise ValueError
        name = member_files(Network(seed, fold))[what == "features"]
        found.append(WEIGHTS_OF_FORMAT_1 if card["format_version"] == 1 else name)
    if not found or len(set(found)) < len(found):
        raise ValueError
    return found


class Answers(NamedTuple):
    """A model's answers about N images."""

    probabilities: Floats
    """(N, C) calibrated probabilities, float64."""
    agreement: Floats
    """(N,) share of the networks that name the most probable class."""
    unlike: Unlikeness
    """How unlike all training images they are; NaN without a gate."""

    foreign: Floats
    """How unlike simulated scintigrams they are; NaN if the model does not ask."""

    @property
    def distances(self) -> Floats:
        """(N,) the greatest of these measures: above 1, an image gets no class."""
        greatest: Floats = np.fmax.reduce([*self.unlike, self.foreign])
        return greatest


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """An ensemble that predicts, and everything that it needs."""

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
    training_flags: frozenset[str] | None
    """Keys of thyroid.data.dataset.FLAGS that a training image has; None if unknown."""
    training_hashes: frozenset[str] | None = None
    """Hashes of the pixels of the images that it was trained or calibrated on; None if unknown."""
    network: Ensemble
    gate: Gate | None
    """None for a model that was exported before there were gates."""
    scintigrams: ScintigramGate | None = None
    """Second gate of a model with few held-out images."""
    card: dict[str, Any]
    """Content of model.json."""

    @property
    def learned(self) -> bool:
        """False if its results were no better than chance."""
        return bool(self.card.get("metrics", {}).get("learned", True))

    @property
    def networks(self) -> int:
        """Number of networks that are averaged."""
        return len(self.network.members)

    def probabilities(self, counts: Tensor) -> Tensor:
        """Predict calibrated probabilities (N, C) float32 from counts (N, H, H)."""
        with torch.inference_mode():
            parts = torch.split(counts, self.network.batch)
            return torch.cat([self.network(some) for some in parts])

    def answers(self, counts: Tensor) -> Answers:
        """Predict from counts (N, H, H)."""
        p, agreement, seen = [], [], []
        with torch.inference_mode():
            for some in torch.split(counts, self.network.batch):
                of_members = self.network.of_members(some)  # (M, n, C)
                p.append(self.network.calibrated(of_members))
                named = of_members.argmax(2) == p[-1].argmax(1)  # (M, n)
                agreement.append(named.double().mean(0))
                if self.gate is not None:
                    seen.append(self.network.features(some))
        unknown = np.full(len(counts), np.nan)
        unlike = Unlikeness(unknown, unknown)
        if self.gate is not None:
            features = [torch.cat(of_one).double().numpy() for of_one in zip(*seen, strict=True)]
            unlike = self.gate.measure(features)
        foreign = unknown if self.scintigrams is None else self.scintigrams.measure(counts)
        return Answers(torch.cat(p).double().numpy(), torch.cat(agreement).numpy(), unlike, foreign)

    def credible(self, probabilities: Floats) -> npt.NDArray[np.bool_]:
        """Return the conformal set of each image, (N, C)."""
        return conformal_set(probabilities, self.threshold)


def read_model(folder: Path, *, gate: bool = True) -> Model:
    """Read and verify what `thyroid export` wrote; without `gate`, all but its gates.

    Raises
    ------
    InputError
        When the folder holds no model, a newer format, a damaged model, a network that has changed
        since, or a gate that this version cannot read.
    """
    card = _read_card(folder)
    if gate and card["format_version"] == 2:
        raise InputError(
            f"{folder} was exported by an earlier version of thyroid, and this version cannot read "
            "its gate: run the command of its run again, which keeps the trained networks that are "
            "in its store, and export the model again (and recalibrate it again, if it was). A run "
            "of pictures with --weights phantom needs --weights FILE, as CHANGELOG.md says."
        )
    try:
        calibration, classes = card["calibration"], card["classes"]
        config = from_json(InputConfig, card["input"])
        architecture = from_json(NetworkConfig, card["network"])
        weights = [load_file(file) for file in _verified(folder, card, "weights")]
        merging = _merging(card)
        outputs = len(classes if merging is None else merging.into)
        with torch.device("meta"):  # the card may describe a network larger than the memory
            networks = [build(architecture, outputs) for _ in weights]
        members = [Viewed(network, config, card["views"]) for network in networks]
        span, flags = card["total_counts"], card.get("training_flags")
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
            training_flags=None if flags is None else frozenset(map(str, flags)),
            training_hashes=read_training_hashes(folder),
            network=Ensemble(
                members,
                float(calibration["temperature"]),
                None if merging is None else torch.from_numpy(merging.matrix).float(),
            ).eval(),
            gate=_gate(folder, card) if gate else None,
            scintigrams=second_gate(card) if gate else None,
            card=card,
        )
        _require_sound(model)
    except PackageMissing:
        raise
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RuntimeError,
        SafetensorError,
        InputError,
    ):
        raise _damaged(folder) from None
    for network, stored in zip(networks, weights, strict=True):
        _load(network, stored, model.name)
        _fill(network, architecture, outputs)
    if model.gate is not None:
        with torch.inference_mode():
            seen = activations(networks[0], torch.zeros(1, 1, config.size, config.size))
        if any(known.reference.means.shape[1] != seen.shape[1] for known in model.gate.networks):
            raise _damaged(folder)
    return model


def read_training_hashes(folder: Path) -> frozenset[str] | None:
    """Return the hash of the pixels of each image that a model was trained or calibrated on; None
    if it was exported without the data set, or by an earlier version.

    Raises
    ------
    ValueError
        When the file holds something else, or too much.
    """
    file = folder / HASHES
    if not file.is_file():
        return None
    if file.stat().st_size > MOST_HASHES * 17:
        raise ValueError
    hashes = file.read_text(encoding="ascii").splitlines()
    if not all(re.fullmatch("[0-9a-f]{16}", one) for one in hashes):
        raise ValueError
    return frozenset(hashes)


def write_training_hashes(folder: Path, hashes: Iterable[str]) -> None:
    """Write the hash of the pixels of each image that a model was trained or calibrated on."""
    (folder / HASHES).write_text("".join(f"{one}\n" for one in sorted(hashes)), encoding="ascii")


def _damaged(folder: Path) -> InputError:
    return InputError(
        f"{folder} is damaged, or was changed after it was exported: export it again."
    )


def _load(network: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    try:
        if any(weights[key].dtype != like.dtype for key, like in network.state_dict().items()):
            raise ValueError
        network.load_state_dict(weights, assign=True)
    except (KeyError, ValueError, RuntimeError):  # intact, but with other names or shapes
        raise InputError(
            f"{name}: its weights do not fit the network that this version of thyroid builds: "
            "train it again, or use the version that it was trained with."
        ) from None


def _fill(network: nn.Module, architecture: NetworkConfig, classes: int) -> None:
    """Compute the buffers that are not stored, such as positions in a transformer."""
    left = [name for name, buffer in network.named_buffers() if buffer.is_meta]
    if left:
        with torch.random.fork_rng():
            computed = build(architecture, classes)  # no larger than the stored weights
        for name in left:
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, computed.get_buffer(name))


def _verified(
    folder: Path, card: dict[str, Any], what: Literal["weights", "features"]
) -> list[Path]:
    """Return a file of each network, after checking that its content is what was exported.

    Raises
    ------
    ValueError
        When the content of a file differs from what was exported, or there is no network.
    """
    files = [folder / name for name in stored_files(card, what)]
    for path, member in zip(files, card["members"], strict=True):
        if sha256_of(path) != member[f"{what}_sha256"]:
            raise ValueError
    return files


def _merging(card: dict[str, Any]) -> Merging | None:
    """Read which classes of the networks are merged.

    Raises
    ------
    ValueError
        When the merged classes are not the model's.
    """
    if card.get("merged") is None:
        return None
    merging = Merging(into={str(name): str(merged) for name, merged in card["merged"].items()})
    if list(merging.classes) != card["classes"]:
        raise ValueError
    return merging


def _gate(folder: Path, card: dict[str, Any]) -> Gate | None:
    """Read the gate.

    Raises
    ------
    ValueError
        When a number is not one that an export writes.
    """
    if card["gate"] is None:
        return None
    gate = Gate(
        networks=tuple(read_features(file) for file in _verified(folder, card, "features")),
        scales=tuple(float(member["distance_scale"]) for member in card["members"]),
        threshold=float(card["gate"]["threshold"]),
        relative=float(card["gate"]["relative"]),
    )
    if not all(0 < x < math.inf for x in (*gate.scales, gate.threshold, gate.relative)):
        raise ValueError
    return gate


def second_gate(card: dict[str, Any]) -> ScintigramGate | None:
    """Return the second gate, if the model uses it."""
    asked = None if card["gate"] is None else card["gate"].get("scintigrams")
    if asked is None or asked["used"] is not True:
        return None
    return scintigram_gate(card["kind"], int(card["size"]), card["pixel_mm"])


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
        and model.network.viewed[0].views in NUMBER
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
            f"{folder} is not a model (it has no {CARD}): name a folder that `thyroid export` "
            "wrote."
        ) from None
    except OSError as refusal:
        raise InputError(f"{path} cannot be read ({refusal.strerror}): check the path.") from None
    except (ValueError, AttributeError):
        raise InputError(f"{path} is damaged: export the model again.") from None
    if version is None:
        raise InputError(
            f"{folder} is a single network of a run, without calibration: make a model of the run "
            f"with `thyroid export {folder.parent.parent} MODEL`."
        )
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version} but this version of thyroid reads up to "
            f"{FORMAT_VERSION}: install a newer version."
        )
    if version == 1:  # one network, without views and gate
        network = {"fold": 0, "seed": 0, "weights_sha256": card.get("weights_sha256")}
        card |= {"members": [network], "views": "one", "gate": None}
    return dict(card)
