"""Eigen-scintigrams learn the known structure of made images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from thyroid.generators import eigen
from thyroid.generators.eigen import draw, fit

SIDE = 16


def blob(y: float, x: float) -> Tensor:
    i = torch.arange(SIDE, dtype=torch.float32)
    return torch.exp(-((i[:, None] - y) ** 2 + (i - x) ** 2) / 8)


LEFT, RIGHT = blob(8, 4), blob(8, 12)


def images(findings: Tensor, counts: float, spread: float, seed: int = 0) -> Tensor:
    """Poisson images of a background, a spot for each finding, and one that varies from image to
    image.
    """
    random = torch.Generator().manual_seed(seed)
    amplitude = 1 + findings[:, 0, None, None] * LEFT + findings[:, 1, None, None] * RIGHT
    varying = torch.randn(len(findings), 1, 1, generator=random) * spread
    rate = (amplitude + varying * blob(13, 8)).clamp_min(0).square()
    rate = rate / rate.mean((1, 2), keepdim=True) * counts
    return torch.poisson(rate, generator=random)


def labels(n: int) -> Tensor:
    return torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(n // 2, 1)


@pytest.mark.processors
def test_pictures_have_the_findings_that_were_asked_for_and_crosses_compose(
    seed: int, measured: Callable[..., None]
) -> None:
    """A cross that was never in the training images has both spots."""
    learned = fit(images(labels(200), counts=50, spread=0.1, seed=seed), labels(200))
    asked = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    left, right, both = (
        draw(learned, asked.repeat_interleave(50, 0), torch.Generator().manual_seed(0))
        .view(3, 50, SIDE, SIDE)
        .mean(1)
    )
    measured("left", left[8, 4] / left[8, 12], above=2)
    measured("right", right[8, 12] / right[8, 4], above=2)
    measured("both", min(both[8, 4], both[8, 12]) / both[1, 8], above=2)


@pytest.mark.processors
def test_what_varies_is_learned_and_photon_noise_is_not(
    seed: int, measured: Callable[..., None]
) -> None:
    noise_alone = fit(images(labels(200), counts=20, spread=0.0, seed=seed), labels(200))
    assert len(noise_alone["components"]) == 0
    learned = fit(images(labels(400), counts=50, spread=0.3, seed=seed), labels(400))
    assert 1 <= len(learned["components"]) <= 3  # the mean over the picture is no Gaussian
    first = learned["components"].square().sum((1, 2)).argmax()
    own = learned["components"][first]
    similar = (own * blob(13, 8)).sum() / own.norm() / blob(13, 8).norm()
    measured("likeness", similar.abs(), above=0.9)
    drawn = draw(learned, labels(400), torch.Generator().manual_seed(0))
    fresh = images(labels(400), counts=50, spread=0.3, seed=10 + seed) / 50
    noise = 1 / 50 * fresh.mean(0)[13, 8]  # of Poisson counts, over the squared mean
    ratio = drawn[:, 13, 8].var() / (fresh[:, 13, 8].var() - noise)
    measured("variance", abs(ratio - 1), below=0.35)


@pytest.mark.processors
def test_of_many_images_those_are_taken_that_show_everything(
    monkeypatch: pytest.MonkeyPatch, seed: int, measured: Callable[..., None]
) -> None:
    """Data sets are often sorted by class."""
    monkeypatch.setattr(eigen, "MOST", 40)
    by_class = labels(200).sort(0, descending=True).values * torch.tensor([1.0, 0.0])
    by_class[:, 1] = 1 - by_class[:, 0]
    learned = fit(images(by_class, counts=50, spread=0.1, seed=seed), by_class)
    right = draw(learned, torch.tensor([[0.0, 1.0]]), torch.Generator().manual_seed(0))[0]
    measured("right", right[8, 12] / right[8, 4], above=2)


def test_everything_is_on_the_images_device() -> None:
    """A tensor that is made without a device would be on another one; here, on the meta device."""
    counts = images(labels(60), counts=50, spread=0.3)
    random = torch.Generator()
    findings = labels(60)
    with torch.device("meta"):
        learned = fit(counts, findings)
        drawn = draw(learned, findings, random)
    assert {tensor.device.type for tensor in (*learned.values(), drawn)} == {"cpu"}


def test_activities_have_mean_one_and_the_same_luck_gives_the_same() -> None:
    learned = fit(images(labels(60), counts=5, spread=0.5), labels(60))
    one, again = (draw(learned, labels(8), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, again)
    assert one.shape == (8, SIDE, SIDE)
    assert (one >= 0).all()
    torch.testing.assert_close(one.mean((1, 2)), torch.ones(8))


def test_few_or_empty_images_are_no_matter() -> None:
    counts = torch.zeros(2, SIDE, SIDE)
    learned = fit(counts, labels(2))
    assert all(tensor.isfinite().all() for tensor in learned.values())
    assert draw(learned, labels(2), torch.Generator()).isfinite().all()
