"""A stage has the same numbers wherever it runs."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from safetensors.torch import load_file

from tests.toy import toy_recipe, where
from tests.waiting import wait_until
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError, ProcessLost, StageFailed, TooLarge
from thyroid.execution import nodes, ray_task
from thyroid.execution.in_process import INBOX, Runner, in_process
from thyroid.execution.stage_scheduler import on_ray
from thyroid.recipe import Recipe, override
from thyroid.stage import Stage
from thyroid.storage.store import Store


def trained(recipe: Recipe, toy: Path) -> Stage:
    return pipeline.classifier(recipe, Dataset.open(toy).digest, 0)[-1]


def weights(runner: Runner, store: Store, stage: Stage, name: str) -> dict[str, torch.Tensor]:
    assert [m for m in runner([stage]) if "epoch" in m]
    folder = store.open(stage.key)
    assert folder is not None
    return load_file(folder / name)


@pytest.mark.usefixtures("ray_here")
def test_a_ray_task_gives_the_bits_of_this_process(toy: Path, tmp_path: Path) -> None:
    stage = trained(toy_recipe(augmentation__thinning=0.5), toy)
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    local = weights(in_process(here, where(toy)), here, stage, "model.safetensors")
    remote = weights(on_ray(there, where(toy)), there, stage, "model.safetensors")
    assert all(torch.equal(local[name], remote[name]) for name in local)


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_here")
def test_a_lost_worker_costs_an_epoch_and_not_the_segment(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers train one network through Ray Train until one is killed: both start again after
    the last epoch that was kept, and in the end the mean gradients and the weights are those of one
    worker without Ray.

    LeNet-5 has no batch statistics, so the mean over two halves is the mean over the batch. AdamW's
    first moment is a mean of gradients.
    """
    from ray.train.torch import TorchTrainer

    from thyroid.execution import train_workers

    starts: list[str] = []

    class Counted(TorchTrainer):  # type: ignore[misc]  # ray ships no types
        def fit(self) -> Any:
            starts.append("fit")
            return super().fit()

    monkeypatch.setattr(train_workers, "TorchTrainer", Counted)
    recipe = toy_recipe(
        network__name="lenet5",
        schedule__warmup_epochs=0,
        schedule__constant_epochs=40,
        schedule__decay_epochs=0,
        schedule__segment_epochs=40,
        optimiser__learning_rate=1e-5,  # at higher ones rounding grows from step to step
    )
    alone = trained(recipe, toy)
    stage = trained(override(recipe, {"execution.workers": 2}), toy)
    store = Store(tmp_path)
    list(in_process(store, where(toy))([stage.inputs["split"]]))
    training = train_workers.execute_on_workers(stage, store, toy, {})
    inbox = next(training)[INBOX]
    with ThreadPoolExecutor() as thread:
        finished = thread.submit(list, training)
        wait_until(lambda: len(ray.get(inbox.notes.remote(0))) > 2)
        before = ray.get(inbox.notes.remote(0))
        os.kill(train_worker(), signal.SIGKILL)
        metrics = finished.result()
    assert len(starts) == 2
    assert [m["epoch"] for m in metrics] == list(range(1, 41))
    kept = [m["train_seconds"] for m in metrics]
    assert kept[:2] == [m["train_seconds"] for m in before[:2]], "they were trained again"
    together = store.open(stage.key)
    assert together is not None
    for file in ("optimiser.safetensors", "model.safetensors"):
        one = weights(in_process(store, where(toy)), store, alone, file)
        two = load_file(together / file)
        compared = [name for name in one if name.endswith(("/exp_avg", "weight", "bias"))]
        assert len(compared) == 10, compared
        for name in compared:
            assert one[name].abs().max() > 0
            torch.testing.assert_close(two[name], one[name], atol=1e-5, rtol=1e-4)


def train_worker() -> int:
    """Return the process of a worker of Ray Train, whose raylet this process has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            trains = b"RayTrainWorker" in (folder / "cmdline").read_bytes()
            if trains and parent(parent(int(folder.name))) == os.getpid():
                return int(folder.name)
    raise AssertionError("no worker is running")


def parent(process: int) -> int:
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2]
    return int(after_name.split()[1])


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stage_that_fails_on_ray_says_why(workers: int, toy: Path, tmp_path: Path) -> None:
    """The stage's own sentence comes through a task, and through Ray Train from two workers."""
    recipe = toy_recipe(
        network__name="lenet5",
        optimiser__learning_rate=10.0,
        optimiser__weight_decay=10.0,
        schedule__segment_epochs=9,
        schedule__warmup_epochs=0,
        execution__workers=workers,
    )
    with pytest.raises(StageFailed, match="diverged in epoch"):
        list(on_ray(Store(tmp_path), where(toy))([trained(recipe, toy)]))


@pytest.mark.usefixtures("ray_here")
def test_a_runner_that_keeps_going_leaves_out_what_fails_and_all_that_needs_it(
    toy: Path, tmp_path: Path
) -> None:
    digest = Dataset.open(toy).digest
    poison = {
        "network__name": "lenet5",
        "schedule__warmup_epochs": 0,
        "optimiser__learning_rate": 10.0,
        "optimiser__weight_decay": 10.0,
        "schedule__segment_epochs": 2,
    }
    recipes = [toy_recipe(**poison), toy_recipe(schedule__segment_epochs=2)]
    wanted = [pipeline.prediction(recipe, digest, 0, "validation") for recipe in recipes]
    store = Store(tmp_path)
    with pytest.raises(StageFailed, match="diverged"):
        list(on_ray(store, where(toy))(wanted))
    metrics = list(on_ray(store, where(toy), keep_going=True)(wanted))
    assert [stage.key in store for stage in wanted] == [False, True]
    assert wanted[0].inputs["model"].key not in store
    rate = recipes[1].optimiser.learning_rate
    assert [m["epoch"] for m in metrics if m.get("learning_rate", 10) <= rate] == [1, 2, 3, 4]


def runner_that_raises(
    failure: Exception, folder: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> Runner:
    """Return a runner with `keep_going` whose every stage raises the same error of Ray."""

    async def met(*_: object, **__: object) -> AsyncIterator[object]:
        raise failure
        yield

    monkeypatch.setattr(ray_task, "start", met)
    return on_ray(Store(folder), where(toy), keep_going=True)


def test_a_runner_that_keeps_going_does_not_blame_a_recipe_for_a_lost_process(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_that_raises(ray.exceptions.NodeDiedError("gone"), tmp_path, toy, monkeypatch)
    with pytest.raises(ProcessLost, match="run the same command again"):
        list(runner([trained(toy_recipe(), toy)]))


@pytest.mark.parametrize(
    "failure", [ray.exceptions.OutOfMemoryError("much"), ray.exceptions.WorkerCrashedError()]
)
def test_a_runner_that_keeps_going_leaves_out_what_is_killed_alone_on_a_node(
    failure: Exception, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = list[bool]()
    dead = [frozenset(), frozenset({"x"}), frozenset({"x"})]

    async def killed(*_: object, alone_: list[bool] = alone, **how: bool) -> AsyncIterator[object]:
        alone_.append(how["alone"])
        raise failure
        yield

    monkeypatch.setattr(ray_task, "start", killed)
    monkeypatch.setattr(nodes, "dead_nodes", lambda: dead.pop(0))
    stage = trained(toy_recipe(), toy).inputs["split"]
    assert list(on_ray(Store(tmp_path), where(toy), keep_going=True)([stage])) == []
    assert alone == [False, False, True]
    assert dead == [{"x"}, {"x"}]

    alone.clear()
    with pytest.raises(TooLarge, match="was killed 3 times"):
        list(on_ray(Store(tmp_path), where(toy))([stage]))
    assert alone == [False, False, True, True]  # a node had died meanwhile
    assert not dead


@pytest.mark.usefixtures("ray_here")
def test_a_runner_that_keeps_going_stops_at_a_users_mistake(toy: Path, tmp_path: Path) -> None:
    stage = trained(toy_recipe(input__size=20), toy)
    with pytest.raises(InputError, match="does not divide"):
        list(on_ray(Store(tmp_path), where(toy), keep_going=True)([stage]))


@pytest.mark.usefixtures("ray_here")
def test_a_users_mistake_on_ray_is_the_users_sentence(toy: Path, tmp_path: Path) -> None:
    stage = trained(toy_recipe(input__size=20), toy)
    with pytest.raises(InputError, match="does not divide"):
        list(on_ray(Store(tmp_path), where(toy))([stage]))


@pytest.mark.usefixtures("ray_here")
def test_a_task_is_not_cancelled_within_an_import(tmp_path: Path) -> None:
    """A half-imported torch cannot be imported again: later stages of the process would fail."""
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n"
        "here = pathlib.Path(__file__).parent\n"
        "(here / 'begun').touch()\n"
        "[time.sleep(0.01) for _ in range(100)]\n"
        "(here / 'whole').touch()\n"
    )

    @ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
    def task() -> None:
        with ray_task.cancelled_between_imports():
            sys.path.insert(0, str(tmp_path))
            import slow  # type: ignore[import-not-found]  # noqa: F401

            while True:
                time.sleep(0.01)

    cancelled = task.remote()
    wait_until((tmp_path / "begun").exists)
    ray.cancel(cancelled)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(cancelled, timeout=30)
    assert (tmp_path / "whole").exists()
