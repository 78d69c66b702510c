"""One stage on several workers, through Ray Train: DDP with NCCL on GPUs and gloo on CPUs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import ray.train
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from thyroid.distribute import tasks
from thyroid.errors import InputError, ProcessLost, StageFailed
from thyroid.execute import Datasets, artifacts, claimed, opened, recorded, reread
from thyroid.stage import EpochMetrics, Stage
from thyroid.store import Store


def execute_on_workers(stage: Stage, store: Store, datasets: Datasets) -> Iterator[EpochMetrics]:
    """`execute_unless_busy` for a stage of several workers; the metrics come at the end.

    The claim on the artifact is held here, in the process that started the workers, so that all
    of them run or none.
    """
    built = False
    if store.open(stage.key) is None:
        with claimed(stage, store) as folder:
            if folder is not None:
                built = True
                _train_again_when_lost(
                    {"stage": stage, "store": store, "datasets": datasets, "folder": folder}
                )
    for metrics in reread(opened(stage, store)):
        yield {**metrics, "reused": not built}


def _train_again_when_lost(job: dict[str, Any]) -> None:
    for _ in range(tasks.RETRIES):
        try:
            return _train(job)
        except ProcessLost:
            for path in job["folder"].iterdir():  # what was half-written
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return _train(job)


def _train(job: dict[str, Any]) -> None:
    stage: Stage = job["stage"]
    execution = stage.execution
    gpu = execution.device == "cuda"
    trainer = TorchTrainer(
        _work,
        train_loop_config=job,
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=execution.workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": execution.threads, **({"GPU": 1} if gpu else {})},
        ),
        # Ray keeps its own state there; what counts is the artifact.
        run_config=RunConfig(
            name=job["folder"].name, storage_path=str(job["store"].root.absolute() / "train")
        ),
    )
    try:
        trainer.fit()
    except ray.train.WorkerGroupError as failure:
        # The first worker's own error says more than "a worker failed".
        causes = [getattr(f, "cause", f) for f in failure.worker_failures.values()]
        for cause in causes:
            if isinstance(cause, StageFailed | InputError):
                raise cause from None
        raise ProcessLost(
            f"A worker of the {stage.kind} stage was lost; the same command goes on: {causes[0]}"
        ) from failure
    finally:
        shutil.rmtree(job["store"].root / "train" / job["folder"].name, ignore_errors=True)


def _work(job: dict[str, Any]) -> None:
    """What each worker runs: the same generator as in process; rank 0 writes the artifact."""
    stage: Stage = job["stage"]
    inputs = artifacts(stage, job["store"], job["datasets"])
    fit = stage.function()(stage.config, inputs, job["folder"])
    if ray.train.get_context().get_world_rank() == 0:
        fit = recorded(stage, fit, job["folder"])
    for metrics in fit:
        ray.train.report(metrics)
