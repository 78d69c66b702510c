"""A stage: what is made, from what, by which settings, and the key that follows from it.

Imports no torch and no ray: trial drivers handle stages by the thousand.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from thyroid.configuration import to_json
from thyroid.recipe import ExecutionConfig

version = cache(metadata.version)
"""Of an installed library: a recipe's keys ask a thousand times, and each look takes 1 ms."""

EpochMetrics = dict[str, Any]
"""What a stage yields after each epoch: numbers by name."""

Fit = Callable[[Any, Mapping[str, Path], Path], Iterator[EpochMetrics]]
"""A stage's function: fit(config, inputs, folder) fills `folder` and yields as it goes.

`inputs` maps a name to an artifact's folder; `dataset` is the data set's folder (or the file).
"""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of stage."""

    version: int
    """Raised whenever the numbers that the stage makes change."""
    function: str
    """`module:function`, imported only where the stage runs."""
    libraries: tuple[str, ...] = ("torch", "numpy")
    """Those whose version changes the numbers."""


KINDS: Mapping[str, Kind] = {
    "split": Kind(version=1, function="thyroid.stages.split:fit", libraries=()),
    "weights": Kind(version=1, function="thyroid.stages.copy_weights:fit", libraries=()),
    "dcgan": Kind(version=3, function="thyroid.stages.train_dcgan:fit"),
    "generator": Kind(version=2, function="thyroid.stages.train_generator:fit"),
    "srgan": Kind(
        version=3,
        function="thyroid.stages.train_srgan:fit",
        libraries=("torch", "numpy", "torchvision"),
    ),
    "synthesis": Kind(version=3, function="thyroid.stages.synthesise:fit"),
    "quality": Kind(
        version=1,
        function="thyroid.stages.measure_quality:fit",
        libraries=("torch", "numpy", "scipy", "scikit-learn", "torchmetrics"),
    ),
    "classifier": Kind(version=7, function="thyroid.stages.train_classifier:fit"),
    "prediction": Kind(version=2, function="thyroid.stages.predict_part:fit"),
    "cases": Kind(
        version=1, function="thyroid.stages.find_cases:fit", libraries=("torch", "numpy", "scipy")
    ),
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One node of the graph: what is made, from what, by which settings."""

    kind: str
    config: Any
    """A frozen dataclass with the fields that matter to the result, and no others."""
    dataset: str
    """Digest of the data set, or of the user's file, that it reads."""
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
            "libraries": {name: version(name) for name in kind.libraries},
            "config": to_json(self.config),
            "dataset": self.dataset,
            "inputs": {name: stage.key for name, stage in self.inputs.items()},
        }

    @property
    def execution(self) -> ExecutionConfig:
        """What the stage runs on; a stage without a choice takes one thread."""
        execution: ExecutionConfig = getattr(self.config, "execution", ExecutionConfig())
        return execution

    def lineage(self, known: Container[str] = ()) -> Iterator[Stage]:
        """Its inputs, theirs, and itself: each once, what is needed first.

        Stages whose keys are `known` are left out, with what they alone need.
        """
        seen: set[str] = set()
        waiting: list[tuple[Stage, bool]] = [(self, False)]
        while waiting:  # a chain may be too long to be followed by calls
            stage, fed = waiting.pop()
            if fed:
                yield stage
            elif stage.key not in seen and stage.key not in known:
                seen.add(stage.key)
                waiting.append((stage, True))
                waiting += [(upstream, False) for upstream in reversed(list(stage.inputs.values()))]

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent as a flat list: pickle would follow a chain of segments into a stack too deep."""
        lineage = list(self.lineage())
        place = {stage.key: i for i, stage in enumerate(lineage)}
        rows = [
            (
                stage.kind,
                stage.config,
                stage.dataset,
                {name: place[upstream.key] for name, upstream in stage.inputs.items()},
                stage.key,
            )
            for stage in lineage
        ]
        return _assembled, (rows,)

    def function(self) -> Fit:
        """The function that makes the artifact."""
        module, name = KINDS[self.kind].function.split(":")
        fit: Fit = getattr(importlib.import_module(module), name)
        return fit


def _assembled(rows: Sequence[tuple[str, Any, str, Mapping[str, int], str]]) -> Stage:
    """The last of the stages that `Stage.__reduce__` took apart, with the keys that they had."""
    stages: list[Stage] = []
    for kind, config, dataset, inputs, key in rows:
        needed = {name: stages[place] for name, place in inputs.items()}
        stage = Stage(kind=kind, config=config, dataset=dataset, inputs=needed)
        stage.__dict__["key"] = key
        stages.append(stage)
    return stages[-1]
