import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Generator, Tensor

from thyroid.acquisition import acquire, divide, stabilised
from thyroid.network_input import network_input


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def activity(n: int, side: int = 8) -> Tensor:
    """Activities with mean 1 in each image, from dark to bright."""
    picture = torch.linspace(0, 4, side * side).view(1, side, side).square()
    return (picture / picture.mean()).expand(n, -1, -1).contiguous()


def p_of_poisson(counts: np.ndarray, rate: float) -> float:
    """Chi-square test of a Poisson distribution, with rare values pooled at both ends."""
    low, high = (int(stats.poisson.ppf(q, rate)) for q in (0.005, 0.995))
    observed = np.bincount(counts.clip(low, high).astype(int) - low, minlength=high - low + 1)
    share = stats.poisson.pmf(np.arange(low, high + 1), rate)
    share[0], share[-1] = stats.poisson.cdf(low, rate), stats.poisson.sf(high - 1, rate)
    return float(stats.chisquare(observed, share * len(counts)).pvalue)


@pytest.mark.parametrize("total", [40.0, 2_000.0, 1e5])
def test_acquired_counts_are_poisson(total: float) -> None:
    n = 20_000
    counts = acquire(activity(n), torch.full((n,), total), generator())
    assert torch.equal(counts, counts.round())
    assert counts.min() == 0
    rates = (activity(1)[0] * total / 64).double()
    deviation = (counts.double().mean(0) - rates) / (rates / n).sqrt().clamp_min(1e-9)
    assert deviation.abs().max() < 4.5  # of 64 pixels
    bright = rates > 1
    ratio = (counts.double().var(0) / rates)[bright]
    assert (ratio - 1).abs().max() < 5 * np.sqrt(3 / n)
    for y, x in [(3, 3), (5, 5), (7, 7)]:
        assert p_of_poisson(counts[:, y, x].numpy(), float(rates[y, x])) > 1e-3
    assert (counts[:, rates == 0] == 0).all()


def test_each_image_has_its_own_total() -> None:
    totals = torch.tensor([10.0, 1_000.0, 1e6]).repeat(2_000)
    sums = acquire(activity(6_000), totals, generator()).sum((1, 2)).view(-1, 3).double()
    assert ((sums.mean(0) / totals[:3] - 1).abs() < 5 / (totals[:3] * 2_000).sqrt()).all()


def test_acquired_counts_repeat_with_the_generator_alone() -> None:
    totals = torch.full((4,), 500.0)
    torch.manual_seed(1)
    first = acquire(activity(4), totals, generator(3))
    torch.manual_seed(2)
    assert torch.equal(first, acquire(activity(4), totals, generator(3)))
    assert not torch.equal(first, acquire(activity(4), totals, generator(4)))


def test_the_gradient_is_that_of_the_expected_counts() -> None:
    shape, totals = activity(3), torch.tensor([64.0, 640.0, 6_400.0])
    weight = torch.randn(3, 8, 8, generator=generator())
    through = shape.clone().requires_grad_()
    torch.autograd.backward((acquire(through, totals, generator()) * weight).sum())
    assert through.grad is not None
    expected = weight * (totals / 64).view(-1, 1, 1)
    torch.testing.assert_close(through.grad, expected)


@given(st.integers(0, 10_000), st.integers(1, 5), st.floats(0, 1e4))
def test_stabilised_images_have_mean_square_one(seed: int, n: int, level: float) -> None:
    rate = torch.rand(n, 6, 6, generator=generator(seed)) * level
    counts = torch.poisson(rate, generator=generator(seed + 1))
    x = stabilised(counts)
    assert x.shape == (n, 1, 6, 6)
    torch.testing.assert_close(x.double().square().mean((1, 2, 3)), torch.ones(n).double())
    assert (x > 0).all()


def test_stabilised_is_smooth_where_nothing_was_counted() -> None:
    for counts in (torch.zeros(1, 4, 4), torch.eye(4).unsqueeze(0)):
        counts = counts.clone().requires_grad_()
        torch.autograd.backward(stabilised(counts).pow(3).sum())
        assert counts.grad is not None
        assert counts.grad.isfinite().all()
    assert torch.equal(stabilised(torch.zeros(1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_stabilised_counts_are_a_networks_input_where_counts_are_many() -> None:
    counts = acquire(activity(2) + 1, torch.full((2,), 1e6), generator())
    expected = network_input(counts, "sqrt_mean")
    torch.testing.assert_close(stabilised(counts), expected, rtol=1e-3, atol=1e-3)


def test_the_noise_of_stabilised_counts_is_the_same_everywhere() -> None:
    """Anscombe 1948: the variance of sqrt(k + 3/8) is 1/4."""
    n = 20_000
    dim_and_bright = torch.tensor([[4.0, 16.0], [64.0, 256.0]]).expand(n, 2, 2)
    counts = torch.poisson(dim_and_bright, generator=generator())
    level = counts.mean((1, 2)) + 0.375
    variance = (stabilised(counts).squeeze(1) * level.sqrt().view(-1, 1, 1)).var(0)
    assert (variance - 0.25).abs().max() < 0.02


def test_dealt_photons_sum_to_the_image_and_are_binomial() -> None:
    n = 20_000
    counts = torch.tensor([[0.0, 1.0], [7.0, 60.0]]).expand(n, 2, 2).contiguous()
    first, second = divide(counts, torch.full((n,), 0.3), generator())
    assert torch.equal(first + second, counts)
    assert torch.equal(first, first.round())
    assert first.min() == 0
    assert second.min() == 0
    for y, x in [(0, 1), (1, 0), (1, 1)]:
        k = int(counts[0, y, x])
        observed = np.bincount(first[:, y, x].int().numpy(), minlength=k + 1)
        share = stats.binom.pmf(np.arange(k + 1), k, 0.3)
        few = share * n < 5
        observed = np.append(observed[~few], observed[few].sum())
        share = np.append(share[~few], share[few].sum())
        kept = share > 0
        assert stats.chisquare(observed[kept], share[kept] * n).pvalue > 1e-3


@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=4), st.integers(0, 1000))
def test_each_image_is_dealt_by_its_own_share(shares: list[float], seed: int) -> None:
    counts = torch.full((len(shares), 20, 20), 100.0)
    first, second = divide(counts, torch.tensor(shares), generator(seed))
    assert torch.equal(first + second, counts)
    p = np.array(shares)
    deviation = first.mean((1, 2)).numpy() / 100 - p
    assert (np.abs(deviation) < 6 * np.sqrt(p * (1 - p) / 40_000)).all()


def test_two_parts_of_a_poisson_image_are_independent_poisson_images() -> None:
    n = 40_000
    rate = torch.full((n, 1, 1), 12.0)
    counts = torch.poisson(rate, generator=generator())
    first, second = (
        x.flatten().numpy() for x in divide(counts, torch.full((n,), 0.4), generator(1))
    )
    assert p_of_poisson(first, 4.8) > 1e-3
    assert p_of_poisson(second, 7.2) > 1e-3
    assert abs(stats.pearsonr(first, second).statistic) < 4 / np.sqrt(n)
    # With a fixed total, the counts are not independent: one image gets what the other lacks
    fixed = torch.full((n, 1, 1), 12.0)
    first, second = (
        x.flatten().numpy() for x in divide(fixed, torch.full((n,), 0.4), generator(1))
    )
    assert stats.pearsonr(first, second).statistic == pytest.approx(-1)
