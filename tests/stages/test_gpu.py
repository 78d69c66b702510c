"""Tests that need a GPU. They have not run on any yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.toy import made, toy_generators, toy_recipe, write_toy
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.stage import EpochMetrics
from thyroid.stages.compute import Compute

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def trained(
    dataset: Path, root: Path, **changes: Any
) -> tuple[dict[str, Tensor], list[EpochMetrics]]:
    """Weights and metrics of the toy's classifier."""
    recipe = toy_recipe(**{"execution__device": "cuda"} | changes)
    final = pipeline.classifier(recipe, Dataset.open(dataset).digest, 0)[-1]
    folder, metrics = made(final, dataset, root)
    return load_file(folder / "model.safetensors"), metrics


def losses(metrics: list[EpochMetrics]) -> list[float]:
    return [m["train_loss"] for m in metrics]


def test_the_same_key_has_the_same_bits(toy: Path, tmp_path: Path) -> None:
    first, _ = trained(toy, tmp_path / "first", augmentation__thinning=0.5)
    second, _ = trained(toy, tmp_path / "second", augmentation__thinning=0.5)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_gpu_learns_what_a_processor_learns(toy: Path, tmp_path: Path) -> None:
    _, there = trained(toy, tmp_path, execution__device="cpu")
    _, here = trained(toy, tmp_path)
    np.testing.assert_allclose(losses(here), losses(there), rtol=0.02)


def test_images_that_come_from_the_disk_through_locked_memory_are_the_same(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, _ = trained(toy, tmp_path / "held")
    monkeypatch.setattr(Compute, "holds", lambda self, size_bytes: False)
    mapped, _ = trained(toy, tmp_path / "mapped")
    assert all(torch.equal(held[name], mapped[name]) for name in held)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cuda_graphs_learn_the_same(toy: Path, tmp_path: Path, precision: str) -> None:
    _, eager = trained(toy, tmp_path, execution__precision=precision)
    _, graphs = trained(toy, tmp_path, execution__precision=precision, network__compile="on")
    np.testing.assert_allclose(losses(graphs), losses(eager), rtol=0.05)


def test_generators_and_what_they_make_reach_the_classifier(tmp_path: Path) -> None:
    crossed = write_toy(tmp_path / "crossed", crosses=24).folder
    recipe = toy_generators(
        execution__device="cuda",
        cross__order="retrain",
        cross__epochs=2,
        cross__superposed=0.3,
        cross__synthetic=0.3,
    )
    final = pipeline.classifier(recipe, Dataset.open(crossed).digest, 0)[-1]
    _, metrics = made(final, crossed, tmp_path / "store")
    assert np.isfinite(losses(metrics)).all()


@pytest.mark.usefixtures("ray_here")
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="NCCL takes two GPUs")
def test_two_gpus_share_a_training_through_nccl(toy: Path, tmp_path: Path) -> None:
    from thyroid.execution.stage_scheduler import on_ray
    from thyroid.storage.store import Store

    dataset = Dataset.open(toy)
    recipe = toy_recipe(execution__device="cuda", execution__workers=2)
    final = pipeline.classifier(recipe, dataset.digest, 0)[-1]
    runner = on_ray(Store(tmp_path), {dataset.digest: toy})
    together = [m for m in runner([final]) if "epoch" in m]
    _, alone = trained(toy, tmp_path / "alone")
    assert len(together) == len(alone) == 4
    assert losses(together)[0] == pytest.approx(losses(alone)[0], rel=0.3)
