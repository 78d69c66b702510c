"""The DCGAN stage: its losses, what it learns, its sheets, errors as sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.toy import (
    CLASSES,
    PLACES,
    made,
    toy_generators,
    write_toy,
)
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.data.splits import make_split
from thyroid.errors import StageFailed
from thyroid.networks.dcgan import Generator
from thyroid.recipe import DcganConfig, Recipe
from thyroid.stage import EpochMetrics, Stage
from thyroid.stages import train_dcgan
from thyroid.stages.compute import seed_of, start
from thyroid.stages.sample_sheet import write_sheet

PUBLISHED = {
    "dcgan__normalisation": "batch",
    "dcgan__loss": "non_saturating",
    "dcgan__augmentation": 0.0,
    "dcgan__ema_images": 0,
}
"""Radford 2015: batch normalisation, cross-entropy, no augmentation, no moving average."""


def last(recipe: Recipe, dataset: Path, seed: int = 0) -> Stage:
    return pipeline.dcgan(recipe, Dataset.open(dataset).digest, seed)[-1]


def train(
    recipe: Recipe, dataset: Path, root: Path, seed: int = 0
) -> tuple[Path, list[EpochMetrics]]:
    return made(last(recipe, dataset, seed), dataset, root)


@pytest.mark.processors
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_five_steps_give_the_losses_they_gave_before(
    precision: str, crossed: Path, tmp_path: Path, measured: Callable[..., None]
) -> None:
    """Golden values, measured once: a change of the loop's numbers shows here.

    In bf16, rounding in the second step already determines the losses of the fifth.
    """
    recipe = toy_generators(
        dcgan__epochs=5,
        dcgan__steps_per_epoch=1,
        dcgan__segment_epochs=5,
        dcgan__generator_rate=2e-3,
        dcgan__discriminator_rate=2e-3,
        execution__precision=precision,
    )
    _, metrics = train(recipe, crossed, tmp_path)
    golden = {
        "discriminator_loss": [1.9978, 1.9684, 1.8162, 1.6648, 1.3510],
        "generator_loss": [-0.1922, 0.0686, 0.2985, 0.4178, 0.0898],
    }
    steps, tolerance = {"fp32": (5, 2e-3), "bf16": (1, 0.03)}[precision]
    for name, losses in golden.items():
        found = np.array([m[name] for m in metrics])
        off = np.abs(found - losses)[:steps].max()
        measured(f"{name} in {precision}", off, below=tolerance)


@pytest.mark.processors
def test_each_finding_and_an_unseen_combination_get_their_own_picture(
    crossed: Path, tmp_path: Path, seed: int, measured: Callable[..., None]
) -> None:
    """The learned spots are at the places of the findings, and crosses show both."""
    recipe = toy_generators(
        dcgan__width=8,
        dcgan__batch_size=32,
        dcgan__epochs=1,
        dcgan__steps_per_epoch=800,
        dcgan__generator_rate=2e-3,
        dcgan__discriminator_rate=2e-3,
        dcgan__ema_images=2000,
        dcgan__augmentation=0.0,  # its mirror exchanges left and right, which here are classes
    )
    folder, metrics = train(recipe, crossed, tmp_path, seed)
    on = start(recipe.execution)
    generator, card = train_dcgan.load_generator(folder, on)
    assert card["classes"] == list(CLASSES)
    asked = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1]]).float()
    z = torch.randn(5 * 32, 8, generator=torch.Generator().manual_seed(0))
    pictures = train_dcgan.generated(generator, z, asked.repeat_interleave(32, 0), on)
    torch.testing.assert_close(pictures.mean((1, 2)), torch.ones(160))
    means = pictures.view(5, 32, 16, 16).mean(1)
    y, x = np.mgrid[:16, :16] * 2 + 0.5
    likeness = []
    for findings, mean in zip(asked, means, strict=True):
        rate = np.ones((16, 16))
        for (cy, cx), shown in zip(PLACES.values(), findings, strict=True):
            rate += 12 * float(shown) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 20)
        likeness.append(np.corrcoef(mean.numpy().ravel(), rate.ravel())[0, 1])
    measured("mean likeness", np.mean(likeness), above=0.9)
    dimmest = at_places(means).where(asked > 0, torch.inf).amin(1)
    brightest = at_places(means).where(asked == 0, 0).amax(1)  # of findings not requested
    contrast = torch.log(dimmest / brightest)
    measured("log of own spots, seen", contrast[:4].min(), above=np.log(2))
    measured("log of own spots, unseen", contrast[4], above=np.log(2))  # left with below
    measured("diversity", metrics[-1]["diversity"], above=0.3)


def at_places(pictures: Tensor) -> Tensor:
    """The brightness (N, 3) where each class has its spot, of pictures (N, 16, 16)."""
    return torch.stack([pictures[:, cy // 2, cx // 2] for cy, cx in PLACES.values()], 1)


@pytest.mark.processors
def test_the_published_form_learns_too(
    crossed: Path, tmp_path: Path, seed: int, measured: Callable[..., None]
) -> None:
    """Batch statistics over both kinds would reveal which pictures are real."""
    recipe = toy_generators(
        **PUBLISHED,
        dcgan__width=8,
        dcgan__batch_size=32,
        dcgan__epochs=1,
        dcgan__steps_per_epoch=600,
        dcgan__generator_rate=2e-3,
        dcgan__discriminator_rate=2e-3,
    )
    folder, metrics = train(recipe, crossed, tmp_path, seed)
    measured("gap of verdicts", abs(metrics[-1]["real_score"] - metrics[-1]["fake_score"]), below=5)
    on = start(recipe.execution)
    generator, _ = train_dcgan.load_generator(folder, on)
    z = torch.randn(3 * 32, 8, generator=torch.Generator().manual_seed(0))
    pictures = train_dcgan.generated(generator, z, torch.eye(3).repeat_interleave(32, 0), on)
    spots = at_places(pictures.view(3, 32, 16, 16).mean(1))
    # Some seeds confuse two of the classes for long: on average the own spot is the brighter one
    contrast = spots.diag().sum() / (spots.sum() - spots.diag().sum()) * 2
    measured("log of contrast", contrast.log(), above=0)


@pytest.mark.parametrize("memory", [0, 40, 20_000])
def test_the_kept_weights_are_the_moving_average(
    memory: int, crossed: Path, tmp_path: Path
) -> None:
    """Computed from the weights after each step: the old average's weight halves every `ema_images`
    images, or 5 % of the images seen if these are fewer.
    """
    recipe = toy_generators(dcgan__epochs=4, dcgan__steps_per_epoch=1, dcgan__ema_images=memory)
    dataset = Dataset.open(crossed)
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(0, "dcgan"))
        first, _ = train_dcgan.networks(recipe.dcgan, 3, 16)
    average = {name: t.double() for name, t in first.state_dict().items()}
    for seen, stage in enumerate(pipeline.dcgan(recipe, dataset.digest, 0), 1):
        folder, _ = made(stage, crossed, tmp_path)
        now, kept = (load_file(folder / f"{n}.safetensors") for n in ("trained", "generator"))
        half_life = min(memory, 0.05 * 16 * seen)
        decay = 0.5 ** (16 / half_life) if memory else 0.0
        for name, mean in average.items():
            if now[name].is_floating_point():
                average[name] = decay * mean + (1 - decay) * now[name].double()
                torch.testing.assert_close(kept[name].double(), average[name], atol=1e-6, rtol=1e-5)
    if not memory:
        assert same_bits_of_weights(now, kept)


def same_bits_of_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[k], other[k]) for k in one if one[k].is_floating_point())


def broken(generator: nn.Module) -> nn.Module:
    """Weights of which one is not a number."""
    with torch.no_grad():
        generator.out.bias.fill_(torch.nan)  # type: ignore[union-attr]
    return generator


def test_a_loss_that_is_no_number_is_a_sentence(
    crossed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = train_dcgan.networks

    def networks(config: DcganConfig, classes: int, size: int) -> tuple[nn.Module, nn.Module]:
        generator, discriminator = sound(config, classes, size)
        return broken(generator), discriminator

    monkeypatch.setattr(train_dcgan, "networks", networks)
    with pytest.raises(StageFailed, match="diverged in epoch 1: its losses are nan and nan"):
        train(toy_generators(), crossed, tmp_path)
    assert not list((tmp_path / "artifacts").glob("*/*/generator.safetensors"))
    assert not list((tmp_path / "building").iterdir())


def test_verdicts_that_run_away_are_a_sentence(
    crossed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = train_dcgan.networks

    def networks(config: DcganConfig, classes: int, size: int) -> tuple[nn.Module, nn.Module]:
        generator, discriminator = sound(config, classes, size)
        with torch.no_grad():
            discriminator.out.bias.fill_(-2e3)  # type: ignore[union-attr]
        return generator, discriminator

    monkeypatch.setattr(train_dcgan, "networks", networks)
    with pytest.raises(StageFailed, match=r"reached -2e\+03 for real and -2e\+03 for generated"):
        train(toy_generators(), crossed, tmp_path)


@pytest.mark.processors
@pytest.mark.parametrize("form", [{}, PUBLISHED], ids=["ours", "published"])
def test_poisonous_rates_end_the_stage(
    form: dict[str, Any], crossed: Path, tmp_path: Path, seed: int
) -> None:
    """One of three trainings collapses or diverges; of eighty, four did neither in time."""
    poison = {"dcgan__generator_rate": 1.0, "dcgan__discriminator_rate": 1.0}
    recipe = toy_generators(
        **poison, **form, dcgan__batch_size=64, dcgan__steps_per_epoch=80, dcgan__epochs=8
    )
    message = None
    for k in range(3):
        try:
            train(recipe, crossed, tmp_path / str(k), 3 * seed + k)
        except StageFailed as failure:
            message = str(failure)
            break
    epoch = re.search(r"DCGAN (?:collapsed|diverged) in epoch (\d):", message or "all survived")
    assert epoch, message
    kept = list((tmp_path / str(k) / "artifacts").glob("*/*/generator.safetensors"))
    assert len(kept) == int(epoch[1]) - 1


def test_one_picture_for_all_latent_numbers_is_a_sentence(
    crossed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf(Generator):
        def forward(self, z: Tensor, findings: Tensor) -> Tensor:
            return super().forward(0 * z, findings)

    recipe = toy_generators(dcgan__epochs=3)
    monkeypatch.setattr(train_dcgan, "Generator", Deaf)
    _, metrics = train(recipe, crossed, tmp_path / "a")  # not before it has seen enough
    assert max(m["diversity"] for m in metrics) < 1e-3
    monkeypatch.setattr(train_dcgan, "GRACE_IMAGES", 100)  # of 48 per epoch
    with pytest.raises(StageFailed, match=r"DCGAN collapsed in epoch 3: .* differ only 0% as much"):
        train(recipe, crossed, tmp_path / "b")


def test_every_epoch_has_a_sheet_of_the_same_latent_numbers(
    crossed: Path, tmp_path: Path, calls_of: Callable[..., list]
) -> None:
    calls = calls_of(train_dcgan, "generated")
    recipe = toy_generators(dcgan__epochs=3, dcgan__segment_epochs=2)
    stages = pipeline.dcgan(recipe, Dataset.open(crossed).digest, 0)
    folders = [made(stage, crossed, tmp_path)[0] for stage in stages]
    sheets = [sorted(p.name for p in (folder / "sheets").iterdir()) for folder in folders]
    assert sheets == [["epoch-0001.png", "epoch-0002.png"], ["epoch-0003.png"]]
    shown = [(z, y) for _, z, y, *_ in calls]
    assert len(shown) == 3
    latent, findings = shown[0]
    for z, y in shown[1:]:
        assert torch.equal(z, latent)
        assert torch.equal(y, findings)
    assert len(latent.unique(dim=0)) == len(latent) == 5 * 8  # three classes, two crosses
    assert len(findings.unique(dim=0)) == 5
    with Image.open(folders[0] / "sheets" / "epoch-0001.png") as sheet:
        assert sheet.size == (8 * 17, 5 * 17)


def test_a_sheet_is_pictures_in_rows_inverted(tmp_path: Path) -> None:
    pictures = torch.rand(7, 4, 4, generator=torch.Generator().manual_seed(0)) * 50
    write_sheet(pictures, 3, tmp_path / "made" / "sheet.png")
    with Image.open(tmp_path / "made" / "sheet.png") as opened:
        sheet = np.asarray(opened).astype(float)
    assert sheet.shape == (15, 15)
    for i in range(7):
        row, column = divmod(i, 3)
        cell = sheet[row * 5 : row * 5 + 4, column * 5 : column * 5 + 4]
        amplitude = pictures[i].sqrt().numpy()
        assert np.abs(cell - (255 - 255 * amplitude / amplitude.max())).max() <= 1
    assert (sheet[4::5] == 128).all()  # the frame
    assert (sheet[:, 4::5] == 128).all()


def test_pictures_that_hold_no_counts_get_no_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("Poisson noise on a display picture")

    data = write_toy(tmp_path / "data", crosses=24, kind="display").folder
    monkeypatch.setattr("thyroid.stages.images.acquire", forbidden)
    folder, metrics = train(toy_generators(), data, tmp_path / "store")
    assert json.loads((folder / "generator.json").read_text())["kind"] == "display"
    assert len(metrics) == 2


def test_generated_counts_have_the_findings_and_totals_of_real_images(
    crossed: Path, tmp_path: Path, calls_of: Callable[..., list]
) -> None:
    calls = calls_of(train_dcgan, "detected")
    recipe = toy_generators(dcgan__epochs=1, dcgan__steps_per_epoch=4)
    train(recipe, crossed, tmp_path)
    asked, got = [call[1] for call in calls], [call[-1] for call in calls]
    dataset = Dataset.open(crossed)
    train_rows = make_split(dataset, recipe.split).train
    real = dataset.counts[train_rows].sum((1, 2), dtype=np.int64)
    assert set(torch.cat(asked).int().tolist()) <= set(real.tolist())
    assert torch.cat(asked).unique().numel() > 30
    for counts, totals in zip(got, asked, strict=True):
        assert torch.equal(counts, counts.round())
        assert ((counts.sum((1, 2)) - totals).abs() < 6 * totals.sqrt()).all()


@given(st.integers(2, 40), st.integers(1, 8), st.integers(1, 30), st.integers(0, 99))
def test_every_image_comes_once_before_any_comes_again(
    n: int, batch: int, steps: int, seed: int
) -> None:
    batch = min(batch, n)
    batches = train_dcgan._order(n, batch, steps, torch.Generator().manual_seed(seed))
    assert batches.shape == (steps, batch)
    order = batches.flatten()
    for start_of_pass in range(0, len(order), n):
        some = order[start_of_pass : start_of_pass + n]
        assert len(some.unique()) == len(some)


def test_the_published_form_can_be_asked_for() -> None:
    changes = {"dcgan__latent": 100, "dcgan__width": 128, "input__size": 64, "srgan__scale": 1}
    config = pipeline.dcgan(toy_generators(**PUBLISHED, **changes), "d" * 64, 0)[-1].config
    generator, discriminator = train_dcgan.networks(config.dcgan, 1, config.size)
    assert not any("condition" in name for name in generator.state_dict())
    assert config.size == 64
    assert sum(isinstance(m, nn.BatchNorm2d) for m in discriminator.modules()) == 3
