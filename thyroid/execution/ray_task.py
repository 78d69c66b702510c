"""A stage as a Ray task: on processors in a warm process, or through Ray Train on several workers.

A stage of one worker on a GPU runs in `gpu_workers` instead.

If another process is building the artifact, the task ends at once with `Busy` and so does not hold
a processor while it waits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from thyroid.errors import StageFailed
from thyroid.execution.in_process import Datasets, execute_unless_busy
from thyroid.execution.lost_processes import RETRIES
from thyroid.execution.nodes import task_processors
from thyroid.execution.transfer import Transfers, here
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Store

STARTED: EpochMetrics = {"task": "started"}
FINISHED: EpochMetrics = {"task": "finished"}


def stage_metrics(
    stage: Stage, store: Store, path: Path, transfers: Transfers
) -> Iterator[EpochMetrics]:
    """Compute a stage in a process of Ray; yield its metrics between `STARTED` and `FINISHED`.

    Parameters
    ----------
    path, transfers : the data set; see `transfer.here`
    """
    with cancelled_between_imports():
        yield STARTED
        if dataclasses.replace(stage).key != stage.key:  # the new key has this node's versions
            raise StageFailed(
                "This node has other versions of torch or numpy than the machine of the command."
            )
        if stage.execution.workers == 1:
            yield from execute_unless_busy(stage, store, here(stage, path, transfers))
        else:
            from thyroid.execution.train_workers import execute_on_workers  # imports torch

            yield from execute_on_workers(stage, store, path, transfers)
        yield FINISHED


@ray.remote  # type: ignore[untyped-decorator]  # ray ships no types
def _run(stage: Stage, store: Store, path: Path, transfers: Transfers) -> Iterator[EpochMetrics]:
    yield from stage_metrics(stage, store, path, transfers)


@contextlib.contextmanager
def cancelled_between_imports() -> Iterator[None]:
    """Delay Ray's cancellation, which is an interrupt, until no import is running.

    A half-imported torch cannot be imported again: every later stage of the process would fail.
    """

    def interrupted(_: int, frame: FrameType | None) -> None:
        if not _importing(frame):
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, 0.05)  # seconds until the next check

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
    """Return True if the import system is among a frame's callers."""
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
    *,
    alone: bool = False,
) -> ray.ObjectRefGenerator:
    """Start a stage whose inputs are in the store; the generator yields references to its metrics.

    The first metrics are `STARTED`, the last are `FINISHED`. Without `FINISHED` the stage did not
    finish: Ray may omit the error of a task that was killed and then started again.

    The task raises `Absent` if neither its machine nor `transfers` has the data set.

    Parameters
    ----------
    alone : wait for a node without other work, and hold all its processors
    """
    options = {
        "num_returns": "streaming",
        # A repeat is safe, because an artifact is written only once. When memory runs out, Ray
        # kills retriable tasks first; otherwise it would kill the scheduler's actor.
        "max_retries": RETRIES,
        # Otherwise the task would join the calling trial's placement group, which has no room.
        "scheduling_strategy": PlacementGroupSchedulingStrategy(placement_group=None),
        "num_cpus": task_processors(stage.execution, alone=alone),
    }
    return _run.options(**options).remote(stage, store, datasets[stage.dataset], transfers)
