"""Who waits for which stage: each is computed once, whoever asks for it and however often.

Within one command the scheduler below see to that; between commands and machines the store's claims
do. Who waits holds no processor. Everything here happens in one asyncio loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import ray

from thyroid.errors import Diverged, TooLarge, Vanished
from thyroid.execution import ray_task
from thyroid.execution.in_process import Datasets, Runner, opened, reread
from thyroid.execution.meter import Meter, UsedHours
from thyroid.execution.transfer import Absent, packed
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Busy, Store

RESTARTS_AFTER_S = (0, 0, 10, 60)
"""When a stage is started again because its inputs vanished: a file server may be a minute late."""


@dataclass(eq=False)
class _PendingStage:
    """A stage on its way into the store."""

    task: asyncio.Task[bool]
    """True once it was computed here; False where it came to be elsewhere."""
    first: str
    """The waiter who asked first."""
    waiters: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)
    """Those of them whose own training it is, rather than something that this needs."""
    latest: EpochMetrics | None = None
    """What the stage has yielded last; None before its task was asked for."""


class StageScheduler:
    """Brings stages and all that they need about, each once, those ready at the same time.

    Parameters
    ----------
    store, datasets : as for `thyroid.execution.in_process.execute`
    gpus_per_worker : share of a GPU that a stage of one worker takes
    tell : called with each epoch's metrics as they come
    meter : counts how long stages run
    """

    def __init__(
        self,
        store: Store,
        datasets: Datasets,
        gpus_per_worker: float = 0.0,
        tell: Callable[[EpochMetrics], None] = lambda _: None,
        meter: Meter | None = None,
    ) -> None:
        self._store, self._datasets, self._gpus = store, datasets, gpus_per_worker
        self._tell = tell
        self.meter = meter or Meter()
        self._dead: frozenset[str] = frozenset()
        """Nodes that had died when a stage alone on one was last killed."""
        self._pending: dict[str, _PendingStage] = {}
        self._transfers: dict[str, ray.ObjectRef] = {}

    async def want(self, stages: Sequence[Stage], waiter: str) -> list[str]:
        """Return when all are in the store: the keys of what was computed because of this waiter.

        Raises
        ------
        StageFailed, InputError
            The first error of a stage; what else was started goes on until `leave`.
        """
        joined = [pending for stage in stages for pending in self._join(stage, waiter)]
        final = [self._pending[s.key].task for s in stages if s.key in self._pending]
        await asyncio.gather(*map(asyncio.shield, final))
        mine = {key: pending.task for key, pending in joined if pending.first == waiter}
        return sorted(key for key, task in mine.items() if task.done() and task.result())

    def at_work(self) -> dict[str, EpochMetrics]:
        """Waiter -> the last metrics of a stage that is computed for it, with `own`: whether it is
        of the waiter's own training, which comes before what that needs.
        """
        found: dict[str, EpochMetrics] = {}
        for pending in self._pending.values():
            for waiter in pending.waiters if pending.latest else ():
                own = waiter in pending.own
                if own or waiter not in found:
                    found[waiter] = {**(pending.latest or {}), "own": own}
        return found

    def leave(self, waiter: str) -> None:
        """The waiter wants nothing any more: what nobody else waits for is cancelled."""
        for key, pending in list(self._pending.items()):
            pending.waiters.discard(waiter)
            if not pending.waiters:
                del self._pending[key]
                pending.task.cancel()

    def close(self) -> None:
        """Nobody wants anything any more."""
        for waiter in {name for pending in self._pending.values() for name in pending.waiters}:
            self.leave(waiter)

    def _join(
        self, wanted: Stage, waiter: str, *, own: bool = True
    ) -> list[tuple[str, _PendingStage]]:
        """Wait for a stage that is not in the store, and so for what it needs of others."""
        joined = []
        waiting = [(wanted, own)]
        while waiting:  # a chain may be too long to be followed by calls
            stage, own = waiting.pop()
            pending = self._pending.get(stage.key)
            if pending is None:
                if stage.key in self._store:
                    continue
                pending = _PendingStage(asyncio.ensure_future(self._fly(stage)), first=waiter)
                self._pending[stage.key] = pending
                pending.task.add_done_callback(partial(self._land, stage.key))
            elif waiter in pending.waiters:
                continue
            pending.waiters.add(waiter)
            if own:
                pending.own.add(waiter)
            joined.append((stage.key, pending))
            needed = reversed(list(stage.inputs.values()))
            waiting += [(each, own and each.kind == stage.kind) for each in needed]
        return joined

    def _land(self, key: str, task: asyncio.Task[bool]) -> None:
        if not task.cancelled():
            task.exception()  # whoever still waits is told; nobody may
        if key in self._pending and self._pending[key].task is task:
            del self._pending[key]

    async def _fly(self, stage: Stage) -> bool:
        """Bring one stage about; whether it was computed here."""
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
        """The inputs' scheduler; those that are needed again have this pending's waiters."""
        needed = []
        for upstream in stage.inputs.values():
            if upstream.key not in self._store:
                for waiter in self._pending[stage.key].waiters:
                    self._join(upstream, waiter, own=False)
            if upstream.key in self._pending:
                needed.append(self._pending[upstream.key].task)
        return needed

    async def _compute(self, stage: Stage) -> bool:
        """Run the stage as a task, or wait for the process that is at it.

        Where its process is killed again and again, it is alone on a node the last time: a
        neighbour may have needed the memory.

        Raises
        ------
        TooLarge
            When it was killed there, too, and it was not the node that died.
        """
        watch, deaths = self._store.watch(stage.key), 0
        while stage.key not in self._store:
            self._note(stage, {"stage": stage.kind})
            transfers = {d: r for d, r in self._transfers.items() if d == stage.dataset}
            alone = deaths >= ray_task.RETRIES
            metrics = ray_task.start(
                stage, self._store, self._datasets, transfers, self._gpus, alone=alone
            )
            computed, died = True, 1
            try:
                async for reference in metrics:
                    epoch: EpochMetrics = await reference
                    if epoch == ray_task.BEGUN:
                        self.meter.begin(stage.key, *ray_task.held(stage.execution, self._gpus))
                    elif epoch == ray_task.DONE:
                        return computed
                    else:
                        computed = not epoch["reused"]
                        self._note(stage, epoch)
                        self._tell(epoch)
            except asyncio.CancelledError:
                ray.cancel(metrics)
                raise
            except ray_task.KILLED:
                pass
            except ray.exceptions.RayError as failure:
                own = ray_task.own_error(failure)
                if isinstance(own, Absent):
                    self._ship(stage.dataset)
                    died = 0
                elif not isinstance(own, Busy):
                    raise own from None
            finally:
                self.meter.end(stage.key)
            while watch.busy():
                await asyncio.sleep(self._store.poll_seconds)
            # It was killed, unless another process has made it: Ray has started the task again,
            # which found itself at work.
            deaths += died
            if deaths > ray_task.RETRIES and stage.key not in self._store:
                if not self._node_died():
                    raise TooLarge(ray_task.TOO_LARGE)
                deaths = ray_task.RETRIES
        for epoch in reread(opened(stage, self._store)):
            self._tell(epoch)
        return False

    def _node_died(self) -> bool:
        """Whether one did since this was asked last: its end may have killed a process, too."""
        before, self._dead = self._dead, ray_task.dead_nodes()
        return self._dead != before

    def _ship(self, digest: str) -> None:
        """Have what some machine lacks sent to each that asks for it."""
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
    """A runner that computes stages on the cluster, those that do not need each other at once.

    With `keep_going`, a stage that diverges or needs too much memory is left out with all that
    need it; what is no fault of its recipe still ends the run.
    """

    def run(wanted: Sequence[Stage]) -> Iterator[EpochMetrics]:
        found = {stage.key: stage for final in wanted for stage in final.lineage()}
        for stage in found.values():
            folder = store.open(stage.key)
            if folder is not None:
                yield from reread(folder)
        told: asyncio.Queue[EpochMetrics | None] = asyncio.Queue()
        loop = asyncio.new_event_loop()
        scheduler = StageScheduler(store, datasets, gpus_per_worker, told.put_nowait, meter)

        async def bring_one_about(stage: Stage) -> None:
            try:
                # What it needs, too, where only the stage itself is there: all of it will be read
                await scheduler.want(list(stage.lineage()), stage.key)
            except (Diverged, TooLarge):
                if not keep_going:
                    raise
                scheduler.leave(stage.key)

        async def bring_about() -> None:
            try:
                await asyncio.gather(*map(bring_one_about, wanted))
            finally:
                told.put_nowait(None)

        work = loop.create_task(bring_about())
        try:
            while (metrics := loop.run_until_complete(told.get())) is not None:
                yield metrics
            loop.run_until_complete(work)
        finally:
            _end(loop)

    return run


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left, and wait for that."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.close()


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class SchedulerActor:
    """The scheduler of one search, in a process of their own: trials come and go, and may die."""

    def __init__(self, store: Store, datasets: Datasets, gpus_per_worker: float) -> None:
        self._pending = StageScheduler(store, datasets, gpus_per_worker)

    async def want(self, stages: Sequence[Stage], waiter: str) -> list[str]:
        """As `StageScheduler.want`."""
        return await self._pending.want(stages, waiter)

    async def at_work(self) -> dict[str, EpochMetrics]:
        """As `StageScheduler.at_work`."""
        return self._pending.at_work()

    async def used(self) -> UsedHours:
        """What its stages have used."""
        return self._pending.meter.used()

    async def leave(self, waiter: str) -> None:
        """As `StageScheduler.leave`."""
        self._pending.leave(waiter)

    async def close(self) -> None:
        """Cancel everything."""
        self._pending.close()
