"""One stage on several workers, through Ray Train: DDP with NCCL on GPUs and gloo on CPUs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray.train
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from thyroid.errors import StageFailed
from thyroid.execute import artifacts, opened, recorded, reread
from thyroid.pipeline import EpochMetrics, Stage
from thyroid.store import Store


def execute_on_workers(stage: Stage, store: Store, dataset: Path) -> Iterator[EpochMetrics]:
    """`thyroid.execute.execute` for a stage of several workers; the metrics come at the end.

    The claim on the artifact is held here, in the process that started the workers, so that all
    of them run or none.
    """
    found = store.open(stage.key)
    if found is None:
        with store.building(stage.key, stage.about) as folder:
            if folder is not None:
                _train(stage, artifacts(stage, store, dataset), folder, store)
        found = opened(stage, store)
        for metrics in reread(found):
            yield {**metrics, "reused": False}
        return
    yield from reread(found)


def _train(stage: Stage, inputs: dict[str, Path], folder: Path, store: Store) -> None:
    execution = stage.execution
    gpu = execution.device == "cuda"
    trainer = TorchTrainer(
        _work,
        train_loop_config={"stage": stage, "inputs": inputs, "folder": folder},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=execution.workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": execution.threads, **({"GPU": 1} if gpu else {})},
        ),
        # Ray resumes from what it finds under this name; our artifacts are the checkpoints.
        run_config=RunConfig(name=folder.name, storage_path=str(store.root.absolute() / "train")),
    )
    try:
        trainer.fit()
    except ray.train.WorkerGroupError as failure:
        # The first worker's own error says more than "a worker failed".
        cause = next(iter(failure.worker_failures.values()), failure)
        cause = getattr(cause, "cause", cause)
        raise (
            cause
            if isinstance(cause, StageFailed)
            else StageFailed(f"A worker of the {stage.kind} stage failed: {cause}")
        ) from failure


def _work(job: dict[str, Any]) -> None:
    """What each worker runs: the same generator as in process; rank 0 writes the artifact."""
    stage: Stage = job["stage"]
    fit = stage.function()(stage.config, job["inputs"], job["folder"])
    if ray.train.get_context().get_world_rank() == 0:
        fit = recorded(stage, fit, job["folder"])
    for metrics in fit:
        ray.train.report(metrics)
