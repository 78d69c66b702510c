"""The physics of the camera agrees with brute force."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, stats

from thyroid.phantom.anatomy import Layers, surroundings
from thyroid.phantom.camera import MU_PER_MM, count, detect, expected_rates
from thyroid.phantom.centres import TRAINING
from thyroid.phantom.gland import project, trapped_percent
from thyroid.phantom.grid import Grid, ellipsoid_chord, random_field
from thyroid.phantom.pathology import thyroid_with

CENTRE = TRAINING[0]


def test_chord_is_the_line_integral_of_an_ellipsoid() -> None:
    a, b, c = 7.0, 4.0, 5.0  # along y, x and z
    z = np.linspace(-c, c, 20_001)
    for x, y in ((0.0, 0.0), (1.0, 2.0), (3.0, 4.0), (3.9, 6.0)):
        inside = (x / b) ** 2 + (y / a) ** 2 + (z / c) ** 2 <= 1
        chord = ellipsoid_chord(np.float32([x]), np.float32([y]), half_length=a, half_width=b)
        assert 2 * c * chord[0] == pytest.approx(inside.mean() * 2 * c, abs=2e-3)


def test_random_field_has_unit_variance_and_does_not_depend_on_the_grid() -> None:
    coarse = Grid.of(matrix=64, pixel_mm=4.0, column_mm=128, row_mm=128)
    fine = Grid.of(matrix=192, pixel_mm=4.0 / 3, column_mm=128, row_mm=128)
    a, b = (
        random_field(np.random.default_rng(1), grid, grain_mm=9.0, extent_mm=140)
        for grid in (coarse, fine)
    )
    assert a.std() == pytest.approx(1, abs=0.15)
    np.testing.assert_allclose(b[1::3, 1::3], a, atol=1e-4)


@pytest.mark.parametrize("fwhm_mm", [5.6, 9.0])
def test_a_point_source_is_as_wide_as_the_resolution(fwhm_mm: float) -> None:
    point = np.zeros((128, 128), dtype=np.float32)
    point[64, 64] = 1
    seen = detect(point, replace(CENTRE, pixel_mm=1.2, scatter=0.0), fwhm_mm)
    profile = seen[64] - seen.min()
    above = np.interp(0.5 * profile[64], profile[50:65], np.arange(50, 65))
    assert 2 * (64 - above) * 1.2 == pytest.approx(fwhm_mm, rel=0.05)


def test_scatter_adds_its_share_far_from_the_source() -> None:
    source = np.zeros((128, 128), dtype=np.float32)
    source[60:68, 60:68] = 1
    without = detect(source, replace(CENTRE, scatter=0.0), 8.0)
    seen = detect(source, replace(CENTRE, scatter=0.2), 8.0)
    assert (seen - without).sum() == pytest.approx(0.2 * source.sum(), rel=0.02)
    spread = ndimage.center_of_mass(seen - without)
    assert spread == pytest.approx((63.5, 63.5), abs=0.1)


def test_counts_are_poisson() -> None:
    rates = np.full((128, 128), 3.0, dtype=np.float32)
    rates[:64] = 0.2
    counts = count(rates, 100_000, np.random.default_rng(0))
    for half in (counts[:64], counts[64:]):
        dispersion = half.var(ddof=1) / half.mean()
        # (n - 1) dispersion is chi-squared
        assert abs(dispersion - 1) < 4 * math.sqrt(2 / half.size)
    lower = counts[64:].ravel()
    lag = stats.pearsonr(lower[:-1], lower[1:]).statistic
    assert abs(lag) < 0.05


def test_the_back_sees_the_gland_mirrored_and_attenuated() -> None:
    empty = Layers(
        tissue=np.zeros((128, 128), dtype=np.float32), front=np.zeros((128, 128), dtype=np.float32)
    )
    gland = np.ones((8, 6), dtype=np.float32)
    window = (slice(70, 78), slice(40, 46))
    centre = replace(CENTRE, scatter=0.0)
    views = expected_rates(empty, gland, window, centre, posterior=True)
    assert views.posterior is not None
    air = views.anterior.min()
    front, back = views.anterior - air, views.posterior - air
    assert ndimage.center_of_mass(front) == pytest.approx((73.5, 42.5), abs=0.05)
    assert ndimage.center_of_mass(back) == pytest.approx((73.5, 127 - 42.5), abs=0.05)
    # 18 mm of tissue in front, 107 mm behind
    assert back.sum() / front.sum() == pytest.approx(math.exp(-MU_PER_MM * 89), rel=0.01)


def test_the_gland_holds_its_uptake_whatever_the_pixels() -> None:
    thyroid = thyroid_with(["graves"], np.random.default_rng(3))
    for pixel_mm, matrix in ((0.8, 400), (1.6, 200), (3.2, 100)):
        grid = Grid.of(matrix=matrix, pixel_mm=pixel_mm, column_mm=160, row_mm=160)
        rates, window = project(thyroid, grid, np.random.default_rng(5))
        assert rates.shape == (window[0].stop - window[0].start, window[1].stop - window[1].start)
        total = float(rates.sum()) * pixel_mm**2
        assert total == pytest.approx(trapped_percent(thyroid), rel=1e-3)
        edge = np.concatenate([rates[0], rates[-1], rates[:, 0], rates[:, -1]])
        assert edge.max() < 0.02 * rates.max()  # the window holds all of it


def test_the_same_patient_on_another_camera() -> None:
    coarse = Grid.of(matrix=100, pixel_mm=3.0, column_mm=150, row_mm=200)
    fine = Grid.of(matrix=300, pixel_mm=1.0, column_mm=150, row_mm=200)
    a, b = (surroundings(grid, np.random.default_rng(2)) for grid in (coarse, fine))
    for layer in ("tissue", "front"):
        np.testing.assert_allclose(
            getattr(b, layer)[1::3, 1::3], getattr(a, layer), atol=2e-3, rtol=2e-3
        )
