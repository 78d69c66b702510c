"""Re-binning moves photons; it does not make, lose or correlate any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thyroid.data.rebin import rebin_counts, rng_for
from thyroid.errors import InputError


def _dispersion(counts: np.ndarray, mean: float) -> float:
    """Variance of neighbour differences over twice the mean, both axes: 1 for pure Poisson."""
    rows, columns = np.diff(counts, axis=0), np.diff(counts, axis=1)
    return float((np.mean(rows**2.0) + np.mean(columns**2.0)) / (4 * mean))


@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    pixel_mm=st.tuples(st.floats(0.3, 9), st.floats(0.3, 9)),
    target_mm=st.floats(0.3, 9),
    size=st.integers(1, 24),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None)
def test_every_photon_is_inside_or_counted_outside(shape, pixel_mm, target_mm, size, seed):
    counts = np.random.default_rng(seed).poisson(3.0, shape)
    rebinned, outside = rebin_counts(
        counts, pixel_mm=pixel_mm, target_mm=target_mm, size=size, rng=rng_for(counts)
    )
    assert rebinned.shape == (size, size)
    assert rebinned.dtype == np.uint16
    assert int(rebinned.sum()) + outside == counts.sum()
    field_mm = size * target_mm
    if all(n * mm <= field_mm * (1 - 1e-9) for n, mm in zip(shape, pixel_mm, strict=True)):
        assert outside == 0


@pytest.mark.parametrize("pixel_mm", [0.75, 1.1, 2.16, 3.3, (2.4, 1.3)])
def test_counts_stay_poisson(pixel_mm):
    rng = np.random.default_rng(7)
    row_mm, column_mm = pixel_mm if isinstance(pixel_mm, tuple) else (pixel_mm, pixel_mm)
    shape = (int(300 / row_mm) * 2, int(300 / column_mm) * 2)  # larger than the target field
    counts = rng.poisson(10 * row_mm * column_mm / 4, shape)
    rebinned, _ = rebin_counts(counts, pixel_mm=pixel_mm, target_mm=2.0, size=256, rng=rng)
    assert rebinned.mean() == pytest.approx(10, rel=0.01)  # counts per 4 mm2 as before
    assert rebinned.var() / 10 == pytest.approx(1, abs=0.03)
    assert _dispersion(rebinned.astype(float), 10) == pytest.approx(1, abs=0.03)


def test_agrees_with_moving_each_photon():
    counts = np.zeros((5, 7), dtype=np.int64)
    counts[1, 5] = 50_000
    counts[3, 2] = 30_000
    rng = np.random.default_rng(3)
    rebinned, outside = rebin_counts(counts, pixel_mm=(3.1, 2.3), target_mm=1.7, size=8, rng=rng)

    row, column = np.repeat(np.argwhere(counts), counts[counts > 0], axis=0).T
    y = (row + rng.random(row.size) - 2.5) * 3.1 / 1.7 + 4
    x = (column + rng.random(row.size) - 3.5) * 2.3 / 1.7 + 4
    reference, _, _ = np.histogram2d(y, x, bins=8, range=((0, 8), (0, 8)))
    spread = np.sqrt(2 * np.maximum(reference, 1))
    assert (np.abs(rebinned - reference) < 6 * spread).all()
    assert abs(outside - (80_000 - reference.sum())) < 6 * np.sqrt(80_000)


def test_halving_is_the_block_sum_and_equal_grids_move_nothing():
    counts = np.random.default_rng(0).poisson(5.0, (64, 64))
    halved, _ = rebin_counts(counts, pixel_mm=1.0, target_mm=2.0, size=32, rng=rng_for(counts))
    np.testing.assert_array_equal(halved, counts.reshape(32, 2, 32, 2).sum(axis=(1, 3)))
    for size, expected in (
        (64, counts),
        (60, counts[2:-2, 2:-2]),
        (61, counts[2:-1, 2:-1]),
        (66, np.pad(counts, 1)),
        (67, np.pad(counts, ((1, 2), (1, 2)))),
    ):
        same, outside = rebin_counts(
            counts, pixel_mm=2.0000001, target_mm=2.0, size=size, rng=rng_for(counts)
        )
        np.testing.assert_array_equal(same, expected)
        assert outside == counts.sum() - expected.sum()


def test_seeded_by_the_counts_alone():
    counts = np.random.default_rng(0).poisson(5.0, (30, 40))
    forms = [counts.astype(kind) for kind in ("int16", "uint16", "<u4", ">i4", "int64")]
    forms.append(np.asfortranarray(counts))
    results = [
        rebin_counts(c, pixel_mm=2.3, target_mm=2.0, size=32, rng=rng_for(c))[0] for c in forms
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    turned = counts.reshape(40, 30)
    assert rng_for(turned).random() != rng_for(counts).random()


def test_more_than_a_data_set_stores_is_refused():
    counts = np.full((4, 4), 40_000)
    with pytest.raises(InputError, match=r"160,000 counts.*65,535; choose a smaller pixel"):
        rebin_counts(counts, pixel_mm=1.0, target_mm=2.0, size=2, rng=rng_for(counts))
    with pytest.raises(InputError, match="must be positive"):
        rebin_counts(counts, pixel_mm=0.0, target_mm=2.0, size=2, rng=rng_for(counts))
