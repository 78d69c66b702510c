"""The SRGAN stage: its losses, better than bicubic, errors as sentences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.toy import like, made, toy_generators, write_toy
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import StageFailed
from thyroid.network_input import sum_pixels
from thyroid.networks.srgan import Upscaler, bicubic
from thyroid.recipe import Recipe
from thyroid.stage import EpochMetrics, Stage
from thyroid.stages import train_srgan
from thyroid.stages.compute import start
from thyroid.stages.train_srgan import deal, load_upscaler, pixel_loss, psnr_db, upscale

LOSSES = ("perceptual_loss", "adversarial_loss", "discriminator_loss")


def stages(recipe: Recipe, dataset: Path, seed: int = 0) -> list[Stage]:
    return pipeline.srgan(recipe, Dataset.open(dataset).digest, seed)


def train(
    recipe: Recipe, dataset: Path, root: Path, seed: int = 0
) -> tuple[Path, list[EpochMetrics]]:
    return made(stages(recipe, dataset, seed)[-1], dataset, root)


def test_the_first_part_has_the_pixel_loss_alone(toy: Path, tmp_path: Path) -> None:
    recipe = toy_generators(srgan__pixel_epochs=2, srgan__adversarial_epochs=3)
    _, metrics = train(recipe, toy, tmp_path)
    assert [m["part"] for m in metrics] == ["pixel"] * 2 + ["adversarial"] * 3
    assert all(m[name] is None for m in metrics[:2] for name in LOSSES)
    assert all(m[name] > 0 for m in metrics[2:] for name in LOSSES)


@pytest.mark.processors
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 5e-3), ("bf16", 0.1)])
def test_five_steps_give_the_losses_they_gave_before(
    precision: str, tolerance: float, toy: Path, tmp_path: Path, measured: Callable[..., None]
) -> None:
    """Golden values, fp32, measured once: a change of the loop's numbers shows here."""
    recipe = toy_generators(
        srgan__pixel_epochs=5,
        srgan__adversarial_epochs=5,
        srgan__steps_per_epoch=1,
        srgan__learning_rate=1e-3,
        execution__precision=precision,
    )
    _, metrics = train(recipe, toy, tmp_path)
    golden = {
        "pixel_loss": [
            *(0.1499, 0.15455, 0.153, 0.14868, 0.15267),
            *(0.15138, 0.14853, 0.14657, 0.14578, 0.14365),
        ],
        "perceptual_loss": [0.11544, 0.11257, 0.11849, 0.11163, 0.11021],
        "adversarial_loss": [0.66897, 0.69091, 0.66302, 0.65207, 0.68455],
        "discriminator_loss": [1.4181, 1.39854, 1.41754, 1.44321, 1.39379],
    }
    for name, losses in golden.items():
        found = np.array([m[name] for m in metrics if m[name] is not None])
        measured(f"{name} in {precision}", np.abs(found / losses - 1).max(), below=tolerance)


@pytest.mark.processors
def test_it_beats_bicubic_interpolation(
    toy: Path, tmp_path: Path, seed: int, measured: Callable[..., None]
) -> None:
    """The result is better after the pixel part, and the adversarial part keeps it so."""
    recipe = toy_generators(
        srgan__width=8,
        srgan__learning_rate=2e-3,
        srgan__steps_per_epoch=80,
        srgan__adversarial_epochs=1,
    )
    _, metrics = train(recipe, toy, tmp_path, seed)
    pixel, adversarial = metrics
    for part, least in ((pixel, 0.3), (adversarial, 0.2)):
        gain_db = part["validation_psnr_db"] - part["bicubic_psnr_db"]
        measured(f"gain, {part['part']}", gain_db, above=least)
    assert adversarial["bicubic_psnr_db"] == pixel["bicubic_psnr_db"]


@pytest.mark.processors
def test_the_discriminator_tells_bicubic_pictures_from_real_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, measured: Callable[..., None]
) -> None:
    """Detail that cannot be seen: a chessboard hidden by the noise, which the network must not
    learn.
    """
    y, x = np.mgrid[:32, :32]
    rate = 20.0 + 15 * ((y + x) % 2)
    data = with_rate(write_toy(tmp_path / "toy"), rate, tmp_path / "data")
    monkeypatch.setattr(train_srgan, "Upscaler", Untrainable)
    recipe = toy_generators(srgan__width=16, srgan__steps_per_epoch=100, srgan__learning_rate=2e-3)
    _, metrics = train(recipe, data, tmp_path / "store", seed)
    measured("discriminator's loss", metrics[-1]["discriminator_loss"], below=0.7)  # 1.386: nothing
    measured("adversarial loss", metrics[-1]["adversarial_loss"], above=1)


class Untrainable(Upscaler):
    """Make the network stay at bicubic interpolation."""

    def forward(self, counts: Tensor) -> Tensor:
        return bicubic(counts, self.scale) + 0 * self.tail.bias.sum()  # type: ignore[union-attr]


def with_rate(dataset: Dataset, rate: np.ndarray, folder: Path) -> Path:
    """The same rows with Poisson pictures of one rate."""
    counts = np.random.default_rng(0).poisson(rate, dataset.counts.shape).astype(np.uint16)
    table = dataset.images.assign(total_counts=counts.sum((1, 2), dtype=np.int64))
    return like(dataset, folder, images=table, counts=counts).folder


def test_a_loss_that_is_no_number_is_a_sentence(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Upscaler):
        def __init__(self, scale: int, width: int, blocks: int) -> None:
            super().__init__(scale, width, blocks)
            nn.init.constant_(self.tail.bias, torch.nan)  # type: ignore[arg-type]

    monkeypatch.setattr(train_srgan, "Upscaler", Broken)
    with pytest.raises(StageFailed, match="SRGAN diverged in epoch 1: its pixel loss is nan"):
        train(toy_generators(), toy, tmp_path)
    assert not list((tmp_path / "artifacts").glob("*/*/upscaler.safetensors"))


def test_a_loss_that_ceases_to_be_a_number_ends_the_adversarial_part(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        train_srgan, "relative_error", lambda seen, wanted, on: (seen - wanted).sum() / 0
    )
    with pytest.raises(StageFailed, match="SRGAN diverged in epoch 2"):
        train(toy_generators(), toy, tmp_path)


def test_a_result_far_below_bicubic_is_a_sentence(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dark(Upscaler):
        """Make the network give no activity anywhere, with a gradient of zero."""

        def __init__(self, scale: int, width: int, blocks: int) -> None:
            super().__init__(scale, width, blocks)
            nn.init.constant_(self.tail.bias, -100.0)  # type: ignore[arg-type]

    monkeypatch.setattr(train_srgan, "Upscaler", Dark)
    bright = 1 + 300 * np.hanning(32)[:, None] * np.hanning(32)
    data = with_rate(write_toy(tmp_path / "toy"), bright, tmp_path / "data")
    with pytest.raises(StageFailed, match=r"SRGAN collapsed in epoch 1: .* with bicubic .* lower"):
        train(toy_generators(), data, tmp_path / "store")


@pytest.mark.parametrize("scale", [2, 4])
def test_what_is_kept_enlarges_counts(scale: int, toy: Path, tmp_path: Path) -> None:
    recipe = toy_generators(srgan__scale=scale, srgan__adversarial_epochs=0)
    folder, _ = train(recipe, toy, tmp_path)
    on = start(recipe.execution)
    network = load_upscaler(folder, on)
    counts = sum_pixels(torch.from_numpy(Dataset.open(toy).counts[:5].astype(np.float32)), 8)
    activity = upscale(network, counts, on, batch=2)
    assert activity.shape == (5, 8 * scale, 8 * scale)
    torch.testing.assert_close(activity, upscale(network, counts, on))
    torch.testing.assert_close(activity.mean((1, 2)), torch.ones(5))
    assert (activity >= 0).all()
    card = json.loads((folder / "upscaler.json").read_text())
    assert card["scale"] == scale
    assert card["size"] == 32


def test_the_smallest_pictures_can_be_enlarged(toy: Path, tmp_path: Path) -> None:
    _, metrics = train(toy_generators(input__size=16), toy, tmp_path)
    assert len(metrics) == 2


def test_pictures_that_hold_no_counts_get_no_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("photons of a display picture")

    data = write_toy(tmp_path / "data", kind="display").folder
    monkeypatch.setattr("thyroid.stages.images.acquire", forbidden)
    monkeypatch.setattr(train_srgan, "divide", forbidden)
    folder, metrics = train(toy_generators(), data, tmp_path / "store")
    assert json.loads((folder / "upscaler.json").read_text())["kind"] == "display"
    assert [m["part"] for m in metrics] == ["pixel", "adversarial"]


def test_the_features_may_be_vgg19s(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Edges(nn.Module):
        """A small network that replaces 20 million weights."""

        def __init__(self, weights: Path) -> None:
            super().__init__()
            assert weights.read_text() == "some weights"

        def forward(self, x: Tensor) -> Tensor:
            return x.diff(dim=-1)

    monkeypatch.setattr(train_srgan, "Vgg19Features", Edges)
    (tmp_path / "weights.pth").write_text("some weights")
    recipe = toy_generators(srgan__vgg19="a" * 64)
    *_, final = stages(recipe, toy)
    assert "label_filter" not in final.inputs
    folders = {
        name: made(stage, toy, tmp_path)[0]
        for name, stage in final.inputs.items()
        if stage.kind != "weights"
    }
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "weights").write_text("some weights")
    out = tmp_path / "out"
    out.mkdir()
    inputs = {"dataset": toy, **folders, "vgg19": tmp_path / "kept"}
    (metrics,) = train_srgan.fit(final.config, inputs, out)
    assert metrics["perceptual_loss"] > 0


@given(st.integers(1, 8), st.integers(0, 99))
def test_dealt_photons_are_those_that_were_there(lots: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.poisson(torch.rand(3, 6, 6, generator=generator) * 30, generator=generator)
    dealt = deal(counts, lots, generator)
    assert dealt.shape == (3, 6, 6, lots)
    assert (dealt >= 0).all()
    assert torch.equal(dealt.float().sum(-1), counts)


def test_dealt_lots_are_independent_poisson_images() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.poisson(torch.full((40, 16, 16), 24.0), generator=generator)
    dealt = deal(counts, 4, generator).float()
    assert dealt.mean().item() == pytest.approx(6, rel=0.02)
    assert dealt.var().item() == pytest.approx(6, rel=0.05)
    correlations = torch.corrcoef(dealt.view(-1, 4).T)
    assert (correlations - torch.eye(4)).abs().max() < 0.04


def test_input_and_target_of_a_step_share_no_photon() -> None:
    generator = torch.Generator().manual_seed(0)
    lots = deal(torch.full((6, 16, 16), 24.0), 8, generator)
    drawn, to_input, to_target = train_srgan._draw(lots, 50, 12, generator)
    assert torch.equal(to_input + to_target, torch.ones(50, 8))
    assert set(to_input.sum(1).int().tolist()) == {4, 5, 6, 7}
    photons = train_srgan._crops(lots, drawn, 12)
    whole = train_srgan._some(photons, to_input) + train_srgan._some(photons, to_target)
    assert torch.equal(whole, torch.full((50, 12, 12), 24.0))


def test_crops_are_shifted_and_mirrored_whole_pixels() -> None:
    image = torch.arange(36.0).view(1, 6, 6, 1)
    drawn = torch.tensor([[0, 1, 2, 0], [0, 0, 1, 1]])
    first, second = train_srgan._crops(image, drawn, 4).squeeze(-1)
    assert torch.equal(first, image[0, 1:5, 2:6, 0])
    assert torch.equal(second, image[0, 0:4, 1:5, 0].flip(1))


def test_the_pixel_loss_is_least_at_the_mean_of_the_counts() -> None:
    """The error of square roots is different: it prefers fewer counts where there are few."""
    generator = torch.Generator().manual_seed(0)
    rate = torch.cat([torch.full((4, 8), 0.4), torch.full((4, 8), 7.6)]) / 4
    target = torch.poisson((rate * 4).expand(4000, -1, -1), generator=generator)
    low_pixels = torch.tensor(1.0, requires_grad=True)
    scaled = torch.cat([rate[:4] * low_pixels, rate[4:]]).expand(4000, -1, -1)
    (slope,) = torch.autograd.grad(pixel_loss(scaled, target), low_pixels)
    (steep,) = torch.autograd.grad(
        pixel_loss(
            torch.cat([rate[:4] * (low_pixels * 0.75), rate[4:]]).expand(4000, -1, -1), target
        ),
        low_pixels,
    )
    assert abs(slope) < 0.05 * abs(steep)


def test_psnr_is_the_published_formula() -> None:
    target = torch.full((1, 4, 4), 8.0)
    target[0, 0, 0] = 24.0
    level = target.mean()
    activity = torch.ones(1, 4, 4)
    y, x = (((c + 0.375) / (level + 0.375)).sqrt() for c in (target, activity * level))
    wanted = 10 * torch.log10(y.max() ** 2 / (x - y).square().mean())
    assert psnr_db(activity, target) == pytest.approx(wanted.item(), rel=1e-4)
