"""An epoch of the real classifier stage against the same network's bare forward and backward."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.toy import write_toy
from thyroid import machine, pipeline
from thyroid.data.dataset import Dataset
from thyroid.execute import in_process
from thyroid.networks.registry import build
from thyroid.recipe import Recipe, override
from thyroid.stages.compute import start
from thyroid.store import Store


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """1,000 images of 128x128."""
    return write_toy(tmp_path_factory.mktemp("speed") / "data", images=1000, size=128)


def recipe_of(name: str, size: int, thinning: float) -> Recipe:
    recipe = override(
        Recipe(),
        {
            "network.name": name,
            "input.size": size,
            "augmentation.thinning": thinning,
            "schedule.warmup_epochs": 0,
            "schedule.constant_epochs": 3,
            "schedule.decay_epochs": 0,
        },
    )
    return override(recipe, {"execution": vars(machine.resolve(recipe.execution))})


@pytest.mark.parametrize(
    ("name", "size", "thinning"),
    [("resnet_small", 64, 0.0), ("resnet_small", 64, 0.5), ("resnet18", 64, 0.5)],
)
def test_an_epoch_costs_little_more_than_its_forward_and_backward(
    name: str, size: int, thinning: float, dataset: Dataset, tmp_path: Path, benchmark: Callable
) -> None:
    recipe = recipe_of(name, size, thinning)
    bare = _bare_images_per_second(recipe)
    where = {dataset.digest: dataset.folder}
    final = pipeline.classifier(recipe, dataset.digest, 0)[-1]

    def train() -> list[float]:
        metrics = list(in_process(Store(tmp_path / str(time.time_ns())), where)([final]))
        return [m["images_per_second"] for m in metrics if "epoch" in m]

    rates = benchmark.pedantic(train, rounds=1)
    again = _bare_images_per_second(recipe)
    ratio = max(rates) / max(bare, again)
    benchmark.extra_info |= {"images_per_second": max(rates), "ratio_to_bare": ratio}
    print(
        f"\n{name} {size} px, thinning {thinning}: {max(rates):.0f} images/s, "
        f"bare {bare:.0f} and {again:.0f}, ratio {ratio:.2f}"
    )
    assert ratio >= 0.9


def _bare_images_per_second(recipe: Recipe, batches: int = 12) -> float:
    """The best of three runs of some batches, after a warm-up."""
    on = start(recipe.execution)
    network = on.place(build(recipe.network, 7)).train()
    batch = recipe.optimiser.batch_size
    shape = (batch, 1, recipe.input.size, recipe.input.size)
    x = torch.rand(shape).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(np.arange(batch) % 7)
    best = 0.0
    for repeat in range(4):
        began = time.perf_counter()
        for _ in range(batches):
            with on.autocast():
                logits = network(x)
            torch.autograd.backward(F.cross_entropy(logits.float(), labels))
            network.zero_grad()
        if repeat:
            best = max(best, batch * batches / (time.perf_counter() - began))
    return best
