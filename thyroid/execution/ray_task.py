"""Stages as Ray tasks: one worker in a warm process, several through Ray Train.

A task that finds its artifact being built elsewhere ends at once with `Busy`: nobody waits with a
processor in hand.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import ray
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from thyroid.errors import InputError, ProcessLost, StageFailed, TooLarge
from thyroid.execution.in_process import Datasets, execute_unless_busy
from thyroid.execution.transfer import Transfers, here
from thyroid.progress import duration, say
from thyroid.recipe import ExecutionConfig
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Store

RETRIES = 2
"""Times that a stage whose process or node was lost is started again."""

BEGUN: EpochMetrics = {"task": "begun"}
DONE: EpochMetrics = {"task": "done"}

KILLED = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)
"""How Ray tells that a process was, on a machine that lived on; the second, if it did so itself."""

TOO_LARGE = (
    f"A stage's process was killed {RETRIES + 1} times, as when it needs more memory than there "
    "is, and its machine lived on."
)


@ray.remote  # type: ignore[untyped-decorator]  # ray ships no types
def _run(stage: Stage, store: Store, path: Path, transfers: Transfers) -> Iterator[EpochMetrics]:
    with cancelled_between_imports():
        yield BEGUN
        if dataclasses.replace(stage).key != stage.key:  # anew, with what is installed here
            raise StageFailed("This node has other versions of torch or numpy than the driver.")
        if stage.execution.workers == 1:
            yield from execute_unless_busy(stage, store, here(stage, path, transfers))
        else:
            from thyroid.execution.train_workers import execute_on_workers

            yield from execute_on_workers(stage, store, path, transfers)
        yield DONE


@contextlib.contextmanager
def cancelled_between_imports() -> Iterator[None]:
    """Ray cancels by an interrupt; here it waits for the end of an import.

    Half of torch cannot be imported again: every later stage of the process would fail.
    """

    def interrupted(_: int, frame: FrameType | None) -> None:
        if not _importing(frame):
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, 0.05)  # seconds until this is asked again

    before = {
        number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGALRM)
    }
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _importing(frame: FrameType | None) -> bool:
    """Whether some module's code, or the import system itself, is among the callers."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def start(
    stage: Stage,
    store: Store,
    datasets: Datasets,
    transfers: Transfers,
    gpus_per_worker: float = 0.0,
    *,
    alone: bool = False,
) -> ray.ObjectRefGenerator:
    """Start one stage, whose inputs are in the store; yields references to its metrics.

    The first of them are `BEGUN`, the last `DONE`. Without these it was not done: where the task
    was killed and started again, Ray may leave out what the second time ended with.

    It ends with `Absent` where its machine has no data set and the transfers has none.

    One that is to be `alone` waits until a node has no other work, and holds all its processors.

    A task started within a trial would be put into the trial's placement group, which has no
    room: it is sent outside.
    """
    options = {
        "num_returns": "streaming",
        # A lost node is no reason to fail: the artifact appears once. And where memory runs out,
        # Ray ends those first that it may start again, of which the scheduler is one.
        "max_retries": RETRIES,
        "scheduling_strategy": PlacementGroupSchedulingStrategy(placement_group=None),
        **resources(stage.execution, gpus_per_worker),
    }
    if alone and stage.execution.workers == 1:
        options["num_cpus"] = _largest(options["num_gpus"])
    return _run.options(**options).remote(stage, store, datasets[stage.dataset], transfers)


def this_node() -> NodeAffinitySchedulingStrategy:
    """To be on this machine, and nowhere else."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def a_trace_of_this_node() -> dict[str, float]:
    """What a trial asks for, to be on this machine: Ray Tune knows no other way to say so."""
    return {f"node:{ray.util.get_node_ip_address()}": 0.0001}


def resources(execution: ExecutionConfig, gpus_per_worker: float) -> dict[str, float]:
    """What a stage's task holds; with several workers its trainer holds what they need."""
    if execution.workers > 1:
        return {"num_cpus": 0}
    return {"num_cpus": execution.threads, "num_gpus": gpus_each(execution, gpus_per_worker)}


def held(execution: ExecutionConfig, gpus_per_worker: float) -> tuple[float, float]:
    """Processors and GPUs that all workers of a stage hold together."""
    gpus = gpus_each(execution, gpus_per_worker)
    return float(execution.threads * execution.workers), gpus * execution.workers


def resources_there() -> list[dict[str, float]]:
    """Of every node that lives."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _largest(gpus: float) -> float:
    """Processors of the largest node that has so many GPUs."""
    there = [node for node in resources_there() if node.get("GPU", 0.0) >= gpus]
    return max((node.get("CPU", 1.0) for node in there), default=1.0)


def dead_nodes() -> frozenset[str]:
    """Ids of the nodes that have died."""
    return frozenset(node["NodeID"] for node in ray.nodes() if not node["Alive"])


def gpus_each(execution: ExecutionConfig, gpus_per_worker: float) -> float:
    """GPUs that a worker takes: of several, each a whole one, as NCCL needs."""
    if execution.device != "cuda":
        return 0.0
    return 1.0 if execution.workers > 1 else gpus_per_worker or 1.0


def require_room(execution: ExecutionConfig, gpus_per_worker: float, wait_s: float = 0.0) -> None:
    """Refuse what the cluster has no room for: its tasks would wait without a word.

    Parameters
    ----------
    wait_s : seconds that a cluster may take to grow until there is room

    Raises
    ------
    InputError
        When a worker's processors or GPUs are more than any node has, or all workers' more than
        there are.
    """
    give_up = time.monotonic() + wait_s
    told = False
    while (lack := _lack(execution, gpus_per_worker)) is not None:
        if time.monotonic() >= give_up:
            raise InputError(f"{lack}: lower execution.threads, workers or --gpus-per-worker.")
        if not told:
            say(f"waiting for the cluster to grow, {duration(wait_s)} at most. {lack}")
        told = True
        time.sleep(1)


def _lack(execution: ExecutionConfig, gpus_per_worker: float) -> str | None:
    """What there is too little of now."""
    nodes = resources_there()
    gpus = gpus_each(execution, gpus_per_worker)
    takes = {"CPU": float(execution.threads)} | ({"GPU": gpus} if gpus else {})
    for name, each in takes.items():
        there = [node.get(name, 0.0) for node in nodes]
        largest, needed = max(there, default=0.0), each * execution.workers
        if each > largest:
            return f"A worker takes {each:g} {name}s, and Ray has {largest:g} on its largest node"
        if needed > sum(there):
            return (
                f"A training of {execution.workers} workers takes {needed:g} {name}s, and Ray has "
                f"{sum(there):g}"
            )
    room = sum(
        min(int(node.get(name, 0.0) / each) for name, each in takes.items()) for node in nodes
    )
    if room >= execution.workers:
        return None
    each_takes = " and ".join(f"{each:g} {name}s" for name, each in takes.items())
    return (  # enough of everything, but not where it is needed
        f"A training takes {execution.workers} workers of {each_takes} each, and Ray's nodes "
        f"have room for {room}"
    )


def own_error(failure: ray.exceptions.RayError) -> Exception:
    """What went wrong in a stage, or in a driver's call: its own error rather than Ray's."""
    if isinstance(failure, ray.exceptions.RayTaskError):
        cause: Exception = failure.cause
        return cause
    if isinstance(failure, KILLED):
        return TooLarge(TOO_LARGE)
    return ProcessLost(f"A stage's process ended; the same command goes on: {failure}")
