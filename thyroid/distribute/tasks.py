"""Stages as Ray tasks: one worker in a warm process, several through Ray Train."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from thyroid.execute import Runner, execute
from thyroid.pipeline import EpochMetrics, Stage
from thyroid.recipe import ExecutionConfig
from thyroid.store import Store


@ray.remote  # type: ignore[untyped-decorator]  # ray ships no types
def _run(stage: Stage, store: Store, dataset: Path) -> Iterator[EpochMetrics]:
    if stage.execution.workers == 1:
        yield from execute(stage, store, dataset)
    else:
        from thyroid.distribute.workers import execute_on_workers

        yield from execute_on_workers(stage, store, dataset)


def start(
    stage: Stage, store: Store, dataset: Path, gpus_per_worker: float = 0.0
) -> ray.ObjectRefGenerator:
    """Start one stage, whose inputs are in the store; yields references to its metrics.

    A task started within a trial would be put into the trial's placement group, which has no
    room: it is sent outside.
    """
    options = {
        "num_returns": "streaming",
        "max_retries": 2,  # a lost node is no reason to fail: the artifact appears once anyhow
        "scheduling_strategy": PlacementGroupSchedulingStrategy(placement_group=None),
        **resources(stage.execution, gpus_per_worker),
    }
    return _run.options(**options).remote(stage, store, dataset)


def resources(execution: ExecutionConfig, gpus_per_worker: float) -> dict[str, float]:
    """What a stage's task holds; with several workers its trainer holds what they need."""
    if execution.workers > 1:
        return {"num_cpus": 0}
    gpus = gpus_per_worker or 1.0 if execution.device == "cuda" else 0.0
    return {"num_cpus": execution.threads, "num_gpus": gpus}


def results(metrics: ray.ObjectRefGenerator) -> Iterator[EpochMetrics]:
    """The metrics of a started stage as they come; the stage's own error when it fails."""
    for reference in metrics:
        try:
            yield ray.get(reference)
        except ray.exceptions.RayTaskError as failure:
            raise failure.cause from None


def on_ray(store: Store, dataset: Path, gpus_per_worker: float = 0.0) -> Runner:
    """A runner that computes stages on the cluster, those that do not need each other at once."""

    def run(wanted: Sequence[Stage]) -> Iterator[EpochMetrics]:
        for level in levels(wanted):
            started = [start(stage, store, dataset, gpus_per_worker) for stage in level]
            for metrics in started:
                yield from results(metrics)

    return run


def levels(wanted: Sequence[Stage]) -> list[list[Stage]]:
    """The stages that `wanted` need, each once, in layers that need only earlier layers."""
    depth: dict[str, int] = {}
    stages: dict[str, Stage] = {}
    for final in wanted:
        for stage in final.lineage():
            stages[stage.key] = stage
            depth[stage.key] = 1 + max((depth[up.key] for up in stage.inputs.values()), default=-1)
    layers: list[list[Stage]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for key, stage in stages.items():
        layers[depth[key]].append(stage)
    return layers
