import pytest
import torch

from thyroid.errors import InputError
from thyroid.network_input import NORMALISATIONS, network_input, sum_pixels


def test_summed_pixels_are_the_counts_of_their_blocks() -> None:
    counts = torch.poisson(torch.full((3, 8, 8), 5.0)).to(torch.uint16)
    summed = sum_pixels(counts, 4)
    assert summed.shape == (3, 4, 4)
    assert summed[1, 2, 3] == counts[1, 4:6, 6:8].float().sum()
    assert torch.equal(summed.sum((1, 2)), counts.float().sum((1, 2)))


def test_a_size_that_does_not_divide_is_refused_with_the_sizes_that_do() -> None:
    with pytest.raises(InputError, match="choose one of 128, 64, 32, 16"):
        sum_pixels(torch.zeros(1, 128, 128), 48)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_an_empty_image_is_zero_and_not_nan(name: str) -> None:
    assert torch.equal(network_input(torch.zeros(2, 8, 8), name), torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize("name", ["sqrt_mean", "log_mean", "mean"])
def test_a_longer_acquisition_looks_the_same(name: str) -> None:
    counts = torch.rand(2, 8, 8) * 100
    torch.testing.assert_close(network_input(counts, name), network_input(3 * counts, name))


def test_the_default_keeps_the_uptake_cue_that_the_maximum_destroys() -> None:
    background, gland = torch.ones(1, 16, 16), torch.zeros(1, 16, 16)
    gland[:, 4:8, 4:8] = 1
    faint, intense = background + 2 * gland, background + 50 * gland

    def peak(counts: torch.Tensor, name: str) -> float:
        return network_input(counts, name).max().item()

    assert peak(intense, "sqrt_mean") > 2 * peak(faint, "sqrt_mean")
    assert peak(intense, "maximum") == peak(faint, "maximum") == 1


def test_the_square_root_makes_poisson_noise_equally_strong_everywhere() -> None:
    generator = torch.Generator().manual_seed(0)
    rates = torch.tensor([10.0, 40.0, 160.0]).view(3, 1, 1).expand(3, 200, 200)
    spread = torch.poisson(rates, generator=generator).sqrt().std((1, 2))
    torch.testing.assert_close(spread, torch.full((3,), 0.5), rtol=0.03, atol=0)
