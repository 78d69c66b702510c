"""Computing a stage in this process: its artifact is found in the store by its key, or made."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from thyroid import progress
from thyroid.data.dataset import Dataset
from thyroid.errors import Diverged, StorageError, Vanished
from thyroid.files import cannot_write, sha256_of
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Busy, Store

METRICS = "metrics.jsonl"

INBOX = "inbox"
"""Key, in the yielded metrics, of the actor that collects the metrics of several workers during
their training."""

Datasets = Mapping[str, Path]
"""Paths of data sets and of the user's weights files, by their digests."""

Runner = Callable[[Sequence[Stage]], Iterator[EpochMetrics]]
"""Makes the artifacts of some stages and of all stages that they need, and yields metrics."""


def in_process(store: Store, datasets: Datasets) -> Runner:
    """Return a runner that computes one stage after the other in this process."""

    def run(wanted: Sequence[Stage]) -> Iterator[EpochMetrics]:
        done: set[str] = set()
        for stage in wanted:
            for step in stage.lineage():
                if step.key not in done:
                    done.add(step.key)
                    yield from execute(step, store, datasets)

    return run


def bring_about(wanted: Sequence[Stage], runner: Runner, *, then: str = "") -> None:
    """Make the artifacts of `wanted` and of all stages they need, and show a progress bar.

    `then` is said when all epochs are done, if they took a while: what follows has no progress bar.
    """
    total, began = _epochs(wanted), time.monotonic()
    with progress.bar("training", "epochs") as advance:
        done = 0
        for metrics in runner(wanted):
            if "epoch" in metrics:
                done += 1
                advance(done, total)
                if then and done == total and time.monotonic() - began > progress.PLAIN_INTERVAL_S:
                    progress.say(then)


def _epochs(wanted: Sequence[Stage]) -> int:
    """Count the epochs of all stages that `wanted` needs."""
    stages = {stage.key: stage for final in wanted for stage in final.lineage()}
    return sum(getattr(stage.config, "epochs", 0) for stage in stages.values())


def execute(stage: Stage, store: Store, datasets: Datasets) -> Iterator[EpochMetrics]:
    """Make one stage's artifact from inputs that the store has, yielding each epoch's metrics.

    If the artifact exists, its metrics are read and yielded with `reused` true. While another
    process makes it, this process waits.

    Parameters
    ----------
    stage : a stage whose inputs have been executed
    store : holds the artifacts
    datasets : paths of data sets

    Raises
    ------
    InputError
        When the data set or the store cannot be used.
    StageFailed
        When the stage cannot finish.
    """
    while True:
        try:
            yield from execute_unless_busy(stage, store, datasets)
            return
        except Busy:
            store.wait(stage.key)


def execute_unless_busy(stage: Stage, store: Store, datasets: Datasets) -> Iterator[EpochMetrics]:
    """Act like `execute`, but raise `Busy` instead of waiting.

    Raises
    ------
    Busy
        Before anything is yielded, when another process makes the artifact.
    """
    found = store.open(stage.key)
    if found is None:
        with claimed(stage, store) as folder:
            if folder is not None:
                fit = stage.function()(stage.config, artifacts(stage, store, datasets), folder)
                yield from recorded(stage, fit, folder)
                return
        found = opened(stage, store)
    yield from reread(found)


@contextlib.contextmanager
def claimed(stage: Stage, store: Store) -> Iterator[Path | None]:
    """Wrap `store.building` so that a stage that diverged is not computed again.

    Raises
    ------
    Diverged
        Also when the stage diverged before.
    """
    reason = store.failure(stage.key)
    if reason is not None:
        raise Diverged(reason)
    try:
        with store.building(stage.key, stage.about) as folder:
            yield folder
    except Diverged as failure:
        store.fail(stage.key, str(failure))
        raise


def artifacts(stage: Stage, store: Store, datasets: Datasets) -> dict[str, Path]:
    """Return the folders that the stage's function reads, by the names of its inputs.

    Raises
    ------
    StorageError
        When the data set has changed since the stage's key was computed.
    """
    dataset = datasets[stage.dataset]
    is_file = dataset.is_file()  # weights
    digest = sha256_of(dataset) if is_file else Dataset.open(dataset, verify=False).digest
    if digest != stage.dataset:
        raise StorageError(f"{dataset} was changed while it was in use: choose another run folder.")
    inputs = {name: opened(upstream, store) for name, upstream in stage.inputs.items()}
    return {"dataset": dataset, **inputs}


def recorded(stage: Stage, fit: Iterator[EpochMetrics], folder: Path) -> Iterator[EpochMetrics]:
    """Yield the metrics of `fit`; each is first written to the artifact's folder."""
    with cannot_write(folder), (folder / METRICS).open("a", buffering=1) as file:
        for metrics in fit:
            line = {"stage": stage.kind, **metrics}
            file.write(json.dumps(line) + "\n")
            yield {**line, "reused": False}


def reread(folder: Path) -> Iterator[EpochMetrics]:
    """Yield the metrics of the stage that made an artifact, read from its folder."""
    for line in (folder / METRICS).read_text().splitlines():
        yield {**json.loads(line), "reused": True}


def opened(stage: Stage, store: Store) -> Path:
    """Return the folder of the artifact of a stage that has been executed.

    Raises
    ------
    Vanished
        When the artifact was deleted or damaged in the meantime.
    """
    folder = store.open(stage.key)
    if folder is None:
        raise Vanished(
            f"The {stage.kind} artifact {stage.key[:12]} vanished from {store.place} while it was "
            "needed: run the same command again."
        )
    return folder
