"""Each stage is computed once for all trials; waiting trials hold no resources, and a trial that
leaves cancels the stages that only it needs.
"""

import asyncio
import json
import os
import shutil
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.toy import toy_recipe, where
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import Diverged
from thyroid.execution.in_process import in_process
from thyroid.execution.stage_scheduler import StageScheduler, on_ray
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage import lease
from thyroid.storage.store import Store

ENDLESS = {"schedule__constant_epochs": 100_000, "schedule__segment_epochs": 100_000}


def segments(toy: Path, **changes: Any) -> list[Stage]:
    return pipeline.classifier(toy_recipe(**changes), Dataset.open(toy).digest, 0)


async def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (met := condition()):
        assert time.monotonic() < deadline, "it never came about"
        await asyncio.sleep(0.02)
    return met


def within(seconds: float, steps: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(steps, seconds))


def claims(store: Store) -> list[Path]:
    return [p for p in (store.root / "claims").glob("*") if "." not in p.name]


def free_processors() -> float:
    return ray.available_resources().get("CPU", 0.0)


@pytest.mark.usefixtures("ray_here")
def test_a_stage_requested_twice_is_computed_once_for_the_first(toy: Path, tmp_path: Path) -> None:
    seen: list[EpochMetrics] = []
    store = Store(tmp_path)
    scheduler = StageScheduler(store, where(toy), on_metrics=seen.append)
    short = segments(toy)[1]
    final = segments(toy)[-1]

    async def both_request() -> None:
        first, second = await asyncio.gather(
            scheduler.request([short], "first"), scheduler.request([final], "second")
        )
        assert set(first) == {stage.key for stage in short.lineage()}
        assert set(second) == {s.key for s in final.lineage()} - set(first)
        assert await scheduler.request([final, short], "third") == []

    within(60, both_request())
    assert [m["epoch"] for m in seen if "epoch" in m] == [1, 2, 3, 4]
    assert not claims(store)


@pytest.mark.usefixtures("ray_here")
def test_a_stage_without_subscribers_is_cancelled(toy: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    scheduler = StageScheduler(store, where(toy))
    endless = segments(toy, **ENDLESS)[1]

    async def come_and_go() -> None:
        waiting = [asyncio.ensure_future(scheduler.request([endless], name)) for name in "ab"]
        await until(lambda: claims(store) and claims(store)[0].name == endless.key)
        scheduler.unsubscribe("a")
        await asyncio.sleep(0.5)
        assert [claim.name for claim in claims(store)] == [endless.key]  # b still waits
        assert free_processors() == 1
        scheduler.unsubscribe("b")
        await until(lambda: not claims(store))
        await until(lambda: free_processors() == 2)
        assert endless.key not in store
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert await scheduler.request([segments(toy)[-1]], "c")  # and the workers work on

    within(180, come_and_go())
    assert not list((tmp_path / "building").iterdir())


@pytest.mark.usefixtures("ray_here")
def test_waiting_for_another_process_holds_no_processor(toy: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    stage = segments(toy)[0]
    list(in_process(store, where(toy))([stage.inputs["split"]]))

    async def wait_for_it() -> None:
        scheduler = StageScheduler(store, where(toy))
        with store.building(stage.key, stage.about) as folder:
            assert folder is not None
            wanted = asyncio.ensure_future(scheduler.request([stage], "a"))
            await asyncio.sleep(2)
            assert not wanted.done()
            assert free_processors() == 2
            epoch = {"stage": "classifier", "epoch": 1}
            (folder / "metrics.jsonl").write_text(json.dumps(epoch))
        assert await wanted == []

    within(60, wait_for_it())


@pytest.mark.usefixtures("ray_here")
def test_a_stage_of_a_process_that_dies_is_computed_here(toy: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    stage = segments(toy)[0]
    list(in_process(store, where(toy))([stage.inputs["split"]]))
    claim = tmp_path / "claims" / stage.key
    claim.write_text(f"{lease.here()} {os.getpid()} alive")

    async def inherit() -> None:
        scheduler = StageScheduler(store, where(toy))
        wanted = asyncio.ensure_future(scheduler.request([stage], "a"))
        await asyncio.sleep(1)
        assert not wanted.done()
        claim.write_text(f"{lease.here()} 99999999 dead")
        assert await wanted == [stage.key]

    within(60, inherit())


@pytest.mark.usefixtures("ray_here")
def test_an_input_that_was_damaged_is_made_again(toy: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = segments(toy)[:2]
    list(in_process(store, where(toy))([first]))
    (store.artifact(first.key) / "model.safetensors").write_bytes(b"damaged")

    async def again() -> None:
        computed = await StageScheduler(store, where(toy)).request([second], "a")
        assert set(computed) == {second.key}

    within(60, again())
    assert first.key in store
    assert len(list((tmp_path / "damaged").iterdir())) == 1


@pytest.mark.usefixtures("ray_here")
def test_a_stage_that_diverged_is_not_computed_again(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = {"optimiser__learning_rate": 10.0, "optimiser__weight_decay": 10.0}
    final = segments(toy, network__name="lenet5", **poison, schedule__constant_epochs=6)[-1]
    store = Store(tmp_path)

    async def fail() -> None:
        with pytest.raises(Diverged, match="Training diverged"):
            await StageScheduler(store, where(toy)).request([final], "a")

    within(60, fail())

    def refuse(*_: object) -> None:
        raise AssertionError("a stage was started")

    monkeypatch.setattr("thyroid.execution.ray_task.start", refuse)
    within(10, fail())
    with pytest.raises(Diverged, match="Training diverged"):  # nor in process
        list(in_process(store, where(toy))([final]))


@pytest.mark.usefixtures("ray_here")
def test_a_stage_of_two_workers_is_cancelled_with_its_workers(toy: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    scheduler = StageScheduler(store, where(toy))
    endless = segments(toy, execution__workers=2, **ENDLESS)[1]

    async def come_and_go() -> None:
        waiting = asyncio.ensure_future(scheduler.request([endless], "a"))
        await until(lambda: [c.name for c in claims(store)] == [endless.key], seconds=60)
        await until(lambda: free_processors() == 0, seconds=60)
        await asyncio.sleep(2)  # they train
        scheduler.unsubscribe("a")
        await until(lambda: free_processors() == 2, seconds=60)
        await until(lambda: not claims(store), seconds=60)
        with pytest.raises(asyncio.CancelledError):
            await waiting

    within(240, come_and_go())
    assert endless.key not in store
    assert not list((tmp_path / "building").iterdir())
    assert not (tmp_path / "train").exists()


@pytest.mark.usefixtures("ray_here")
def test_missing_inputs_of_a_stage_in_the_store_are_computed_again(
    toy: Path, tmp_path: Path
) -> None:
    """All segments of a training are read in the end, not only the last one."""
    store = Store(tmp_path)
    first, second, *_, final = segments(toy)
    list(in_process(store, where(toy))([final]))
    shutil.rmtree(store.artifact(first.key))
    (store.artifact(second.key) / "metrics.jsonl").write_text("damaged")
    metrics = list(on_ray(store, where(toy))([final]))
    assert sorted(m["epoch"] for m in metrics if "epoch" in m) == [1, 2, 3, 4]
    assert [m["epoch"] for m in metrics if not m["reused"]] == [1, 2]
    assert all(store.open(stage.key) for stage in final.lineage())
