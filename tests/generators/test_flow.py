"""Flow matching learns the known structure of made images, and its segments continue each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from tests.generators.test_eigen import SIDE, images, labels
from thyroid.generators import eigen, flow
from thyroid.recipe import FlowConfig

FEW = FlowConfig(width=8, batch_size=8, steps_per_epoch=4, sampling_steps=4)


def epoch(
    counts: Tensor,
    findings: Tensor,
    settings: FlowConfig = FEW,
    learned: Mapping[str, Tensor] | None = None,
    *,
    seed: int = 0,
    kind: str = "counts",
    precision: torch.dtype = torch.float32,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    return flow.fit(
        counts,
        findings,
        settings=settings,
        learned=learned or {},
        seed=seed,
        kind=kind,
        precision=precision,
    )


def drawn(
    learned: Mapping[str, Tensor], asked: Tensor, settings: FlowConfig = FEW, seed: int = 0
) -> Tensor:
    with torch.inference_mode():
        return flow.draw(learned, asked, torch.Generator().manual_seed(seed), settings=settings)


@pytest.mark.processors
def test_pictures_have_the_findings_that_were_asked_for_and_crosses_compose(
    seed: int, measured: Callable[..., None]
) -> None:
    """A cross that was never in the training images has both spots."""
    settings = FlowConfig(width=16, steps_per_epoch=60, sampling_steps=6)
    learned, _ = epoch(images(labels(200), 50, 0.1, seed), labels(200), settings, seed=seed)
    asked = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    made = drawn(learned, asked.repeat_interleave(50, 0), settings)
    left, right, both = made.view(3, 50, SIDE, SIDE).mean(1)
    measured("left", left[8, 4] / left[8, 12], above=2)
    measured("right", right[8, 12] / right[8, 4], above=2)
    measured("both", min(both[8, 4], both[8, 12]) / both[1, 8], above=1.5)


@pytest.mark.processors
def test_photon_noise_is_not_learned(seed: int, measured: Callable[..., None]) -> None:
    """If the training images differ only in their photons, all drawn pictures are nearly the same,
    and nearly the true one.

    At 20 counts per pixel an image of counts is off by 0.22 of the mean.
    """
    settings = FlowConfig(width=16, steps_per_epoch=60, sampling_steps=6, guidance=1.0)
    findings = labels(200)
    learned, _ = epoch(images(findings, 20, 0.0, seed), findings, settings, seed=seed)
    made = drawn(learned, torch.tensor([[1.0, 0.0]]).repeat(50, 1), settings)
    truth = images(torch.tensor([[1.0, 0.0]]).repeat(2000, 1), 20, 0.0, 99).mean(0) / 20
    measured("error", (made - truth).square().mean().sqrt(), below=0.11)
    measured("spread", made.std(0).mean(), below=0.08)


@pytest.mark.processors
def test_the_noise_of_the_half_that_it_sees_is_not_its_target(
    seed: int, measured: Callable[..., None]
) -> None:
    """If input and target were the same half, the prediction would follow the noise of that half,
    by 0.005 of it.
    """
    settings = FlowConfig(width=16, steps_per_epoch=150, learning_rate=5e-3)
    findings = labels(200)
    learned, _ = epoch(images(findings, 20, 0.0, seed), findings, settings, seed=seed)
    network = flow._network(learned, "average", settings)
    others = images(findings, 20, 0.0, seed + 50)
    first, _, noise = flow._two_halves(others, "counts", torch.Generator().manual_seed(seed))
    t = 1 / (1 + noise)
    with torch.inference_mode():
        expected = network(flow._each(t) * first, t, torch.cat([findings, torch.zeros(200, 1)], 1))
    of_each = torch.stack([first[findings[:, k] > 0].mean(0) for k in range(2)])
    truth = of_each[findings.argmax(1)]
    followed = ((first - truth) * (expected - truth)).sum() / (first - truth).square().sum()
    measured("noise that is followed", followed, below=0.003)


def test_without_a_step_of_training_it_draws_what_the_gaussian_says() -> None:
    """Before training, the network is the Gaussian: with many steps, drawn pictures have its mean
    and its spread.
    """
    findings = labels(400)
    counts = images(findings, 50, 0.3)
    untrained = FlowConfig(width=8, steps_per_epoch=1, learning_rate=1e-8, sampling_steps=30)
    settings = FlowConfig(width=8, guidance=1.0, sampling_steps=30)
    learned, _ = epoch(counts, findings, untrained)
    asked = torch.tensor([[1.0, 0.0]]).repeat(400, 1)
    ours = drawn(learned, asked, settings)
    theirs = eigen.draw(eigen.fit(counts, findings), asked, torch.Generator().manual_seed(1))
    assert (ours.mean(0) - theirs.mean(0)).abs().mean() < 0.03
    assert 0.7 < ours[:, 13, 8].std() / theirs[:, 13, 8].std() < 1.2


def test_a_mean_root_of_few_counts_becomes_their_mean() -> None:
    """The square of the mean root would be twice as high as the true value at 0.3 counts."""
    for level in (0.0, 0.3, 1.0, 5.0, 40.0):
        counts = torch.poisson(torch.full((200_000,), level), torch.Generator().manual_seed(0))
        root = ((counts + 0.375) / 10.375).sqrt().mean()
        assert abs(float(flow._expected_counts(root, 10.0)) - level) < 0.03 + 0.01 * level


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_an_epoch_depends_on_tensors_and_seed_alone(precision: torch.dtype) -> None:
    counts, findings = images(labels(30), 30, 0.2), labels(30)
    first, _ = epoch(counts, findings, precision=precision)
    torch.manual_seed(7)  # nothing draws from the global generator
    again, measured = epoch(counts, findings, precision=precision)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert measured["images"] == 32
    other, _ = epoch(counts, findings, seed=1, precision=precision)
    assert not torch.equal(first["network/out.weight"], other["network/out.weight"])


def test_steps_count_on_and_the_average_follows_the_weights() -> None:
    counts, findings = images(labels(30), 30, 0.2), labels(30)
    first, _ = epoch(counts, findings)
    second, _ = epoch(counts, findings, learned=first, seed=1)
    assert (int(first["step"]), int(second["step"])) == (4, 8)
    assert torch.equal(second["adam/step/out.weight"], torch.tensor(8.0))
    assert torch.equal(second["average/means"], first["average/means"])
    assert not torch.equal(second["average/out.weight"], second["network/out.weight"])


def test_pictures_without_photons_are_not_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "divide", None)
    learned, measured = epoch(images(labels(30), 30, 0.2), labels(30), kind="display")
    assert measured["loss"] > 0
    assert drawn(learned, labels(4)).isfinite().all()


def test_activities_have_mean_one_and_the_same_luck_gives_the_same() -> None:
    learned, _ = epoch(images(labels(60), 5, 0.5), labels(60))
    one, again = (drawn(learned, labels(8), seed=3) for _ in range(2))
    assert torch.equal(one, again)
    assert one.shape == (8, SIDE, SIDE)
    assert (one >= 0).all()
    torch.testing.assert_close(one.mean((1, 2)), torch.ones(8))


def test_few_or_empty_images_are_no_matter() -> None:
    learned, _ = epoch(torch.zeros(2, SIDE, SIDE), labels(2))
    assert all(tensor.isfinite().all() for tensor in learned.values())
    assert drawn(learned, labels(2)).isfinite().all()
