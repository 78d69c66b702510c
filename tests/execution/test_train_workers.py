"""A stage of several workers reports while it trains, and is restarted a limited number of times.
No Ray runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train import FailureConfig, PreemptionError, WorkerGroupError
from ray.train.v2._internal.execution.failure_handling import default
from ray.train.v2._internal.execution.failure_handling.failure_policy import FailureDecision
from ray.train.v2.api.preemption import PreemptionInfo

from tests.toy import toy_recipe, where
from thyroid import pipeline
from thyroid.errors import InputError, ProcessLost, StageFailed, StorageError
from thyroid.execution import ray_task, stage_scheduler, train_workers
from thyroid.execution.in_process import INBOX, in_process
from thyroid.execution.lost_processes import RETRIES
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Store

DRAINED = PreemptionError(PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"node": [1]}))


class Trainer:
    """Replaces Ray's trainer by one whose machine is always lost."""

    configs: list[FailureConfig]

    def __init__(self, *_: object, run_config: Any, **__: object) -> None:
        self.configs.append(run_config.failure_config)

    def fit(self) -> None:
        """Do what Ray does when it does not restart."""
        raise DRAINED


@pytest.fixture
def stage(toy: Path) -> Stage:
    (digest,) = where(toy)
    return pipeline.classifier(toy_recipe(execution__workers=2), digest, 0)[0]


def test_several_workers_are_heard_while_they_train(
    stage: Stage, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[EpochMetrics] = []
    epochs = [{"stage": "classifier", "epoch": n, "reused": False} for n in (1, 2, 3)]

    async def answer(given: Any) -> Any:
        return given

    inbox = train_workers._Inbox.__ray_metadata__.modified_class(tmp_path)
    for position in (0, 0, 1):  # a worker was lost in the first epoch, which was trained again
        inbox.note(epochs[position])
    handle = SimpleNamespace(notes=SimpleNamespace(remote=lambda known: answer(inbox.notes(known))))

    async def start(*_: object, **__: object) -> AsyncIterator[Awaitable[Any]]:
        yield answer(ray_task.STARTED)
        yield answer({INBOX: handle})
        while len(heard) < 2:  # nothing has come through the task yet
            await asyncio.sleep(0.01)
        for each in epochs:
            yield answer(each)
        yield answer(ray_task.FINISHED)

    monkeypatch.setattr(ray_task, "start", start)
    monkeypatch.setattr(stage_scheduler, "FOLLOW_S", 0.01)
    store = Store(tmp_path / "store")
    list(in_process(store, where(toy))([stage.inputs["split"]]))
    scheduler = stage_scheduler.StageScheduler(store, where(toy), on_metrics=heard.append)
    asyncio.run(asyncio.wait_for(scheduler.request([stage], "a"), 30))
    assert heard == epochs


@pytest.mark.parametrize("failure", [InputError("20 is odd."), StageFailed("It diverged.")])
def test_the_sentence_of_a_worker_is_that_of_the_stage(
    failure: Exception,
    stage: Stage,
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The user's mistake or the stage's failure is raised, not that the other worker lost its peer,
    and nothing is tried again. `test_ray_task.py` has a stage that fails on two workers of Ray.
    """
    fits: list[object] = []

    def fit(trainer: Trainer) -> None:
        fits.append(trainer)
        raise WorkerGroupError("two", {0: RuntimeError("Connection closed by peer"), 1: failure})

    monkeypatch.setattr(train_workers, "TorchTrainer", type("Failing", (Trainer,), {"fit": fit}))
    monkeypatch.setattr(train_workers, "dead_nodes", frozenset)
    monkeypatch.setattr(train_workers, "_inbox", contextlib.nullcontext)
    Trainer.configs = []
    with pytest.raises(type(failure)) as raised:
        list(train_workers.execute_on_workers(stage, Store(tmp_path), toy, {}))
    assert raised.value is failure
    assert len(fits) == 1


@pytest.mark.parametrize(
    ("kept", "trainings"),
    [
        ([0] * 9, RETRIES + 1),
        ([0, 0, 1, 1, 2, *[2] * 9], 5 + RETRIES),  # losses count from the last epoch that was kept
    ],
)
def test_a_drained_machine_ends_the_stage_after_our_retries_and_not_rays(
    kept: list[int],
    trainings: int,
    stage: Stage,
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Trainer.configs = []
    done = iter(kept)
    inbox = SimpleNamespace(close=SimpleNamespace(remote=lambda _: next(done)))
    monkeypatch.setattr(train_workers, "TorchTrainer", Trainer)
    monkeypatch.setattr(train_workers, "dead_nodes", frozenset)
    monkeypatch.setattr(train_workers, "_inbox", lambda _: contextlib.nullcontext(inbox))
    monkeypatch.setattr(train_workers, "ray", SimpleNamespace(get=lambda value: value))
    with pytest.raises(ProcessLost, match="run the same command again"):
        list(train_workers.execute_on_workers(stage, Store(tmp_path), toy, {}))
    assert len(Trainer.configs) == trainings
    for config in Trainer.configs:
        decision = default.DefaultFailurePolicy(config).make_decision(DRAINED)
        assert decision is FailureDecision.RAISE


def test_a_full_disk_leaves_the_artifact_as_the_last_epoch_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = train_workers._Inbox.__ray_metadata__.modified_class(tmp_path)
    first = {"weights": b"of epoch 1", "sheets/1.png": b"picture"}
    inbox.keep(0, 1, first)
    assert inbox.kept() == (1, first)
    written = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "optimiser":
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="Cannot write"):
        inbox.keep(0, 2, {"weights": b"of epoch 2", "optimiser": b"of epoch 2"})
    assert inbox.kept() == (1, first)


def test_what_a_lost_worker_has_sent_comes_too_late(tmp_path: Path) -> None:
    """All workers of the next attempt continue from the same epoch."""
    inbox = train_workers._Inbox.__ray_metadata__.modified_class(tmp_path)
    inbox.keep(0, 1, {"weights": b"of epoch 1"})
    assert inbox.close(0) == 1
    inbox.keep(0, 2, {"weights": b"of epoch 2"})
    assert inbox.kept() == (1, {"weights": b"of epoch 1"})
    inbox.keep(1, 2, {"weights": b"of epoch 2"})
    assert inbox.kept() == (2, {"weights": b"of epoch 2"})
