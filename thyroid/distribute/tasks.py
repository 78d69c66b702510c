"""Stages as Ray tasks: one worker in a warm process, several through Ray Train."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from thyroid.errors import InputError, ProcessLost, StageFailed
from thyroid.execute import Datasets, Runner, execute
from thyroid.recipe import ExecutionConfig
from thyroid.stage import EpochMetrics, Stage
from thyroid.store import Store


@ray.remote  # type: ignore[untyped-decorator]  # ray ships no types
def _run(stage: Stage, store: Store, datasets: Datasets) -> Iterator[EpochMetrics]:
    if dataclasses.replace(stage).key != stage.key:  # computed anew, with what is installed here
        raise StageFailed("This node has other versions of torch or numpy than the driver.")
    if stage.execution.workers == 1:
        yield from execute(stage, store, datasets)
    else:
        from thyroid.distribute.workers import execute_on_workers

        yield from execute_on_workers(stage, store, datasets)


def start(
    stage: Stage, store: Store, datasets: Datasets, gpus_per_worker: float = 0.0
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
    return _run.options(**options).remote(stage, store, datasets)


def resources(execution: ExecutionConfig, gpus_per_worker: float) -> dict[str, float]:
    """What a stage's task holds; with several workers its trainer holds what they need."""
    if execution.workers > 1:
        return {"num_cpus": 0}
    gpus = gpus_per_worker or 1.0 if execution.device == "cuda" else 0.0
    return {"num_cpus": execution.threads, "num_gpus": gpus}


def require_room(execution: ExecutionConfig, gpus_per_worker: float) -> None:
    """Refuse what the cluster has no room for now: its tasks would wait without a word.

    Raises
    ------
    InputError
        When the workers' processors or GPUs are more than there are.
    """
    there = ray.cluster_resources()
    gpus = (gpus_per_worker or 1.0) if execution.device == "cuda" else 0.0
    for name, each in (("CPU", float(execution.threads)), ("GPU", gpus)):
        needed, most = each * execution.workers, there.get(name, 0.0)
        if needed > most:
            raise InputError(
                f"A training of {execution.workers} workers takes {needed:g} {name}s, and Ray has "
                f"{most:g}: lower execution.threads, workers or --gpus-per-worker."
            )


def results(metrics: ray.ObjectRefGenerator) -> Iterator[EpochMetrics]:
    """The metrics of a started stage as they come; the stage's own error when it fails."""
    for reference in metrics:
        try:
            yield ray.get(reference)
        except ray.exceptions.RayTaskError as failure:
            raise failure.cause from None
        except ray.exceptions.OutOfMemoryError as failure:
            raise StageFailed(f"A stage needs more memory than there is: {failure}") from failure
        except ray.exceptions.RayError as failure:
            raise ProcessLost(
                f"A stage's process ended; the same command goes on: {failure}"
            ) from failure


def on_ray(
    store: Store, datasets: Datasets, gpus_per_worker: float = 0.0, *, keep_going: bool = False
) -> Runner:
    """A runner that computes stages on the cluster, those that do not need each other at once.

    With `keep_going`, a stage that cannot finish is left out with all that need it; one of a
    single worker whose process was lost, three times, still ends the run: its recipe may be the
    best.
    """

    def run(wanted: Sequence[Stage]) -> Iterator[EpochMetrics]:
        failed: set[str] = set()
        for level in levels(wanted):
            ready = []
            for stage in level:
                if failed.isdisjoint(needed.key for needed in stage.inputs.values()):
                    ready.append(stage)
                else:
                    failed.add(stage.key)
            started = [start(stage, store, datasets, gpus_per_worker) for stage in ready]
            for stage, metrics in zip(ready, started, strict=True):
                try:
                    yield from results(metrics)
                except StageFailed as failure:
                    if not keep_going or isinstance(failure, ProcessLost):
                        raise
                    failed.add(stage.key)

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
