"""Tests that need a GPU. They have not run on any yet."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.toy import made, toy_generators, toy_recipe, where, write_toy
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.execution.in_process import artifacts, in_process
from thyroid.networks.build import BASELINES
from thyroid.networks.registry import NETWORKS
from thyroid.stage import EpochMetrics, Stage
from thyroid.stages.compute import Compute
from thyroid.storage.store import Store

PUBLISHED = {"dcgan__normalisation": "batch", "dcgan__loss": "non_saturating"}

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


@pytest.mark.parametrize("name", [*BASELINES, "alexnet", "vgg16", "resnet18"])
def test_every_network_has_deterministic_operations_alone(name: str, tmp_path: Path) -> None:
    """Operations that are not deterministic raise. x_i takes the output of the stem, so that its
    pooling has a gradient.
    """
    larger = write_toy(tmp_path / "larger", images=48, crosses=24, size=64).folder
    changes = {"network__width": 4 if NETWORKS[name].has_width else None, "input__size": 64}
    if NETWORKS[name].residual:
        changes["network__cross_feature"] = "stem"
    first, _ = trained(larger, tmp_path / "first", network__name=name, **changes)
    second, _ = trained(larger, tmp_path / "second", network__name=name, **changes)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_ten_epochs_and_ten_more_are_twenty(toy: Path, tmp_path: Path) -> None:
    lengths = {"schedule__warmup_epochs": 0, "schedule__constant_epochs": 20}
    lengths |= {"schedule__decay_epochs": 0}
    cut, _ = trained(toy, tmp_path / "cut", **lengths, schedule__segment_epochs=10)
    whole, _ = trained(toy, tmp_path / "whole", **lengths, schedule__segment_epochs=20)
    assert all(torch.equal(cut[name], whole[name]) for name in whole)


@pytest.mark.parametrize("changes", [{}, PUBLISHED])
def test_a_dcgan_of_one_epoch_and_one_more_is_one_of_two(
    changes: dict[str, Any], toy: Path, tmp_path: Path
) -> None:
    found = []
    for segment_epochs in (1, 2):
        recipe = toy_generators(
            execution__device="cuda", dcgan__segment_epochs=segment_epochs, **changes
        )
        final = pipeline.dcgan(recipe, Dataset.open(toy).digest, 0)[-1]
        folder, _ = made(final, toy, tmp_path / str(segment_epochs))
        found.append(load_file(folder / "trained.safetensors"))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def synchronisations(stage: Stage, dataset: Path, root: Path) -> int:
    """How often this process waits for the GPU while it computes a stage whose inputs it has."""
    store = Store(root)
    list(in_process(store, where(dataset))(list(stage.inputs.values())))
    inputs, folder = artifacts(stage, store, where(dataset)), root / "out"
    folder.mkdir()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            list(stage.function()(stage.config, inputs, folder))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in told)


@pytest.mark.parametrize("kind", ["classifier", "dcgan", "srgan", "generator"])
def test_no_step_waits_for_the_gpu(kind: str, toy: Path, tmp_path: Path) -> None:
    """A stage with more steps waits as often as one with fewer."""
    counted = []
    for factor in (1, 3):
        recipe = toy_generators(
            execution__device="cuda",
            augmentation__thinning=0.5,
            optimiser__batch_size=27 // factor,
            dcgan__steps_per_epoch=3 * factor,
            srgan__steps_per_epoch=2 * factor,
            flow__steps_per_epoch=3 * factor,
            generator="flow" if kind == "generator" else "dcgan",
            mixing__synthetic_share=0.0,
            mixing__final_share=0.0,
        )
        final = getattr(pipeline, kind)(recipe, Dataset.open(toy).digest, 0)[-1]
        counted.append(synchronisations(final, toy, tmp_path / str(factor)))
    assert counted[0] == counted[1] > 0


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

    dataset = Dataset.open(toy)
    recipe = toy_recipe(execution__device="cuda", execution__workers=2)
    final = pipeline.classifier(recipe, dataset.digest, 0)[-1]
    runner = on_ray(Store(tmp_path), {dataset.digest: toy})
    together = [m for m in runner([final]) if "epoch" in m]
    _, alone = trained(toy, tmp_path / "alone")
    assert len(together) == len(alone) == 4
    np.testing.assert_allclose(losses(together), losses(alone), rtol=0.02)
