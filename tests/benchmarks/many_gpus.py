"""How long GPUs wait for their next stage: stages that sleep, on GPUs declared to Ray.

`python -m tests.benchmarks.many_gpus 1 8 32` takes 1, 8 and 32 GPUs, on nodes of up to eight. For
each number and each length of a stage it prints the stages per second, and the share of the time
from a GPU's first stage to its last in which it had no stage. The stages are chains, which are
requested from the scheduler. With `--search` the stages are those of a search, with trials, Tune
and proposals. A second share then leaves out the beginning, until each GPU has had a stage, and the
end, after the last trial has begun. `--node 1` has one GPU on each node.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import ray

from tests.benchmarks import stubs
from tests.cluster.load import nodes
from tests.cluster.stubs import LOG, PACE, Built, built
from tests.cluster.test_load import begin, ended
from tests.toy import toy_recipe, where, write_toy
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.execution.stage_scheduler import StageScheduler
from thyroid.storage.store import Store
from thyroid.tuning.study import open_study

SECONDS = (0.01, 0.1, 1.0, 10.0)
PER_GPU = 2
"""Number of trainings for each GPU; a training is a chain of four stages."""
TRIALS_PER_GPU = 3
"""Number of trials of a search for each GPU."""


async def train(scheduler: StageScheduler, toy: Path, seeds: range) -> None:
    """Train with each seed; a training requests its next stage when it has the one before."""
    recipe, digest = toy_recipe(execution__device="cuda"), Dataset.open(toy).digest

    async def one(seed: int) -> None:
        for each in pipeline.classifier(recipe, digest, seed):
            await scheduler.request([each], str(seed))

    await asyncio.gather(*map(one, seeds))


def idle(lines: list[Built]) -> float:
    """Share of the GPUs' time, each from its first stage to its last, without a stage."""
    own: dict[tuple[str, str], list[Built]] = {}
    for line in lines:
        own.setdefault((line.node, line.gpus), []).append(line)
    there = sum(max(s.ended for s in each) - min(s.began for s in each) for each in own.values())
    return 1 - sum(line.ended - line.began for line in lines) / there


def idle_between(lines: list[Built], began: float, ended: float) -> float:
    """Share of the GPUs' time, between two points in time, without a stage."""
    gpus = len({(line.node, line.gpus) for line in lines})
    busy = sum(max(0.0, min(s.ended, ended) - max(s.began, began)) for s in lines)
    return 1 - busy / (gpus * (ended - began))


def measure(folder: Path, gpus: int, per_node: int) -> None:
    """Print the lines for a number of GPUs."""
    toy = write_toy(folder / "toy").folder
    store = Store(folder / "store")
    store.root.mkdir()

    async def all_lengths() -> None:
        scheduler, first = StageScheduler(store, where(toy), 1.0), 0
        for seconds in (0.1, *SECONDS):  # the first starts the workers
            (store.root / PACE).write_text(str(seconds))
            (store.root / LOG).unlink(missing_ok=True)
            seeds = range(first, first + PER_GPU * gpus)
            first = seeds.stop
            began, used = time.monotonic(), time.process_time()
            await train(scheduler, toy, seeds)
            took, used = time.monotonic() - began, time.process_time() - used
            lines = [line for line in built(store.root) if line.gpus]
            print(
                f"{gpus} GPUs, {seconds:g} s: {len(lines) / took:.1f} stages/s, "
                f"{1000 * used / len(lines):.1f} ms of the scheduler's processor each, "
                f"idle {100 * idle(lines):.1f} %, {len({s.process for s in lines})} processes, "
                f"load {os.getloadavg()[0]:.0f}",
                flush=True,
            )
        scheduler.close()

    with nodes(gpus // per_node, gpus=per_node) as address:
        ray.init(address, log_to_driver=False, logging_level="error")
        asyncio.run(all_lengths())
        ray.shutdown()


def measure_searches(folder: Path, gpus: int, per_node: int) -> None:
    """Print lines for a search on a number of GPUs, with stages of one second and of ten."""
    with nodes(gpus // per_node, gpus=per_node) as address:
        for seconds in SECONDS[2:]:
            own = folder / f"{seconds:g}"
            store = own / "store"
            store.mkdir(parents=True)
            (store / PACE).write_text(str(seconds))
            write_toy(own / "toy", crosses=20)
            began, trials = time.monotonic(), TRIALS_PER_GPU * gpus
            ended(begin(address, own, "search", trials, 0, share=1.0), own, "search")
            lines = [line for line in built(store) if line.gpus]
            firsts: dict[tuple[str, str], float] = {}
            for line in lines:
                gpu = line.node, line.gpus
                firsts[gpu] = min(line.began, firsts.get(gpu, line.began))
            study = open_study(own / "search" / "study.journal")
            proposed = [t.datetime_start for t in study.get_trials(deepcopy=False)]
            last = max(each.timestamp() for each in proposed if each is not None)
            filled = max(firsts.values())
            between = f"{100 * idle_between(lines, filled, last):.1f} %" if last > filled else "-"
            print(
                f"{gpus} GPUs, {seconds:g} s, {trials} trials: {len(lines)} stages in "
                f"{time.monotonic() - began:.0f} s, on {len({(s.node, s.gpus) for s in lines})} "
                f"GPUs, idle {100 * idle(lines):.1f} %, from the last GPU's first stage to the "
                f"last trial's beginning {between}, load {os.getloadavg()[0]:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    asked.add_argument("gpus", type=int, nargs="+")
    asked.add_argument("--node", type=int, default=8, help="GPUs of a node at most")
    asked.add_argument("--search", action="store_true")
    options = asked.parse_args()
    stubs.install("tests.cluster.stubs:fit")  # as the workers do
    for count in options.gpus:
        with tempfile.TemporaryDirectory() as folder:
            function = measure_searches if options.search else measure
            function(Path(folder), count, min(count, options.node))
