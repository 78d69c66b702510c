"""The stage graph: which stage needs which. Imports no torch and no ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from thyroid.recipe import (
    AugmentationConfig,
    ExecutionConfig,
    InputConfig,
    NetworkConfig,
    OptimiserConfig,
    Recipe,
    ScheduleConfig,
    SplitConfig,
)
from thyroid.stage import Stage


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
    if "auto" in (recipe.execution.device, recipe.execution.precision):
        raise ValueError("resolve recipe.execution with thyroid.machine.resolve first")
    parts = split(recipe.split, dataset)
    segments: list[Stage] = []
    for first, epochs, rate in segment_epochs(recipe.schedule):
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
        )
        inputs = {"split": parts}
        if segments:
            inputs["previous"] = segments[-1]
        segments.append(Stage(kind="classifier", config=config, dataset=dataset, inputs=inputs))
    return segments


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
    for first, epochs, rate in parts:
        for done in range(0, epochs, schedule.segment_epochs):
            yield first + done, min(schedule.segment_epochs, epochs - done), rate


def prediction(recipe: Recipe, dataset: str, seed: int, part: str) -> Stage:
    """The trained classifier's probabilities for one part of the data set."""
    trained = classifier(recipe, dataset, seed)[-1]
    alone = dataclasses.replace(recipe.execution, workers=1)  # one forward pass
    config = PredictionConfig(execution=alone, part=part)
    return Stage(
        kind="prediction",
        config=config,
        dataset=dataset,
        inputs={"split": split(recipe.split, dataset), "model": trained},
    )
