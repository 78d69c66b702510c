"""Speed of the real SRGAN stage, compared with bare steps of the same networks and losses."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from tests.toy import made, write_toy
from thyroid import machine, pipeline
from thyroid.data.dataset import Dataset
from thyroid.networks.build import build
from thyroid.networks.resnet import ResNet
from thyroid.networks.srgan import ClassifierFeatures, Discriminator, Upscaler
from thyroid.recipe import NetworkConfig, Recipe, override
from thyroid.stages.compute import start
from thyroid.stages.train_srgan import pixel_loss, relative_error

EPOCHS, STEPS = 3, 15


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """300 images of 64x64."""
    return write_toy(tmp_path_factory.mktemp("speed") / "data", images=300, size=64)


@pytest.mark.parametrize("part", ["pixel", "adversarial"])
def test_an_epoch_costs_little_more_than_its_forward_and_backward(
    part: str, dataset: Dataset, tmp_path: Path, benchmark: BenchmarkFixture
) -> None:
    recipe = override(
        Recipe(),
        {
            "srgan.pixel_epochs": EPOCHS if part == "pixel" else 1,
            "srgan.adversarial_epochs": EPOCHS if part == "adversarial" else 0,
            "srgan.steps_per_epoch": STEPS,
            "label_filter.warmup_epochs": 0,
            "label_filter.constant_epochs": 1,
            "label_filter.decay_epochs": 0,
        },
    )
    recipe = replace(recipe, execution=machine.resolve(recipe.execution))
    bare = _bare_images_per_second(recipe, part)
    final = pipeline.srgan(recipe, dataset.digest, 0)[-1]

    def train() -> float:
        _, metrics = made(final, dataset.folder, tmp_path)
        return float(max(m["images_per_second"] for m in metrics if m["part"] == part))

    rate = benchmark.pedantic(train, rounds=1)
    bare = max(bare, _bare_images_per_second(recipe, part))
    benchmark.extra_info |= {"images_per_second": rate, "ratio_to_bare": rate / bare}
    print(f"\nSRGAN, {part}: {rate:.0f} images/s, bare {bare:.0f}, ratio {rate / bare:.2f}")
    assert rate / bare >= 0.9


def _bare_images_per_second(recipe: Recipe, part: str) -> float:
    """The best of some epochs of the same steps on fixed tensors, after a warm-up."""
    on, gan = start(recipe.execution), recipe.srgan
    upscaler = on.place(Upscaler(gan.scale, gan.width, gan.blocks))
    discriminator = on.place(Discriminator(gan.width // 4))
    judge = build(NetworkConfig(name="resnet_small"), 7)
    assert isinstance(judge, ResNet)
    features = on.place(ClassifierFeatures(judge)).eval().requires_grad_(False)
    enlarging, judging = (
        torch.optim.Adam(network.parameters(), lr=1e-6, fused=True)
        for network in (upscaler, discriminator)
    )
    side = recipe.input.size * 7 // 8  # of the crops
    target = torch.poisson(torch.full((gan.batch_size, side, side), 20.0))
    low = torch.poisson(torch.full((gan.batch_size, side // 2, side // 2), 80.0))
    shown = target.sqrt().unsqueeze(1) / 4

    def verdict(counts: Tensor, low: Tensor) -> Tensor:
        with on.autocast():
            found: Tensor = discriminator(counts, low)
        return found.float()

    def step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()

    best = 0.0
    for repeat in range(1 + EPOCHS):
        began = time.perf_counter()
        for _ in range(STEPS):
            with on.autocast():
                activity = upscaler(low)
            loss = pixel_loss(activity, target)
            if part == "adversarial":
                both = torch.cat([target, 20 * activity.detach()])
                found = verdict(both, torch.cat([low, low]))
                step(judging, F.softplus(found).mean())
                discriminator.requires_grad_(False)
                loss = loss + F.softplus(-verdict(20 * activity, low)).mean()
                discriminator.requires_grad_(True)
                with on.autocast():
                    seen, wanted = features(activity.unsqueeze(1)), features(shown)
                loss = loss + relative_error(seen.float(), wanted.float(), on)
            step(enlarging, loss)
        if repeat:
            best = max(best, gan.batch_size * STEPS / (time.perf_counter() - began))
    return best
