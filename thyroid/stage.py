"""A stage: its kind, settings and inputs, and the key that follows from them.

Imports no torch and no ray: trial drivers handle thousands of stages.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from thyroid.configuration import deciding
from thyroid.errors import PackageMissing
from thyroid.recipe import ExecutionConfig


@cache
def version(library: str) -> str:
    """Version of an installed library, cached: keys need it thousands of times, and it takes 1 ms.

    Raises
    ------
    PackageMissing
        When it is not installed.
    """
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        raise PackageMissing(
            f"The recipe's network needs {library}: `pip install 'thyroid[{library}]'` brings it."
        ) from None


EpochMetrics = dict[str, Any]
"""Numbers by name, which a stage yields after each epoch."""

Fit = Callable[[Any, Mapping[str, Path], Path], Iterator[EpochMetrics]]
"""A stage's function: fit(config, inputs, folder) fills `folder` and yields metrics of each epoch.

`inputs` maps names to the folders of artifacts; `dataset` is the data set's folder (or the file).
"""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of stage."""

    version: int
    """Increased whenever the stage's numbers change."""
    function: str
    """`module:function`, imported only where the stage runs."""
    libraries: tuple[str, ...] = ("torch", "numpy")
    """Libraries whose version may change the stage's numbers."""


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
    "oracle": Kind(
        version=1,
        function="thyroid.stages.simulate_oracle:fit",
        libraries=("torch", "numpy", "scipy"),
    ),
    "quality": Kind(
        version=1,
        function="thyroid.stages.measure_quality:fit",
        libraries=("torch", "numpy", "scipy", "scikit-learn", "torchmetrics"),
    ),
    "classifier": Kind(version=8, function="thyroid.stages.train_classifier:fit"),
    "probe": Kind(
        version=1,
        function="thyroid.stages.train_probe:fit",
        libraries=("torch", "numpy", "scipy", "scikit-learn"),
    ),
    "prediction": Kind(version=3, function="thyroid.stages.predict_part:fit"),
    "distances": Kind(
        version=3,
        function="thyroid.stages.measure_distances:fit",
        libraries=("torch", "numpy", "pillow"),
    ),
    "cases": Kind(
        version=1, function="thyroid.stages.find_cases:fit", libraries=("torch", "numpy", "scipy")
    ),
}


SHARED = 2
"""Increased whenever the numbers of several workers change, but not those of one worker."""
CUDA = 2
"""Increased whenever numbers change on GPUs, but not on processors."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One node of the graph: kind, settings and inputs."""

    kind: str
    config: Any
    """A frozen dataclass with exactly the fields that affect the result."""
    dataset: str
    """Digest of the data set, or of the user's file, that the stage reads."""
    inputs: Mapping[str, Stage] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """SHA-256 of everything that decides the artifact's bits: same key, same bits."""
        text = json.dumps(self.about, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def about(self) -> dict[str, Any]:
        """Content of the key, as plain data."""
        kind, execution = KINDS[self.kind], self.execution
        own: tuple[str, ...] = getattr(self.config, "libraries", ())
        design: int | None = getattr(self.config, "design", None)
        return {
            "kind": self.kind,
            "version": kind.version,
            "libraries": {name: version(name) for name in (*kind.libraries, *own)},
            "config": deciding(self.config),
            "dataset": self.dataset,
            "inputs": {name: stage.key for name, stage in self.inputs.items()},
            **({} if design is None else {"design": design}),
            **({"shared": SHARED} if execution.workers > 1 else {}),
            **({"cuda": CUDA} if execution.device == "cuda" else {}),
        }

    @property
    def execution(self) -> ExecutionConfig:
        """Device, workers and threads of the stage; default: one thread."""
        execution: ExecutionConfig = getattr(self.config, "execution", ExecutionConfig())
        return execution

    def lineage(self) -> Iterator[Stage]:
        """Yield all stages that this one needs, and itself, each once and in computing order."""
        seen: set[str] = set()
        waiting: list[tuple[Stage, bool]] = [(self, False)]
        while waiting:  # no recursion: a chain may be too long
            stage, fed = waiting.pop()
            if fed:
                yield stage
            elif stage.key not in seen:
                seen.add(stage.key)
                waiting.append((stage, True))
                waiting += [(upstream, False) for upstream in reversed(list(stage.inputs.values()))]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a flat list: recursion over a long chain of segments would be too deep."""
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
        return _rebuild, (rows,)

    def function(self) -> Fit:
        """Import the function that computes the artifact."""
        module, name = KINDS[self.kind].function.split(":")
        fit: Fit = getattr(importlib.import_module(module), name)
        return fit


def _rebuild(rows: Sequence[tuple[str, Any, str, Mapping[str, int], str]]) -> Stage:
    """Rebuild the stages of `Stage.__reduce__` with their keys, and return the last."""
    stages: list[Stage] = []
    for kind, config, dataset, inputs, key in rows:
        needed = {name: stages[place] for name, place in inputs.items()}
        stage = Stage(kind=kind, config=config, dataset=dataset, inputs=needed)
        stage.__dict__["key"] = key
        stages.append(stage)
    return stages[-1]
