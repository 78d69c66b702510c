"""Warm processes for stages on a GPU: each holds its share of one GPU for as long as it lives.

Stages on processors are tasks in processes that Ray reuses. On GPUs that would be wrong: Ray gives
such a process one GPU now and another later, but CUDA reads CUDA_VISIBLE_DEVICES only once, so that
the later stage would compute on the earlier GPU. A new process for each stage (`max_calls=1`) would
be correct, but each would create a CUDA context and import torch, which takes 2.5 to 3 s of a
processor; a call of an actor takes 3 ms. An actor keeps its process and its GPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from thyroid.execution.in_process import Datasets
from thyroid.execution.lost_processes import stage_error
from thyroid.execution.ray_task import stage_metrics
from thyroid.execution.transfer import Absent, Transfers
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Busy, Store

KEPT_S = 5.0
"""Seconds that a worker without a stage keeps its GPU; other work may be waiting for it."""

INTERRUPTED_S = 30.0
"""Seconds that an interrupted stage has to release its claim before its process is killed."""

LIFE_S = 600.0
"""Seconds after which a worker takes no further stage, so that other commands get a turn."""

Share = tuple[float, float]
"""Processors and GPUs that a worker holds."""


def release_memory() -> None:
    """Free the memory that finished stages still hold on this process's GPU, if it uses one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()  # CUDA graphs hold memory pools
    gc.collect()
    torch.cuda.empty_cache()


# Ray's memory monitor first kills processes that Ray may restart; the scheduler's actor is one.
@ray.remote(max_restarts=1)
class _Process:
    """The process of a worker; it computes one stage at a time, in its main thread."""

    def place(self) -> tuple[str, int]:
        """Return the ids of the node and of the process."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def run(
        self, stage: Stage, store: Store, path: Path, transfers: Transfers
    ) -> Iterator[EpochMetrics]:
        """Yield the same as `ray_task.start`; end this process when interrupted."""
        try:
            yield from stage_metrics(stage, store, path, transfers)
        except KeyboardInterrupt:
            ray.actor.exit_actor()
        release_memory()


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]  # ray ships no types
def _interrupt(process: int) -> None:
    """Interrupt a stage. Ray cannot cancel an actor's call, and Ray's processes block SIGINT."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGALRM)  # `cancelled_between_imports` treats it as an interrupt


@dataclass(eq=False)
class _Worker:
    """A process that has started."""

    share: Share
    handle: Any
    """The handle of its `_Process`."""
    node: str
    process: int
    born: float = field(default_factory=time.monotonic)
    idle_since: float = 0.0

    def start(
        self, stage: Stage, store: Store, datasets: Datasets, transfers: Transfers
    ) -> ray.ObjectRefGenerator:
        """Start a stage, as `ray_task.start` does."""
        run = self.handle.run.options(num_returns="streaming")
        return run.remote(stage, store, datasets[stage.dataset], transfers)

    def interrupt(self) -> None:
        """Interrupt the stage that runs."""
        there = NodeAffinitySchedulingStrategy(self.node, soft=False)
        _interrupt.options(scheduling_strategy=there).remote(self.process)


class GpuWorkers:
    """The workers of one scheduler. They are started when stages wait, and reused by later stages.

    Everything runs in one asyncio loop.
    """

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._waiting: list[tuple[Share, asyncio.Future[_Worker]]] = []
        self._starting: dict[asyncio.Task[None], Share] = {}
        """Tasks that start workers, one per waiting stage; a freed worker may come first."""

    @contextlib.asynccontextmanager
    async def taken(self, share: Share) -> AsyncIterator[_Worker]:
        """Wait for a worker, and reserve it within the block.

        A worker whose stage failed or was cancelled is not used again, so that neither leftover GPU
        memory nor a broken CUDA context affects another stage.
        """
        worker = await self._take(share)
        try:
            yield worker
        except asyncio.CancelledError:
            worker.interrupt()
            asyncio.get_running_loop().call_later(INTERRUPTED_S, ray.kill, worker.handle)
            raise
        except ray.exceptions.RayError as failure:
            if isinstance(stage_error(failure), Busy | Absent):  # nothing was computed
                self._give(worker)
            else:
                ray.kill(worker.handle)
            raise
        self._give(worker)

    def close(self) -> None:
        """End the workers that have no stage."""
        for starting in self._starting:
            starting.cancel()
        self._end_idle()

    async def _take(self, share: Share) -> _Worker:
        for worker in self._idle:
            if worker.share == share:
                self._idle.remove(worker)
                return worker
        self._end_idle()  # the new worker may need their GPUs
        turn: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append((share, turn))
        self._starting[asyncio.ensure_future(self._start(share))] = share
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give(turn.result())
            raise
        finally:
            self._balance()

    async def _start(self, share: Share) -> None:
        """Start a worker and give it to a stage that waits."""
        processors, gpus = share
        handle: Any = _Process.options(  # type: ignore[attr-defined]
            num_cpus=processors,
            num_gpus=gpus,
            scheduling_strategy=PlacementGroupSchedulingStrategy(placement_group=None),
        ).remote()
        try:
            node, process = await handle.place.remote()
        except asyncio.CancelledError:
            ray.kill(handle)
            raise
        except ray.exceptions.RayError as failure:
            self._pass(share, failure)
        else:
            self._give(_Worker(share, handle, node, process))

    def _give(self, worker: _Worker) -> None:
        """Give a worker to the next stage that waits for its share, or keep it for a while."""
        if time.monotonic() - worker.born > LIFE_S:
            ray.kill(worker.handle)
        elif not self._pass(worker.share, worker):
            worker.idle_since = time.monotonic()
            self._idle.append(worker)
            loop = asyncio.get_running_loop()
            loop.call_later(KEPT_S, self._end_if_idle, worker, worker.idle_since)

    def _pass(self, share: Share, result: _Worker | Exception) -> bool:
        """Give a worker or an error to the first stage that waits for this share; False if none
        waits.
        """
        for asked, turn in self._waiting:
            if asked == share and not turn.done():
                if isinstance(result, Exception):
                    turn.set_exception(result)
                else:
                    turn.set_result(result)
                return True
        return False

    def _balance(self) -> None:
        """Forget finished waits and starts; cancel starts in excess of the stages that wait."""
        self._waiting = [(share, turn) for share, turn in self._waiting if not turn.done()]
        needed = [share for share, _ in self._waiting]
        for starting, share in list(self._starting.items()):
            if starting.done():
                del self._starting[starting]
            elif share in needed:
                needed.remove(share)
            else:
                starting.cancel()

    def _end_if_idle(self, worker: _Worker, since: float) -> None:
        if worker in self._idle and worker.idle_since == since:
            self._idle.remove(worker)
            ray.kill(worker.handle)

    def _end_idle(self) -> None:
        while self._idle:
            ray.kill(self._idle.pop().handle)
