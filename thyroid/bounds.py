"""The bounds of every number that a user sets: the fields of a recipe and the commands' options."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any

from thyroid.errors import InputError

MOST = 1_000_000
"""Epochs, trials or steps that no training reaches."""
MOST_IMAGES = 10_000_000
SEEDS = (0, 2**32 - 1)
DAY_S = 86_400.0

BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        # recipe
        "split.folds": (1, 1000),
        "split.fold": (0, 999),
        "split.validation": (0.01, 0.9),
        "split.test": (0.0, 0.9),
        "split.seed": SEEDS,
        "split.images_per_class": (1, MOST_IMAGES),
        "input.size": (16, 4096),
        "augmentation.rotation_deg": (0.0, 180.0),
        "augmentation.shift": (0.0, 1.0),
        "augmentation.zoom": (0.0, 4.0),
        "augmentation.anisotropy": (0.0, 4.0),
        "augmentation.mirror": (0.0, 1.0),
        "augmentation.thinning": (0.0, 1.0),
        "augmentation.thinning_floor": (0.001, 1.0),
        "augmentation.windowing": (0.0, 1.0),
        "network.width": (1, 4096),
        "network.input_mean": (-1e6, 1e6),
        "network.input_std": (1e-6, 1e6),
        "optimiser.learning_rate": (1e-8, 10.0),
        "optimiser.weight_decay": (0.0, 10.0),
        "optimiser.batch_size": (2, 65536),
        "optimiser.label_smoothing": (0.0, 0.99),
        "optimiser.weight_average": (0.0, 0.99999),
        "fine_tuning.rate": (0.0, 100.0),
        "fine_tuning.frozen_epochs": (0, MOST),
        "schedule.warmup_epochs": (0, MOST),
        "schedule.constant_epochs": (0, MOST),
        "schedule.decay_epochs": (0, MOST),
        "schedule.segment_epochs": (1, MOST),
        "schedule.epochs": (1, MOST),
        "cross.epochs": (1, MOST),
        "cross.share": (0.01, 1.0),
        "cross.ramp_epochs": (1, MOST),
        "cross.rehearsal": (0.0, 1.0),
        "cross.rate": (1e-6, 100.0),
        "cross.synthetic": (0.0, 1.0),
        "cross.superposed": (0.0, 1.0),
        "cross.secondary": (0.0, 0.5),
        "mixing.synthetic_share": (0.0, 1.0),
        "mixing.final_share": (0.0, 1.0),
        "mixing.class_exponent": (-2.0, 2.0),
        "mixing.cross_share": (0.0, 1.0),
        "mixing.label_filter_weight": (0.0, 1.0),
        "mixing.dose": (0.0, 1.0),
        "dcgan.latent": (1, 4096),
        "dcgan.width": (1, 4096),
        "dcgan.generator_rate": (1e-8, 1.0),
        "dcgan.discriminator_rate": (1e-8, 1.0),
        "dcgan.augmentation": (0.0, 4.0),
        "dcgan.ema_images": (0, 1_000_000_000),
        "dcgan.batch_size": (2, 65536),
        "dcgan.epochs": (1, MOST),
        "dcgan.steps_per_epoch": (1, MOST),
        "dcgan.segment_epochs": (1, MOST),
        "flow.width": (1, 4096),
        "flow.blocks": (1, 256),
        "flow.learning_rate": (1e-8, 1.0),
        "flow.weight_average": (0.0, 0.99999),
        "flow.unlabelled": (0.0, 0.9),
        "flow.batch_size": (1, 65536),
        "flow.epochs": (1, MOST),
        "flow.steps_per_epoch": (1, MOST),
        "flow.segment_epochs": (1, MOST),
        "flow.guidance": (0.0, 100.0),
        "flow.sampling_steps": (1, 10_000),
        "srgan.width": (1, 4096),
        "srgan.blocks": (1, 256),
        "srgan.learning_rate": (1e-8, 1.0),
        "srgan.pixel_weight": (0.0, 1e6),
        "srgan.perceptual_weight": (0.0, 1e6),
        "srgan.adversarial_weight": (0.0, 1e6),
        "srgan.batch_size": (2, 65536),
        "srgan.pixel_epochs": (0, MOST),
        "srgan.adversarial_epochs": (0, MOST),
        "srgan.steps_per_epoch": (1, MOST),
        "srgan.segment_epochs": (1, MOST),
        "synthesis.images_per_class": (0, MOST_IMAGES),
        "synthesis.images_per_cross": (0, MOST_IMAGES),
        "synthesis.rejection": (0.01, 1.0),
        "synthesis.pools": (1, 10_000),
        "execution.workers": (1, 65536),
        "execution.threads": (1, 1024),
        # train, search, compare
        "--folds": (1, 1000),
        "--seeds": (1, 1000),
        "--final-seeds": (1, 1000),
        "--max-seeds": (1, 1000),
        "--gpus-per-worker": (0.0, 1.0),
        "--trials": (1, MOST),
        "--trials-per-model": (1, MOST),
        "--first-folds": (1, 1000),
        "--seed": SEEDS,
        "--concurrent": (1, 10_000),
        "--workers-per-stage": (1, 65536),
        "--time-budget": (0.1, 3650 * DAY_S),
        "--gpu-hours": (0.001, 1e9),
        "--grace-epochs": (1, MOST),
        "--reduction-factor": (1.1, 1e6),
        "--report-every": (0.1, 3650 * DAY_S),
        "--shares": (0.0, 1.0),
        "--sizes": (1, MOST_IMAGES),
        # import, phantom, pretrain, predict, store
        "--size": (16, 1024),
        "--pixel-mm": (0.1, 20.0),
        "--images-per-class": (1, MOST_IMAGES),
        "--images-per-cross": (0, MOST_IMAGES),
        "--epochs": (1, MOST),
        "--threads": (1, 1024),
        "--max-size": (1, 10**18),
        "--older-than": (1.0, 36_500 * DAY_S),
    }
)
"""Smallest and largest value of each field of a recipe, SECTION.FIELD, and of each option, --NAME;
both are whole numbers if the value must be one. Durations in seconds, sizes in bytes."""

WITHIN_TEXT = (
    *("--folds", "--shares", "--sizes", "--max-size"),
    *("--time-budget", "--report-every", "--older-than"),
)
"""Options whose number is part of a text, such as `30m`; their parsers call `require_read`."""


def require_within(section: str, config: object) -> None:
    """Check the numbers of a section of a recipe, its fields and properties; None is unbounded.

    Raises
    ------
    InputError
        When one is no number, or below its lower or above its upper bound.
    """
    for row in BOUNDS:
        if row.startswith(f"{section}."):
            _require(row, getattr(config, row.removeprefix(f"{section}.")))


def require_options(given: object) -> None:
    """Check the numbers among a command's options, fields of a dataclass or items of a mapping.

    Raises
    ------
    InputError
        When one is no number, or below its lower or above its upper bound.
    """
    if isinstance(given, Mapping):
        options: Iterable[tuple[str, Any]] = given.items()
    else:
        assert is_dataclass(given)
        options = [(field.name, getattr(given, field.name)) for field in fields(given)]
    for name, value in options:
        row = f"--{name.replace('_', '-')}"
        if row in BOUNDS and row not in WITHIN_TEXT:
            _require(row, value)


def require_read(option: str, value: float, written: str, unit: str = "") -> None:
    """Check a number that was read from an option's text, in a unit.

    Raises
    ------
    InputError
        When it is below the lower or above the upper bound.
    """
    least, most = BOUNDS[option]
    if not least <= value <= most:
        bounds = f"from {_shown(least)} to {_shown(most)}{unit}"
        raise InputError(f"{option} is {written} but must be {bounds}.")


def _require(row: str, value: Any) -> None:
    if value is None:
        return
    least, most = BOUNDS[row]
    kind = numbers.Integral if isinstance(least, int) else numbers.Real
    fits = isinstance(value, kind) and not isinstance(value, bool)
    if not fits or not least <= value <= most:
        number = "a number " if kind is numbers.Real else "a whole number "
        bounds = f"{'' if fits else number}from {_shown(least)} to {_shown(most)}"
        raise InputError(f"{row} is {value} but must be {bounds}.")


def _shown(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:.10g}"
