"""A stage on several workers, through Ray Train: DDP with NCCL on GPUs and gloo on CPUs."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
from ray.train import (
    ControllerError,
    FailureConfig,
    PreemptionError,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.train.torch import TorchConfig, TorchTrainer

from thyroid.errors import InputError, ProcessLost, StageFailed
from thyroid.execution.in_process import INBOX, artifacts, claimed, opened, recorded, reread
from thyroid.execution.lost_processes import RETRIES, too_large
from thyroid.execution.nodes import dead_nodes, on_this_node
from thyroid.execution.transfer import Absent, Transfers, here
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Store

NOT_THE_STAGE = (ControllerError, PreemptionError)
"""Ray's errors for a training that ended without a fault of its workers."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The configuration that every worker gets."""

    stage: Stage
    store: Store
    path: Path
    transfers: Transfers
    folder: Path
    """The artifact's folder on the machine that started the trainer; others may not see it."""
    inbox: Any
    """Handle of the `_Inbox` that has the metrics, and writes into the folder for workers that do
    not see it."""


def execute_on_workers(
    stage: Stage, store: Store, path: Path, transfers: Transfers
) -> Iterator[EpochMetrics]:
    """Act as `execute_unless_busy` for a stage of several workers.

    This process, which starts the workers, holds the claim on the artifact. It yields metrics when
    they have finished, but first `{INBOX: ...}`, the handle of an actor whose `notes` has those of
    the epochs so far.

    Parameters
    ----------
    path, transfers : the data set, as for `transfer.here`
    """
    built = False
    if store.open(stage.key) is None:
        with claimed(stage, store) as folder:
            if folder is not None:
                built = True
                with _inbox(folder) as inbox:
                    yield {INBOX: inbox}
                    _train_again_when_lost(
                        _Job(
                            stage=stage,
                            store=store,
                            path=path,
                            transfers=transfers,
                            folder=folder,
                            inbox=inbox,
                        )
                    )
    for metrics in reread(opened(stage, store)):
        yield {**metrics, "reused": not built}


def _train_again_when_lost(job: _Job) -> None:
    dead = dead_nodes()
    for _ in range(RETRIES):
        try:
            return _train(job)
        except ProcessLost:
            for path in job.folder.iterdir():  # unfinished files
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    try:
        return _train(job)
    except ProcessLost as lost:
        cause = lost.__cause__
        if dead_nodes() != dead or cause is None or isinstance(cause, NOT_THE_STAGE):
            raise
        if isinstance(cause, TrainingFailedError):
            raise too_large() from None
        raise cause from None


def _train(job: _Job) -> None:
    execution = job.stage.execution
    gpu = execution.device == "cuda"
    with tempfile.TemporaryDirectory() as scratch:  # Ray's state; the result is the artifact
        trainer = TorchTrainer(
            _work,
            train_loop_config={"job": job},
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=execution.workers,
                use_gpu=gpu,
                resources_per_worker={"CPU": execution.threads, **({"GPU": 1} if gpu else {})},
            ),
            run_config=RunConfig(
                name=job.folder.name,
                storage_path=scratch,
                # `_train_again_when_lost` counts: Ray would start again without limit when a
                # machine is taken away with notice.
                failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as failure:
            # The first worker's own error says more than "a worker failed".
            failures = getattr(failure, "worker_failures", {}).values()
            causes = [getattr(f, "cause", f) for f in failures] or [failure]
            for cause in causes:
                if isinstance(cause, StageFailed | InputError | Absent):
                    raise cause from None
            died = any(type(cause).__module__.startswith("ray.") for cause in causes)
            raise ProcessLost(
                f"A worker of the {job.stage.kind} stage was lost; run the same command again: "
                f"{causes[0]}"
            ) from (failure if died else causes[0])  # the latter may be a lost connection, too


def _work(config: dict[str, _Job]) -> None:
    """Run the stage's generator in one worker; rank 0 writes the artifact."""
    job = config["job"]
    inputs = artifacts(job.stage, job.store, here(job.stage, job.path, job.transfers))
    with tempfile.TemporaryDirectory() as own:
        folder = job.folder if job.folder.is_dir() else Path(own)
        fit = job.stage.function()(job.stage.config, inputs, folder)
        first = ray.train.get_context().get_world_rank() == 0
        if first:
            fit = recorded(job.stage, fit, folder)
        for position, metrics in enumerate(fit):
            if first:
                job.inbox.note.remote(position, metrics)
            ray.train.report(metrics)
        if first and folder != job.folder:
            for path in filter(Path.is_file, folder.rglob("*")):
                name = path.relative_to(folder).as_posix()
                ray.get(job.inbox.put.remote(name, path.read_bytes()))


@ray.remote(num_cpus=0)
class _Inbox:
    """Takes metrics, and writes files into a folder that other machines do not see."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes: dict[int, EpochMetrics] = {}

    def note(self, position: int, metrics: EpochMetrics) -> None:
        """Take what a stage yields; when it is trained again, that is the same again."""
        self._notes.setdefault(position, metrics)

    def notes(self, known: int) -> list[EpochMetrics]:
        """Return the metrics after the first so many."""
        return list(self._notes.values())[known:]

    def put(self, name: str, content: bytes) -> None:
        """Write a file."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@contextlib.contextmanager
def _inbox(folder: Path) -> Iterator[Any]:
    """Run an `_Inbox` on this machine within the block."""
    inbox: Any = _Inbox.options(scheduling_strategy=on_this_node()).remote(folder)  # type: ignore[attr-defined]
    try:
        yield inbox
    finally:
        ray.kill(inbox)
