import math

import pytest
import torch
from scipy import ndimage, stats

from thyroid.augment import augment, draw, thin, warp, windowed
from thyroid.network_input import network_input
from thyroid.recipe import AugmentationConfig

STILL = AugmentationConfig(rotation_deg=0, shift=0, zoom=0, anisotropy=0, mirror=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_magnitude_nothing_changes() -> None:
    counts = torch.poisson(torch.full((4, 32, 32), 9.0), generator=seeded())
    out = augment(counts, draw(4, STILL, seeded()), "sqrt_mean")
    torch.testing.assert_close(out, network_input(counts, "sqrt_mean"))


def test_every_image_gets_its_own_parameters_and_a_seed_repeats_them() -> None:
    config = AugmentationConfig(thinning=1.0)
    draws, again = draw(64, config, seeded(3)), draw(64, config, seeded(3))
    assert torch.equal(draws.affine, again.affine)
    assert torch.equal(draws.keep, again.keep)
    assert len(draws.affine.flatten(1).unique(dim=0)) == 64
    assert len(draws.keep.unique()) == 64


def test_a_worker_slices_the_draws_of_the_whole_batch() -> None:
    draws = draw(8, AugmentationConfig(), seeded())
    joined = torch.cat([draws[:4].affine, draws[4:].affine])
    assert torch.equal(joined, draws.affine)


def test_rotation_is_by_the_angle_drawn() -> None:
    image = torch.zeros(1, 1, 65, 65)
    image[..., 30:35, 8:58] = 1
    image = torch.from_numpy(ndimage.gaussian_filter(image.numpy(), (0, 0, 1.5, 1.5)))
    angle = math.radians(20)
    rotation = torch.tensor(
        [[[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]]]
    )
    reference = ndimage.rotate(image[0, 0].numpy(), 20, reshape=False, order=1)
    torch.testing.assert_close(
        warp(image, rotation)[0, 0], torch.from_numpy(reference), atol=0.03, rtol=0
    )


def test_rotation_keeps_angles_and_areas_when_mirrored_too() -> None:
    config = AugmentationConfig(rotation_deg=180, shift=0, zoom=0, anisotropy=0, mirror=0.5)
    linear = draw(200, config, seeded()).affine[:, :, :2]
    torch.testing.assert_close(
        linear @ linear.mT, torch.eye(2).expand(200, 2, 2), atol=1e-6, rtol=0
    )
    mirrored = (torch.linalg.det(linear) < 0).float().mean()
    assert 0.4 < mirrored < 0.6


def test_zoom_and_shift_stay_within_their_bounds() -> None:
    config = AugmentationConfig(rotation_deg=0, shift=0.1, zoom=0.25, anisotropy=0, mirror=0)
    affine = draw(500, config, seeded()).affine
    scale = affine[:, 0, 0]
    assert 1 / 1.25 - 1e-6 <= scale.min() < 0.82
    assert 1.22 < scale.max() <= 1.25 + 1e-6
    assert affine[:, :, 2].abs().max() <= 0.2
    assert affine[:, :, 2].abs().max() > 0.19


def test_anisotropy_stretches_the_width_against_the_height() -> None:
    config = AugmentationConfig(rotation_deg=0, shift=0, zoom=0, anisotropy=0.25, mirror=0)
    affine = draw(500, config, seeded()).affine
    ratio = affine[:, 0, 0] / affine[:, 1, 1]
    assert 1 / 1.25 - 1e-6 <= ratio.min() < 0.82
    assert 1.22 < ratio.max() <= 1.25 + 1e-6


def test_thinning_is_binomial() -> None:
    counts = torch.full((2, 100, 100), 20.0)
    thinned = thin(counts, torch.tensor([0.3, 1.0]), seeded())
    assert torch.equal(thinned[1], counts[1])
    kept = thinned[0].flatten().int().numpy()
    observed = [int((kept == k).sum()) for k in range(13)] + [int((kept > 12).sum())]
    expected = [10_000 * stats.binom.pmf(k, 20, 0.3) for k in range(13)]
    expected.append(10_000 - sum(expected))
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_a_thinned_poisson_image_is_poisson() -> None:
    counts = torch.poisson(torch.full((1, 300, 300), 12.0), generator=seeded(1))
    thinned = thin(counts, torch.tensor([0.25]), seeded(2))
    assert thinned.mean().item() == pytest.approx(3.0, rel=0.02)
    assert (thinned.var() / thinned.mean()).item() == pytest.approx(1.0, abs=0.02)


def test_the_share_kept_is_log_uniform_above_the_floor() -> None:
    config = AugmentationConfig(thinning=0.5, thinning_floor=0.2)
    keep = draw(4000, config, seeded()).keep
    thinned = keep[keep < 1]
    assert 0.45 < len(thinned) / 4000 < 0.55
    assert thinned.min() >= 0.2
    uniform = 1 - thinned.double().log() / math.log(0.2)
    assert stats.kstest(uniform.numpy(), "uniform").pvalue > 1e-3


def test_windowing_changes_no_other_draw() -> None:
    without = draw(64, AugmentationConfig(thinning=0.5), seeded())
    with_windows = draw(64, AugmentationConfig(thinning=0.5, windowing=0.5), seeded())
    assert without.window is None
    assert torch.equal(without.affine, with_windows.affine)
    assert torch.equal(without.keep, with_windows.keep)
    unchanged = (with_windows.window == torch.tensor([0.0, 1.0, 1.0])).all(1)
    assert 0.3 < unchanged.float().mean() < 0.7
    black, white, gamma = with_windows.window[~unchanged].unbind(1)
    assert 0 <= black.min() <= black.max() <= 0.04
    assert 0.5 <= white.min() < 0.7
    assert gamma.min() < 0.9
    assert gamma.max() > 1.1


def test_a_window_clips_and_bends_the_grey_scale() -> None:
    ramp = torch.linspace(0, 1000, 101).view(1, 1, 101).expand(3, 1, 101)
    window = torch.tensor([[0.0, 1.0, 1.0], [0.1, 0.6, 1.0], [0.0, 1.0, 0.5]])
    same, clipped, bent = windowed(ramp, window)
    torch.testing.assert_close(same, ramp[0])
    assert clipped[0, 10] == 0
    assert clipped[0, 35] == pytest.approx(500)
    assert (clipped[0, 60:] == 1000).all()
    torch.testing.assert_close(bent, 1000 * (ramp[0] / 1000).sqrt())
    assert torch.equal(windowed(torch.zeros(3, 4, 4), window), torch.zeros(3, 4, 4))
