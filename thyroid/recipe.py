"""The recipe: everything that decides a result, as data. Imports nothing heavy, so that trial
drivers and `--help` stay light.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from thyroid.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How patients are dealt to training, validation and test."""

    validation: float = 0.2
    """Share of patients used to choose between recipes, 0 to 0.9."""
    test: float = 0.2
    """Share of patients read once, by the final evaluation; 0 when the test set lies elsewhere."""
    seed: int = 0
    """Which split of the many possible ones."""
    leave_out_centre: str | None = None
    """This centre is the whole test part (`test` is then ignored)."""

    def __post_init__(self) -> None:
        _within("split", self, validation=(0.01, 0.9), test=(0, 0.9))
        if self.leave_out_centre is None and self.validation + self.test >= 1:
            raise InputError(
                f"split.validation {self.validation} and split.test {self.test} leave no patient "
                "to train on: lower one of them."
            )


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """What a network sees of a scintigram."""

    size: int = 64
    """Side in pixels; divides the data set's size. Counts of a block of pixels are summed."""
    normalisation: Literal["sqrt_mean", "log_mean", "mean", "maximum"] = "sqrt_mean"
    """How counts become intensities; `maximum` destroys the uptake cue and is there to show it."""

    def __post_init__(self) -> None:
        _within("input", self, size=(16, 4096))


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Random changes of training images, drawn anew for each image and epoch."""

    rotation_deg: float = 10.0
    """Rotation in the plane, uniform in +- this."""
    shift: float = 0.06
    """Displacement along each axis, uniform in +- this share of the image side."""
    zoom: float = 0.12
    """Log-uniform magnification in [1 / (1 + zoom), 1 + zoom]."""
    anisotropy: float = 0.05
    """Log-uniform stretch of the width against the height, likewise."""
    mirror: float = 0.5
    """Probability of exchanging left and right."""
    thinning: float = 0.0
    """Probability that counts are thinned binomially (an exact shorter acquisition)."""
    thinning_floor: float = 0.3
    """The smallest share of counts kept; the share is log-uniform from here to 1."""

    def __post_init__(self) -> None:
        _within(
            "augmentation",
            self,
            rotation_deg=(0, 180),
            shift=(0, 1),
            zoom=(0, 4),
            anisotropy=(0, 4),
            mirror=(0, 1),
            thinning=(0, 1),
            thinning_floor=(0.001, 1),
        )


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which network of the registry."""

    name: str = "resnet_small"
    """A name that `thyroid.networks` registers."""
    width: int | None = None
    """Channels of the first stage; None: the network's own default."""

    def __post_init__(self) -> None:
        if self.width is not None:
            _within("network", self, width=(1, 4096))


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """AdamW (Loshchilov & Hutter 2019) and the loss it minimises."""

    learning_rate: float = 2e-3
    """Rate of the constant part of the schedule."""
    weight_decay: float = 0.05
    """Decoupled; weights of convolutions and linear layers only."""
    batch_size: int = 32
    """Images per step over all workers."""
    label_smoothing: float = 0.1
    """Share of the target spread over all classes."""

    def __post_init__(self) -> None:
        _within(
            "optimiser",
            self,
            learning_rate=(1e-8, 10),
            weight_decay=(0, 10),
            batch_size=(2, 65536),
            label_smoothing=(0, 0.99),
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Warm-up, then a constant learning rate, then a linear decay to zero.

    Nothing before the decay depends on when it starts, so runs of different length share
    their beginning.
    """

    warmup_epochs: int = 2
    """The rate rises linearly from 0."""
    constant_epochs: int = 24
    """The rate stays."""
    decay_epochs: int = 12
    """The rate falls linearly to 0."""
    segment_epochs: int = 6
    """A part of at most this many epochs is one stored, shareable artifact."""

    def __post_init__(self) -> None:
        most = 1_000_000
        _within(
            "schedule",
            self,
            warmup_epochs=(0, most),
            constant_epochs=(0, most),
            decay_epochs=(0, most),
            segment_epochs=(1, most),
            epochs=(1, most),
        )

    @property
    def epochs(self) -> int:
        """Length of the whole run in epochs."""
        return self.warmup_epochs + self.constant_epochs + self.decay_epochs


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """What a stage runs on; part of its key, since it changes the last bits."""

    workers: int = 1
    """Processes that train together; the batch is divided among them."""
    threads: int = 1
    """CPU threads per worker."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 autocast where the processor has instructions for it."""

    def __post_init__(self) -> None:
        _within("execution", self, workers=(1, 65536), threads=(1, 1024))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides a result but the data and the seed."""

    split: SplitConfig = field(default_factory=SplitConfig)
    input: InputConfig = field(default_factory=InputConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)


def small() -> Recipe:
    """A small residual network on 64-pixel images: minutes on two CPU cores."""
    return Recipe()


def resnet18() -> Recipe:
    """The plain ResNet-18 on 128-pixel images: for a GPU, or for patience."""
    return Recipe(
        input=InputConfig(size=128),
        network=NetworkConfig(name="resnet18"),
        optimiser=OptimiserConfig(learning_rate=1e-3, batch_size=64),
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {"small": small, "resnet18": resnet18}
"""The presets by name."""


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as nested plain dictionaries."""
    plain: dict[str, Any] = dataclasses.asdict(config)
    return plain


def from_json(kind: type[T], plain: Mapping[str, Any]) -> T:
    """The configuration that `to_json` wrote.

    Raises
    ------
    InputError
        When a field is unknown or a value out of its range.
    """
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(plain) - set(hints))
    if unknown:
        raise InputError(
            f"{kind.__name__} has no field '{unknown[0]}': choose among {', '.join(sorted(hints))}."
        )
    values = {
        name: from_json(hints[name], value)
        if dataclasses.is_dataclass(hints[name])
        else _checked(hints[name], name, value)
        for name, value in plain.items()
    }
    return kind(**values)


def for_data(recipe: Recipe, kind: Literal["counts", "display"]) -> Recipe:
    """The recipe without what data of this kind do not allow: pictures hold no counts to thin."""
    if kind == "counts" or recipe.augmentation.thinning == 0:
        return recipe
    return override(recipe, {"augmentation.thinning": 0.0})


def read_recipe(path: Path) -> Recipe:
    """A recipe from a JSON file such as RUN/recipe.json.

    Raises
    ------
    InputError
        When the file is missing or holds something else.
    """
    try:
        return from_json(Recipe, json.loads(path.read_text()))
    except OSError as missing:
        raise InputError(f"Cannot read recipe {path}: {missing.strerror}.") from None
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"{path} is no recipe: see the recipe.json of any run.") from None


def override(config: T, changes: Mapping[str, Any]) -> T:
    """`config` with dotted fields replaced: `override(recipe, {"input.size": 32})`.

    Raises
    ------
    InputError
        When a field does not exist or a value is not of its type or range.
    """
    plain = to_json(config)
    for dotted, value in changes.items():
        *parents, leaf = dotted.split(".")
        place = plain
        for parent in parents:
            place = place.get(parent, {}) if isinstance(place, dict) else {}
        if not isinstance(place, dict) or leaf not in place:
            raise InputError(f"The recipe has no field '{dotted}': see `thyroid train --help`.")
        place[leaf] = value
    return from_json(type(config), plain)


def _within(section: str, config: object, **bounds: tuple[float, float]) -> None:
    for name, (least, most) in bounds.items():
        value = getattr(config, name)
        if not least <= value <= most:
            raise InputError(f"{section}.{name} is {value} but must be from {least} to {most}.")


def _checked(hint: Any, name: str, value: Any) -> Any:
    """The value if it is of its field's type; whole numbers pass for real ones."""
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        fits = value in choices
    else:
        kinds = choices or (hint,)  # X | None
        fits = any(
            isinstance(value, (int, float) if kind is float else kind)
            and not (isinstance(value, bool) and kind is not bool)
            for kind in kinds
        )
    if not fits:
        wanted = ", ".join(map(str, choices)) if choices else getattr(hint, "__name__", hint)
        raise InputError(f"The recipe's {name} is {value!r} but must be {wanted}.")
    return float(value) if hint is float else value  # 0 and 0.0 are one setting, and one key
