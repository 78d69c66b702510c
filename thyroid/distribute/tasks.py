"""Stages as Ray tasks: one worker in a warm process, several through Ray Train.

A task that finds its artifact being built elsewhere ends at once with `Busy`: nobody waits with a
processor in hand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from thyroid.errors import InputError, ProcessLost, StageFailed, TooLarge
from thyroid.execute import Datasets, execute_unless_busy
from thyroid.recipe import ExecutionConfig
from thyroid.stage import EpochMetrics, Stage
from thyroid.store import Store

RETRIES = 2
"""Times that a stage whose process or node was lost is started again."""


@ray.remote  # type: ignore[untyped-decorator]  # ray ships no types
def _run(stage: Stage, store: Store, datasets: Datasets) -> Iterator[EpochMetrics]:
    if dataclasses.replace(stage).key != stage.key:  # computed anew, with what is installed here
        raise StageFailed("This node has other versions of torch or numpy than the driver.")
    if stage.execution.workers == 1:
        yield from execute_unless_busy(stage, store, datasets)
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
        "max_retries": RETRIES,  # a lost node is no reason to fail: the artifact appears once
        "scheduling_strategy": PlacementGroupSchedulingStrategy(placement_group=None),
        **resources(stage.execution, gpus_per_worker),
    }
    return _run.options(**options).remote(stage, store, datasets)


def resources(execution: ExecutionConfig, gpus_per_worker: float) -> dict[str, float]:
    """What a stage's task holds; with several workers its trainer holds what they need."""
    if execution.workers > 1:
        return {"num_cpus": 0}
    return {"num_cpus": execution.threads, "num_gpus": gpus_each(execution, gpus_per_worker)}


def gpus_each(execution: ExecutionConfig, gpus_per_worker: float) -> float:
    """GPUs that a worker takes: of several, each a whole one, as NCCL needs."""
    if execution.device != "cuda":
        return 0.0
    return 1.0 if execution.workers > 1 else gpus_per_worker or 1.0


def require_room(execution: ExecutionConfig, gpus_per_worker: float) -> None:
    """Refuse what the cluster has no room for now: its tasks would wait without a word.

    Raises
    ------
    InputError
        When a worker's processors or GPUs are more than any node has, or all workers' more than
        there are.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = gpus_each(execution, gpus_per_worker)
    lower = "lower execution.threads, workers or --gpus-per-worker."
    takes = {"CPU": float(execution.threads)} | ({"GPU": gpus} if gpus else {})
    for name, each in takes.items():
        there = [node.get(name, 0.0) for node in nodes]
        largest, needed = max(there, default=0.0), each * execution.workers
        if each > largest:
            raise InputError(
                f"A worker takes {each:g} {name}s, and Ray has {largest:g} on its largest node: "
                f"{lower}"
            )
        if needed > sum(there):
            raise InputError(
                f"A training of {execution.workers} workers takes {needed:g} {name}s, and Ray has "
                f"{sum(there):g}: {lower}"
            )
    room = sum(
        min(int(node.get(name, 0.0) / each) for name, each in takes.items()) for node in nodes
    )
    if room < execution.workers:  # enough of everything, but not where it is needed
        each_takes = " and ".join(f"{each:g} {name}s" for name, each in takes.items())
        raise InputError(
            f"A training takes {execution.workers} workers of {each_takes} each, and Ray's nodes "
            f"have room for {room}: {lower}"
        )


def own_error(failure: ray.exceptions.RayError) -> Exception:
    """What went wrong in a stage, or in a driver's call: its own error rather than Ray's."""
    if isinstance(failure, ray.exceptions.RayTaskError):
        cause: Exception = failure.cause
        return cause
    if isinstance(failure, ray.exceptions.OutOfMemoryError):
        return TooLarge(f"A stage needs more memory than there is: {failure}")
    return ProcessLost(f"A stage's process ended; the same command goes on: {failure}")
