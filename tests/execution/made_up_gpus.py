"""Stages on GPUs that are only declared to Ray: prints as JSON what each process was given.

`python -m tests.execution.made_up_gpus FOLDER` starts its own Ray, because that of the other tests
has no GPU. The stages are stubs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import ray

from tests.cluster.stubs import ENDLESS, FAILING, LOG, built
from tests.toy import toy_recipe, where, write_toy
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import Diverged
from thyroid.execution import gpu_workers
from thyroid.execution.stage_scheduler import StageScheduler
from thyroid.stage import Stage
from thyroid.storage.store import Store

GPUS = 2


class Scenarios:
    """Each of these uses its own scheduler."""

    def __init__(self, folder: Path) -> None:
        self.toy = write_toy(folder / "toy").folder
        self.store = Store(folder / "store")

    def segments(self, seed: int, **changes: Any) -> list[Stage]:
        """A classifier's training on a GPU; the next of its four segments needs the one before."""
        recipe = toy_recipe(execution__device="cuda", **changes)
        return pipeline.classifier(recipe, Dataset.open(self.toy).digest, seed)

    def of_epochs(self, number: int) -> Stage:
        """Return a segment of a number of epochs."""
        fields = {"schedule__constant_epochs": number, "schedule__segment_epochs": number}
        return self.segments(1, **fields)[1]

    def scheduled(self, share: float, steps: Callable[[StageScheduler], Awaitable[None]]) -> None:
        """Make some steps of a scheduler, then close it."""

        async def run() -> None:
            scheduler = StageScheduler(self.store, where(self.toy), share)
            await steps(scheduler)
            scheduler.close()
            await until(lambda: free("GPU") == GPUS)

        asyncio.run(asyncio.wait_for(run(), 240))

    def shared(self, share: float) -> list[dict[str, Any]]:
        """Run twice as many trainings as there is room for, with pauses between their segments;
        give what was built, without splits.
        """
        trainings = round(2 * GPUS / share)

        async def steps(scheduler: StageScheduler) -> None:
            async def train(seed: int) -> None:
                for stage in self.segments(seed):
                    await scheduler.request([stage], str(seed))
                    await asyncio.sleep(0.05 * (seed % 3))

            first = round(1000 * share)  # each share has other trainings
            await asyncio.gather(*map(train, range(first, first + trainings)))

        self.scheduled(share, steps)
        log = self.store.root / LOG
        lines = [vars(line) for line in built(self.store.root) if line.gpus]
        log.unlink()
        return lines

    def interrupted(self) -> dict[str, Any]:
        """Run a stage whose process is killed and which is then not needed; a short one, after
        which the worker keeps the GPU for some time; and one that fails.
        """
        told: dict[str, Any] = {}
        endless, failing = (self.of_epochs(number) for number in (ENDLESS, FAILING))
        note = self.store.root / f"{endless.key[:16]}.process"

        async def steps(scheduler: StageScheduler) -> None:
            wanted = asyncio.ensure_future(scheduler.request([endless], "a"))
            told["first"] = await until(lambda: note.exists() and int(note.read_text()))
            note.unlink()
            os.kill(told["first"], signal.SIGKILL)
            told["second"] = await until(lambda: note.exists() and int(note.read_text()))
            told["held"] = GPUS - free("GPU")
            scheduler.unsubscribe("a")
            await until(lambda: free("GPU") == GPUS)
            told["claims"] = [path.name for path in (self.store.root / "claims").iterdir()]
            told["unfinished"] = [path.name for path in (self.store.root / "building").iterdir()]
            await asyncio.gather(wanted, return_exceptions=True)
            told["next"] = await scheduler.request(self.segments(2)[:1], "b")
            told["held_idle"] = GPUS - free("GPU")
            began = time.monotonic()
            await until(lambda: free("GPU") == GPUS)
            told["idle_seconds"] = time.monotonic() - began
            try:
                await scheduler.request([failing], "c")
            except Diverged as failure:  # its traceback keeps all frames alive
                await until(lambda: free("GPU") == GPUS)
                told["failed"] = str(failure)

        self.scheduled(1.0, steps)
        return told


def free(resource: str) -> float:
    """Return how much of a resource is free."""
    there: dict[str, float] = ray.available_resources()
    return there.get(resource, 0.0)


async def until(condition: Callable[[], Any]) -> Any:
    """Return the condition's first true value."""
    while not (met := condition()):
        await asyncio.sleep(0.05)
    return met


def main(folder: str) -> None:
    gpu_workers.KEPT_S = 1.0
    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=GPUS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )
    on = Scenarios(Path(folder))
    told = {"whole": on.shared(1.0), "halves": on.shared(0.5), "interrupted": on.interrupted()}
    ray.shutdown()
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
