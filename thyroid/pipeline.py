"""The stage graph: which stage needs which. Imports no torch and no ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from thyroid.errors import InputError
from thyroid.recipe import (
    AugmentationConfig,
    DcganConfig,
    ExecutionConfig,
    InputConfig,
    MixingConfig,
    NetworkConfig,
    OptimiserConfig,
    Recipe,
    ScheduleConfig,
    SplitConfig,
    SrganConfig,
    SynthesisConfig,
)
from thyroid.stage import Stage

DCGAN_SIZES = (8, 16, 32, 64, 128)
"""Sides of the DCGAN's pictures: 4 doubled some times."""


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """A value that moves linearly from `start` to `stop` over some epochs of the run."""

    first_epoch: int = 0
    epochs: int = 1
    start: float = 1.0
    stop: float = 1.0

    def at(self, epoch: float) -> float:
        """The value at a (fractional) number of epochs since the run's beginning."""
        share = min(max((epoch - self.first_epoch) / self.epochs, 0.0), 1.0)
        return self.start + (self.stop - self.start) * share


@dataclass(frozen=True, kw_only=True)
class SyntheticShare:
    """How many synthetic images a segment's batches hold, and which."""

    share: float
    """Of each batch, above 0 to 1."""
    class_exponent: float
    cross_share: float | None
    judge_weight: float


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """Some consecutive epochs of a classifier's training."""

    input: InputConfig
    augmentation: AugmentationConfig
    network: NetworkConfig
    optimiser: OptimiserConfig
    execution: ExecutionConfig
    seed: int
    first_epoch: int
    epochs: int
    rate: Ramp
    """Factor on the optimiser's learning rate."""
    synthetic: SyntheticShare | None = None
    """None: real images only."""


@dataclass(frozen=True, kw_only=True)
class DcganSegmentConfig:
    """Some consecutive epochs of the DCGAN's training."""

    dcgan: DcganConfig
    """Its lengths are not read: they stand at 1, so that longer trainings share shorter ones."""
    size: int
    """Side of the pictures, pixels."""
    execution: ExecutionConfig
    seed: int
    first_epoch: int
    epochs: int


@dataclass(frozen=True, kw_only=True)
class SrganSegmentConfig:
    """Some consecutive epochs of the SRGAN's training, of its pixel or its adversarial part."""

    srgan: SrganConfig
    """Its lengths are not read, as above."""
    input: InputConfig
    """Of the judge, and so of the enlarged pictures."""
    execution: ExecutionConfig
    seed: int
    first_epoch: int
    epochs: int
    adversarial: bool
    """Whether the perceptual and adversarial terms are on."""


@dataclass(frozen=True, kw_only=True)
class SynthesisStageConfig:
    """The pool of synthetic scintigrams of one seed."""

    synthesis: SynthesisConfig
    size: int
    """Side of the pictures, pixels."""
    execution: ExecutionConfig
    seed: int


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """How good the synthetic scintigrams are, against real ones."""

    input: InputConfig
    execution: ExecutionConfig
    seed: int


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """A weights file of the user's, kept in the store: the stage's `dataset` is its SHA-256."""


@dataclass(frozen=True, kw_only=True)
class PredictionConfig:
    """One part of the data set, as a trained classifier sees it."""

    execution: ExecutionConfig
    part: str
    """`validation` or `test`."""


def split(config: SplitConfig, dataset: str) -> Stage:
    """The patients of each part."""
    return Stage(kind="split", config=config, dataset=dataset)


def classifier(recipe: Recipe, dataset: str, seed: int) -> list[Stage]:
    """The segments of one training run, each fed by the one before.

    `recipe.execution` must be resolved: `auto` would give two machines one key.
    """
    _require_resolved(recipe)
    schedule, mixing = recipe.schedule, recipe.mixing
    inputs = {"split": split(recipe.split, dataset)}
    pool = {"synthetic": synthesis(recipe, dataset, seed)} if mixing.synthetic else {}
    segments: list[Stage] = []
    for first, epochs, rate in segment_epochs(schedule):
        decays = first >= schedule.warmup_epochs + schedule.constant_epochs
        share = mixing.final_share if decays else mixing.synthetic_share
        config = SegmentConfig(
            input=recipe.input,
            augmentation=recipe.augmentation,
            network=recipe.network,
            optimiser=recipe.optimiser,
            execution=recipe.execution,
            seed=seed,
            first_epoch=first,
            epochs=epochs,
            rate=rate,
            synthetic=SyntheticShare(
                share=share,
                class_exponent=mixing.class_exponent,
                cross_share=mixing.cross_share,
                judge_weight=mixing.judge_weight,
            )
            if share
            else None,
        )
        needed = inputs | (pool if share else {})
        segments.append(_after(segments, "classifier", config, dataset, needed))
    return segments


def judge(recipe: Recipe, dataset: str, seed: int, *, synthetic: bool = False) -> Stage:
    """The small network that filters synthetic images and whose features measure them.

    It is trained on real training images with settings that no search changes, so that trials
    share it; with `synthetic`, on synthetic images alone.
    """
    plain = Recipe(
        split=recipe.split,
        input=recipe.input,
        schedule=recipe.judge,
        execution=recipe.execution,
    )
    if synthetic:
        share = MixingConfig(synthetic_share=1.0, final_share=1.0)
        plain = dataclasses.replace(
            plain,
            mixing=share,
            dcgan=recipe.dcgan,
            srgan=recipe.srgan,
            synthesis=recipe.synthesis,
            judge=recipe.judge,
        )
    return classifier(plain, dataset, seed)[-1]


def dcgan(recipe: Recipe, dataset: str, seed: int) -> list[Stage]:
    """The segments of the DCGAN's training."""
    _require_resolved(recipe)
    size, rest = divmod(recipe.input.size, recipe.srgan.scale)
    if rest or size not in DCGAN_SIZES:
        raise InputError(
            f"input.size {recipe.input.size} over srgan.scale {recipe.srgan.scale} is the side of "
            f"the DCGAN's pictures, which must be one of {', '.join(map(str, DCGAN_SIZES))}."
        )
    fixed = dataclasses.replace(recipe.dcgan, epochs=1, segment_epochs=1)
    segments: list[Stage] = []
    for first, epochs in _pieces(0, recipe.dcgan.epochs, recipe.dcgan.segment_epochs):
        config = DcganSegmentConfig(
            dcgan=fixed,
            size=size,
            execution=recipe.execution,
            seed=seed,
            first_epoch=first,
            epochs=epochs,
        )
        inputs = {"split": split(recipe.split, dataset)}
        segments.append(_after(segments, "dcgan", config, dataset, inputs))
    return segments


def srgan(recipe: Recipe, dataset: str, seed: int) -> list[Stage]:
    """The segments of the SRGAN's training, those of the pixel loss first; none at scale 1."""
    _require_resolved(recipe)
    given = recipe.srgan
    if given.scale == 1:
        return []
    fixed = dataclasses.replace(given, pixel_epochs=1, adversarial_epochs=0, segment_epochs=1)
    inputs = {"split": split(recipe.split, dataset)}
    if given.vgg19 is None:
        features = {"judge": judge(recipe, dataset, seed)}
    else:
        features = {"vgg19": Stage(kind="weights", config=WeightsConfig(), dataset=given.vgg19)}
    pixel = _pieces(0, given.pixel_epochs, given.segment_epochs)
    adversarial = _pieces(given.pixel_epochs, given.adversarial_epochs, given.segment_epochs)
    segments: list[Stage] = []
    for first, epochs in [*pixel, *adversarial]:
        is_adversarial = first >= given.pixel_epochs
        config = SrganSegmentConfig(
            srgan=fixed,
            input=recipe.input,
            execution=recipe.execution,
            seed=seed,
            first_epoch=first,
            epochs=epochs,
            adversarial=is_adversarial,
        )
        needed = inputs | (features if is_adversarial else {})
        segments.append(_after(segments, "srgan", config, dataset, needed))
    return segments


def synthesis(recipe: Recipe, dataset: str, seed: int) -> Stage:
    """The pool of synthetic scintigrams: DCGAN, SRGAN, Poisson, filter."""
    inputs = {
        "split": split(recipe.split, dataset),
        "dcgan": dcgan(recipe, dataset, seed)[-1],
        "judge": judge(recipe, dataset, seed),
    }
    enlarging = srgan(recipe, dataset, seed)
    if enlarging:
        inputs["srgan"] = enlarging[-1]
    config = SynthesisStageConfig(
        synthesis=recipe.synthesis,
        size=recipe.input.size,
        execution=_alone(recipe.execution),
        seed=seed,
    )
    return Stage(kind="synthesis", config=config, dataset=dataset, inputs=inputs)


def quality(recipe: Recipe, dataset: str, seed: int) -> Stage:
    """What the synthetic scintigrams are worth, against real ones of the validation part.

    Their features are those of another seed's judge: the one that filtered them, and that the
    SRGAN was trained to please, would flatter them.
    """
    inputs = {
        "split": split(recipe.split, dataset),
        "synthetic": synthesis(recipe, dataset, seed),
        "assessor": judge(recipe, dataset, seed + 1),
        "trained_on_real": judge(recipe, dataset, seed),
        "trained_on_synthetic": judge(recipe, dataset, seed, synthetic=True),
    }
    enlarging = srgan(recipe, dataset, seed)
    if enlarging:
        inputs["srgan"] = enlarging[-1]
        inputs["srgan_pixel"] = [s for s in enlarging if not s.config.adversarial][-1]
    config = QualityConfig(input=recipe.input, execution=_alone(recipe.execution), seed=seed)
    return Stage(kind="quality", config=config, dataset=dataset, inputs=inputs)


def segment_epochs(schedule: ScheduleConfig) -> Iterator[tuple[int, int, Ramp]]:
    """Cut a schedule into segments: (first epoch, epochs, learning-rate factor).

    A segment never crosses from one part of the schedule to the next, and the constant part's
    segments do not say how long it is, so that runs of different length share them.
    """
    warmup, constant, decay = (
        schedule.warmup_epochs,
        schedule.constant_epochs,
        schedule.decay_epochs,
    )
    parts = [
        (0, warmup, Ramp(epochs=max(warmup, 1), start=0.0)),
        (warmup, constant, Ramp()),
        (
            warmup + constant,
            decay,
            Ramp(first_epoch=warmup + constant, epochs=max(decay, 1), stop=0.0),
        ),
    ]
    for start, epochs, rate in parts:
        for first, count in _pieces(start, epochs, schedule.segment_epochs):
            yield first, count, rate


def prediction(recipe: Recipe, dataset: str, seed: int, part: str) -> Stage:
    """The trained classifier's probabilities for one part of the data set."""
    return Stage(
        kind="prediction",
        config=PredictionConfig(execution=_alone(recipe.execution), part=part),
        dataset=dataset,
        inputs={
            "split": split(recipe.split, dataset),
            "model": classifier(recipe, dataset, seed)[-1],
        },
    )


def _pieces(first: int, epochs: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut `epochs` epochs from `first` into parts of at most `most`: (first epoch, epochs)."""
    for done in range(0, epochs, most):
        yield first + done, min(most, epochs - done)


def _after(
    segments: list[Stage], kind: str, config: Any, dataset: str, inputs: Mapping[str, Stage]
) -> Stage:
    """The next segment, fed by the last one."""
    previous = {"previous": segments[-1]} if segments else {}
    return Stage(kind=kind, config=config, dataset=dataset, inputs={**inputs, **previous})


def _alone(execution: ExecutionConfig) -> ExecutionConfig:
    """One worker: a forward pass is not worth more."""
    return dataclasses.replace(execution, workers=1)


def _require_resolved(recipe: Recipe) -> None:
    if "auto" in (recipe.execution.device, recipe.execution.precision):
        raise ValueError("resolve recipe.execution with thyroid.machine.resolve first")
