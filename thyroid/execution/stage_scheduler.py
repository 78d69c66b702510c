"""The stage scheduler: each stage is computed once, however many trials need it.

The scheduler below ensures this within one command; the store's claims ensure it between commands
and machines. Subscribers hold no processor while they wait. All code here runs in one asyncio loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray

from thyroid.errors import Diverged, TooLarge, Vanished
from thyroid.execution import nodes, ray_task
from thyroid.execution.gpu_workers import GpuWorkers
from thyroid.execution.in_process import INBOX, Datasets, Runner, opened, reread
from thyroid.execution.lost_processes import KILLED, RETRIES, stage_error, too_large
from thyroid.execution.meter import Meter, UsedHours
from thyroid.execution.transfer import Absent, packed
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Busy, Store

RESTARTS_AFTER_S = (0, 0, 10, 60)
"""Pauses before the first start of a stage, and before further starts after its inputs vanished: a
file server may show a new file a minute late."""

FOLLOW_S = 1.0
"""Seconds between two reads of the metrics that several workers have reported."""


@dataclass(eq=False)
class _PendingStage:
    """A stage that was requested and is not in the store yet."""

    task: asyncio.Task[bool]
    """Its result is True if the stage was computed here, False if another process did it."""
    first: str
    """The subscriber that requested it first."""
    subscribers: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)
    """Subscribers whose own training includes the stage, rather than only needing it."""
    latest: EpochMetrics | None = None
    """The stage's latest metrics; None before its task was submitted."""


class StageScheduler:
    """Computes requested stages and all stages they need, each once, independent ones in parallel.

    Parameters
    ----------
    store, datasets : see `thyroid.execution.in_process.execute`
    gpus_per_worker : share of a GPU that a stage of one worker takes
    on_metrics : called with each epoch's metrics as they arrive
    meter : counts how long stages run
    """

    def __init__(
        self,
        store: Store,
        datasets: Datasets,
        gpus_per_worker: float = 0.0,
        on_metrics: Callable[[EpochMetrics], None] = lambda _: None,
        meter: Meter | None = None,
    ) -> None:
        self._store, self._datasets, self._gpus = store, datasets, gpus_per_worker
        self._on_metrics = on_metrics
        self._meter = meter or Meter()
        self._workers = GpuWorkers()
        self._dead: frozenset[str] = frozenset()
        """The dead nodes at the last time that a stage was killed while alone on its node."""
        self._pending: dict[str, _PendingStage] = {}
        self._transfers: dict[str, ray.ObjectRef] = {}

    async def request(self, stages: Sequence[Stage], subscriber: str) -> list[str]:
        """Wait until all stages are in the store; return the keys computed for this subscriber.

        Raises
        ------
        StageFailed, InputError
            The first error of a stage; other requested stages run on until `unsubscribe`.
        """
        joined = [pending for stage in stages for pending in self._join(stage, subscriber)]
        final = [self._pending[s.key].task for s in stages if s.key in self._pending]
        await asyncio.gather(*map(asyncio.shield, final))
        mine = {key: pending.task for key, pending in joined if pending.first == subscriber}
        return sorted(key for key, task in mine.items() if task.done() and task.result())

    def running(self) -> dict[str, EpochMetrics]:
        """Return, for each subscriber, the latest metrics of one stage that is computed for it.

        `own` is True if the stage is part of the subscriber's own training; such a stage is
        preferred to a stage that the training only needs.
        """
        found: dict[str, EpochMetrics] = {}
        for pending in self._pending.values():
            for subscriber in pending.subscribers if pending.latest else ():
                own = subscriber in pending.own
                if own or subscriber not in found:
                    found[subscriber] = {**(pending.latest or {}), "own": own}
        return found

    def unsubscribe(self, subscriber: str) -> None:
        """End a subscriber's requests, and cancel the stages that no other subscriber needs."""
        for key, pending in list(self._pending.items()):
            pending.subscribers.discard(subscriber)
            if not pending.subscribers:
                del self._pending[key]
                pending.task.cancel()

    def used(self) -> UsedHours:
        """Return the hours that the stages have used."""
        return self._meter.used()

    def close(self) -> None:
        """Cancel all stages, and end the workers on GPUs."""
        for pending in self._pending.values():
            pending.task.cancel()
        self._pending.clear()
        self._workers.close()

    def _join(
        self, requested: Stage, subscriber: str, *, own: bool = True
    ) -> list[tuple[str, _PendingStage]]:
        """Subscribe to a stage that is not in the store, and to the stages it needs."""
        joined = []
        waiting = [(requested, own)]
        while waiting:  # no recursion: a chain may be longer than Python's call stack
            stage, own = waiting.pop()
            pending = self._pending.get(stage.key)
            if pending is None:
                if stage.key in self._store:
                    continue
                task = asyncio.ensure_future(self._bring_about(stage))
                pending = _PendingStage(task, first=subscriber)
                self._pending[stage.key] = pending
                task.add_done_callback(partial(self._forget, stage.key))
            elif subscriber in pending.subscribers:
                continue
            pending.subscribers.add(subscriber)
            if own:
                pending.own.add(subscriber)
            joined.append((stage.key, pending))
            needed = reversed(list(stage.inputs.values()))
            waiting += [(each, own and each.kind == stage.kind) for each in needed]
        return joined

    def _forget(self, key: str, task: asyncio.Task[bool]) -> None:
        if not task.cancelled():
            task.exception()  # marks the error as retrieved; there may be no subscriber left
        if key in self._pending and self._pending[key].task is task:
            del self._pending[key]

    async def _bring_about(self, stage: Stage) -> bool:
        """Compute one stage after its inputs; return True if it was computed here."""
        for pause_s in RESTARTS_AFTER_S:
            await asyncio.sleep(pause_s)
            reason = self._store.failure(stage.key)
            if reason is not None:
                raise Diverged(reason)
            await asyncio.gather(*map(asyncio.shield, self._inputs(stage)))
            try:
                return await self._compute(stage)
            except Vanished as failure:
                vanished = failure
                self._transfers.pop(stage.dataset, None)
        raise vanished

    def _inputs(self, stage: Stage) -> list[asyncio.Task[bool]]:
        """Return the tasks of the inputs that the store lacks, requested for all subscribers."""
        needed = []
        for upstream in stage.inputs.values():
            if upstream.key not in self._store:
                for subscriber in self._pending[stage.key].subscribers:
                    self._join(upstream, subscriber, own=False)
            if upstream.key in self._pending:
                needed.append(self._pending[upstream.key].task)
        return needed

    async def _compute(self, stage: Stage) -> bool:
        """Run the stage as a task, or wait for the process that builds it.

        After `RETRIES` deaths the stage gets a node for itself, because another stage on the same
        node may have used up the memory.

        Raises
        ------
        TooLarge
            When the stage is killed there, too, and the node stays alive.
        """
        watch, deaths = self._store.watch(stage.key), 0
        followed: list[EpochMetrics] = []
        while stage.key not in self._store:
            self._note(stage, {"stage": stage.kind})
            computed, died, position = True, 1, 0
            following: asyncio.Task[None] | None = None
            try:
                async with self._started(stage, alone=deaths >= RETRIES) as metrics:
                    async for reference in metrics:
                        epoch: EpochMetrics = await reference
                        if epoch == ray_task.STARTED:
                            held = nodes.held_resources(stage.execution, self._gpus)
                            self._meter.begin(stage.key, *held)
                        elif epoch == ray_task.FINISHED:
                            return computed
                        elif INBOX in epoch:
                            coming = self._follow(stage, epoch[INBOX], followed)
                            following = asyncio.ensure_future(coming)
                        else:
                            computed = not epoch["reused"]
                            position += 1
                            if position > len(followed):
                                self._tell(stage, epoch)
            except (*KILLED, ray.exceptions.RayActorError):  # the last: a worker on a GPU
                pass
            except ray.exceptions.RayError as failure:
                error = stage_error(failure)
                if isinstance(error, Absent):
                    self._send(stage.dataset)
                    died = 0
                elif not isinstance(error, Busy):
                    raise error from None
            finally:
                self._meter.end(stage.key)
                if following is not None:
                    following.cancel()
            while watch.busy():
                await asyncio.sleep(self._store.poll_seconds)
            # An end without an artifact counts as a death, even after `Busy`: a task that Ray
            # restarted may have found the claim of its own first process.
            deaths += died
            if deaths > RETRIES and stage.key not in self._store:
                if not self._node_died():
                    raise too_large()
                deaths = RETRIES
        for epoch in reread(opened(stage, self._store)):
            self._on_metrics(epoch)
        return False

    async def _follow(self, stage: Stage, inbox: Any, followed: list[EpochMetrics]) -> None:
        """Pass on the metrics of several workers while they train, and add them to `followed`."""
        with contextlib.suppress(ray.exceptions.RayError):  # the inbox ends with the training
            while True:
                for epoch in await inbox.notes.remote(len(followed)):
                    followed.append(epoch)
                    self._tell(stage, epoch)
                await asyncio.sleep(FOLLOW_S)

    def _tell(self, stage: Stage, metrics: EpochMetrics) -> None:
        self._note(stage, metrics)
        self._on_metrics(metrics)

    @contextlib.asynccontextmanager
    async def _started(self, stage: Stage, *, alone: bool) -> AsyncIterator[Any]:
        """Start a stage and yield its metrics as they arrive; cancel it if this is cancelled."""
        transfers = {d: r for d, r in self._transfers.items() if d == stage.dataset}
        if stage.execution.device == "cuda" and stage.execution.workers == 1:
            gpus = nodes.worker_gpus(stage.execution, self._gpus)
            processors = nodes.task_processors(stage.execution, self._gpus, alone=alone)
            async with self._workers.taken((processors, gpus)) as worker:
                yield worker.start(stage, self._store, self._datasets, transfers)
            return
        metrics = ray_task.start(stage, self._store, self._datasets, transfers, alone=alone)
        try:
            yield metrics
        except asyncio.CancelledError:
            ray.cancel(metrics)
            raise

    def _node_died(self) -> bool:
        """Return True if a node died since the last call; its death may have killed the process."""
        before, self._dead = self._dead, nodes.dead_nodes()
        return self._dead != before

    def _send(self, digest: str) -> None:
        """Put a data set that some machine lacks into Ray's object store."""
        if digest not in self._transfers:
            self._transfers[digest] = ray.put(packed(self._datasets[digest], digest))

    def _note(self, stage: Stage, metrics: EpochMetrics) -> None:
        if stage.key in self._pending:
            self._pending[stage.key].latest = metrics


def on_ray(
    store: Store,
    datasets: Datasets,
    gpus_per_worker: float = 0.0,
    *,
    keep_going: bool = False,
    meter: Meter | None = None,
) -> Runner:
    """Return a runner that computes stages on the cluster, independent ones in parallel.

    Parameters
    ----------
    keep_going : skip a stage that diverges or needs too much memory, and all stages that need it;
        any other error still ends the run
    """

    def run(wanted: Sequence[Stage]) -> Iterator[EpochMetrics]:
        found = {stage.key: stage for final in wanted for stage in final.lineage()}
        for stage in found.values():
            folder = store.open(stage.key)
            if folder is not None:
                yield from reread(folder)
        arrived: asyncio.Queue[EpochMetrics | None] = asyncio.Queue()
        loop = asyncio.new_event_loop()
        scheduler = StageScheduler(store, datasets, gpus_per_worker, arrived.put_nowait, meter)

        async def bring_one_about(stage: Stage) -> None:
            try:
                # The whole lineage: the store may have a stage but lack its inputs, and all
                # are read later.
                await scheduler.request(list(stage.lineage()), stage.key)
            except (Diverged, TooLarge):
                if not keep_going:
                    raise
                scheduler.unsubscribe(stage.key)

        async def bring_about() -> None:
            try:
                await asyncio.gather(*map(bring_one_about, wanted))
            finally:
                arrived.put_nowait(None)

        work = loop.create_task(bring_about())
        try:
            while (metrics := loop.run_until_complete(arrived.get())) is not None:
                yield metrics
            loop.run_until_complete(work)
        finally:
            scheduler.close()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left))
            loop.close()

    return run


SchedulerActor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(StageScheduler)
"""A search's scheduler in its own process, which survives the death of trials."""
