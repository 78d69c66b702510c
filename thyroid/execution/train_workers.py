"""A stage on several workers, through Ray Train: DDP with NCCL on GPUs and gloo on CPUs.

After each epoch the first worker sends the artifact so far to the machine that holds the claim.
When a worker is lost, all workers start again and continue from there. Ray's own checkpoints would
need a folder that all machines share, and the store need not be one. Elastic training, where fewer
workers continue, is not used: the number of workers is in the stage's key, because it changes the
order in which sums are rounded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
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
from thyroid.execution.in_process import (
    INBOX,
    artifacts,
    claimed,
    opened,
    recorded,
    reread,
)
from thyroid.execution.lost_processes import RETRIES, too_large
from thyroid.execution.nodes import dead_nodes, on_this_node
from thyroid.execution.transfer import Absent, Transfers, here
from thyroid.files import cannot_write
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Store

NOT_THE_STAGE = (ControllerError, PreemptionError)
"""Ray's errors for a training that ended although its workers made no error."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The configuration that every worker gets."""

    stage: Stage
    store: Store
    path: Path
    transfers: Transfers
    name: str
    """The training's name in Ray Train."""
    inbox: Any
    """Handle of the `_Inbox` on the machine that started the trainer."""
    attempt: int = 0


def execute_on_workers(
    stage: Stage, store: Store, path: Path, transfers: Transfers
) -> Iterator[EpochMetrics]:
    """Act like `execute_unless_busy` for a stage of several workers.

    This process starts the workers and holds the claim on the artifact. It first yields
    `{INBOX: ...}`, the handle of an actor whose `notes` returns the metrics of the epochs so far,
    and yields all metrics when the workers have finished.

    Parameters
    ----------
    path, transfers : the data set; see `transfer.here`
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
                            name=folder.name,
                            inbox=inbox,
                        )
                    )
    for metrics in reread(opened(stage, store)):
        yield {**metrics, "reused": not built}


def _train_again_when_lost(job: _Job) -> None:
    """Train, and start again when a worker is lost, unless that happens too often in one epoch."""
    dead = dead_nodes()
    done, losses = 0, 0
    for attempt in itertools.count():
        try:
            return _train(dataclasses.replace(job, attempt=attempt))
        except ProcessLost as lost:
            before, done = done, ray.get(job.inbox.close.remote(attempt))
            losses = 1 if done > before else losses + 1
            if losses <= RETRIES:
                continue
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
                name=job.name,
                storage_path=scratch,
                # `_train_again_when_lost` limits the restarts: Ray would restart without limit
                # when a machine is taken away with notice.
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
            ) from (failure if died else causes[0])  # causes[0] may also be a lost connection


def _work(config: dict[str, _Job]) -> None:
    """Run the stage's generator in one worker, starting after the last epoch that was kept."""
    job = config["job"]
    stage = job.stage
    inputs = artifacts(stage, job.store, here(stage, job.path, job.transfers))
    with tempfile.TemporaryDirectory() as own:
        folder = Path(own)
        done, kept = ray.get(job.inbox.kept.remote())
        if done:
            _write(folder, kept)
            inputs["previous"] = folder
        rest = dataclasses.replace(
            stage.config,
            first_epoch=stage.config.first_epoch + done,
            epochs=stage.config.epochs - done,
        )
        fit = stage.function()(rest, inputs, folder)
        first = ray.train.get_context().get_world_rank() == 0
        if first:
            fit = recorded(stage, fit, folder)
        for epochs, metrics in enumerate(fit, start=done + 1):
            if first:
                job.inbox.note.remote(metrics)
                ray.get(job.inbox.keep.remote(job.attempt, epochs, _files(folder)))
            ray.train.report(metrics)


_Files = dict[str, bytes]
"""The content of files, by their paths within a folder."""


def _files(folder: Path) -> _Files:
    paths = filter(Path.is_file, folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _write(folder: Path, files: _Files) -> None:
    """Write all new files before replacing any old one: a full disk leaves the old files intact."""
    with tempfile.TemporaryDirectory(dir=folder) as unfinished, cannot_write(folder):
        for part in (Path(unfinished), folder):
            for name in files:
                (part / name).parent.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (Path(unfinished) / name).write_bytes(content)
        for name in files:
            os.replace(Path(unfinished) / name, folder / name)


@ray.remote(num_cpus=0)
class _Inbox:
    """Receives from several workers, after each epoch, its metrics and the artifact so far."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes: list[EpochMetrics] = []
        self._done = 0
        self._closed: set[int] = set()

    def note(self, metrics: EpochMetrics) -> None:
        """Add the metrics of an epoch, unless an earlier attempt trained it and they are known."""
        if metrics["epoch"] not in {known["epoch"] for known in self._notes}:
            self._notes.append(metrics)

    def notes(self, known: int) -> list[EpochMetrics]:
        """Return the metrics of all epochs except the first `known`."""
        return self._notes[known:]

    def keep(self, attempt: int, epochs: int, files: _Files) -> None:
        """Write the artifact as it is after this number of the stage's epochs."""
        if attempt not in self._closed:
            _write(self._folder, files)
            self._done = epochs

    def close(self, attempt: int) -> int:
        """Accept no more from an attempt's workers; return the number of epochs kept so far.

        Data of a lost worker may arrive late; if they were accepted, the workers of the next
        attempt would not all continue from the same epoch.
        """
        self._closed.add(attempt)
        return self._done

    def kept(self) -> tuple[int, _Files]:
        """Return the number of epochs kept so far, and the artifact after the last of them."""
        return self._done, _files(self._folder)


@contextlib.contextmanager
def _inbox(folder: Path) -> Iterator[Any]:
    """Run an `_Inbox` on this machine within the block."""
    inbox: Any = _Inbox.options(scheduling_strategy=on_this_node()).remote(folder)  # type: ignore[attr-defined]
    try:
        yield inbox
    finally:
        ray.kill(inbox)
