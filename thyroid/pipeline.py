"""The stage graph: which stage needs which, and each stage's key. Imports no torch and no ray."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from thyroid.recipe import (
    AugmentationConfig,
    ExecutionConfig,
    InputConfig,
    NetworkConfig,
    OptimiserConfig,
    Recipe,
    ScheduleConfig,
    SplitConfig,
    to_json,
)

EpochMetrics = dict[str, Any]
"""What a stage yields after each epoch: numbers by name."""

Fit = Callable[[Any, Mapping[str, Path], Path], Iterator[EpochMetrics]]
"""A stage's function: fit(config, inputs, folder) fills `folder` and yields as it goes.

`inputs` maps a name to an artifact's folder; `dataset` is the data set's folder.
"""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of stage."""

    version: int
    """Raised whenever the numbers that the stage makes change."""
    function: str
    """`module:function`, imported only where the stage runs."""
    numerical: bool = True
    """Whether torch computes it, so that its key holds torch's version."""


KINDS: Mapping[str, Kind] = {
    "split": Kind(version=1, function="thyroid.stages.split:fit", numerical=False),
    "classifier": Kind(version=1, function="thyroid.stages.classifier:fit"),
    "prediction": Kind(version=1, function="thyroid.stages.prediction:fit"),
}


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


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One node of the graph: what is made, from what, by which settings."""

    kind: str
    config: Any
    """A frozen dataclass with the fields that matter to the result, and no others."""
    dataset: str
    """The data set's digest."""
    inputs: Mapping[str, Stage] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """SHA-256 of all that decides the artifact's bits; same key, same bits."""
        text = json.dumps(self.about, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def about(self) -> dict[str, Any]:
        """What the key is made of, as plain data."""
        kind = KINDS[self.kind]
        return {
            "kind": self.kind,
            "version": kind.version,
            "libraries": {
                name: version(name) for name in (("torch", "numpy") if kind.numerical else ())
            },
            "config": to_json(self.config),
            "dataset": self.dataset,
            "inputs": {name: stage.key for name, stage in self.inputs.items()},
        }

    @property
    def execution(self) -> ExecutionConfig:
        """What the stage runs on; a stage without a choice takes one thread."""
        execution: ExecutionConfig = getattr(self.config, "execution", ExecutionConfig())
        return execution

    def lineage(self) -> Iterator[Stage]:
        """Its inputs, theirs, and itself: each once, what is needed first."""
        seen: set[str] = set()

        def walk(stage: Stage) -> Iterator[Stage]:
            for upstream in stage.inputs.values():
                yield from walk(upstream)
            if stage.key not in seen:
                seen.add(stage.key)
                yield stage

        return walk(self)

    def function(self) -> Fit:
        """The function that makes the artifact."""
        module, name = KINDS[self.kind].function.split(":")
        fit: Fit = getattr(importlib.import_module(module), name)
        return fit


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
    config = PredictionConfig(execution=recipe.execution, part=part)
    return Stage(
        kind="prediction",
        config=config,
        dataset=dataset,
        inputs={"split": split(recipe.split, dataset), "model": trained},
    )
