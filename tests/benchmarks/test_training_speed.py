"""An epoch of the real classifier stage against the same network's bare forward and backward."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture

from tests.toy import write_toy
from thyroid import machine, pipeline
from thyroid.data.dataset import Dataset
from thyroid.execute import in_process
from thyroid.networks.registry import build
from thyroid.recipe import RECIPES, Recipe, override
from thyroid.stages.compute import start
from thyroid.store import Store

EPOCHS = 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """600 images of 128x128."""
    return write_toy(tmp_path_factory.mktemp("speed") / "data", images=600, size=128)


@pytest.mark.parametrize(
    ("name", "thinning", "floor"),
    # thinning draws a binomial number per pixel, which a small network does not hide
    [("small", 0.0, 0.9), ("resnet18", 0.0, 0.9), ("small", 0.5, 0.8), ("resnet18", 0.5, 0.8)],
)
def test_an_epoch_costs_little_more_than_its_forward_and_backward(
    name: str,
    thinning: float,
    floor: float,
    dataset: Dataset,
    tmp_path: Path,
    benchmark: BenchmarkFixture,
) -> None:
    recipe = override(
        RECIPES[name](),
        {
            "augmentation.thinning": thinning,
            "schedule.warmup_epochs": 0,
            "schedule.constant_epochs": EPOCHS,
            "schedule.decay_epochs": 0,
        },
    )
    recipe = replace(recipe, execution=machine.resolve(recipe.execution))
    bare = _bare_images_per_second(recipe)
    where = {dataset.digest: dataset.folder}
    final = pipeline.classifier(recipe, dataset.digest, 0)[-1]

    def train() -> float:
        epochs = [m for m in in_process(Store(tmp_path), where)([final]) if "epoch" in m]
        return float(max(m["images_per_second"] for m in epochs))

    rate = benchmark.pedantic(train, rounds=1)
    bare = max(bare, _bare_images_per_second(recipe))
    benchmark.extra_info |= {"images_per_second": rate, "ratio_to_bare": rate / bare}
    print(
        f"\n{name}, thinning {thinning}: {rate:.0f} images/s, bare forward and backward "
        f"{bare:.0f}, ratio {rate / bare:.2f}"
    )
    assert rate / bare >= floor


def _bare_images_per_second(recipe: Recipe, images: int = 360) -> float:
    """The best of some runs as long as an epoch of the 360 training images, after a warm-up."""
    on = start(recipe.execution)
    network = on.place(build(recipe.network, 7)).train()
    batch = recipe.optimiser.batch_size
    batches = images // batch
    shape = (batch, 1, recipe.input.size, recipe.input.size)
    x = torch.rand(shape).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(np.arange(batch) % 7)
    best = 0.0
    for repeat in range(1 + EPOCHS // 2):
        began = time.perf_counter()
        for _ in range(batches):
            with on.autocast():
                logits = network(x)
            torch.autograd.backward(F.cross_entropy(logits.float(), labels))
            network.zero_grad()
        if repeat:
            best = max(best, batch * batches / (time.perf_counter() - began))
    return best
