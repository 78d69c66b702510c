"""Altered images: their counts, and their difference from the original images."""

from __future__ import annotations

import numpy as np
import pytest

from thyroid.stages.altered_images import altered_images

WAYS = 8


def scintigrams(side: int, number: int = 6) -> np.ndarray:
    """A bright upper left quarter, so that every turn shows."""
    rate = np.ones((number, side, side))
    rate[:, : side // 2, : side // 2] = 40
    return np.random.default_rng(0).poisson(rate).astype(np.float32)


@pytest.mark.parametrize("side", [16, 33, 64])
def test_all_are_whole_counts_of_as_many_photons(side: int) -> None:
    counts = scintigrams(side)
    made = np.concatenate(list(altered_images(counts, 5, np.random.default_rng(1))))
    assert made.shape == (WAYS * 5, side, side)
    assert (made >= 0).all()
    np.testing.assert_array_equal(made, np.round(made))
    totals, given = made.sum((1, 2)), counts.sum((1, 2))
    kept = side % 8 == 0  # else a piece at the border is lost
    assert (totals[: 3 * 5] > 0.9 * given.min()).all()
    assert (totals > (0.9 if kept else 0.5) * given.min()).all()
    assert (totals < 1.1 * given.max()).all()


def test_turned_ones_have_their_bright_quarter_elsewhere() -> None:
    down, side, *_ = altered_images(scintigrams(32), 20, np.random.default_rng(2))
    assert (down[:, 16:, :16].sum((1, 2)) > 0.8 * down.sum((1, 2))).all()
    lower, right = side[:, 16:, :16].sum((1, 2)), side[:, :16, 16:].sum((1, 2))
    assert (np.maximum(lower, right) > 0.8 * side.sum((1, 2))).all()
    assert (lower > right).any()
    assert (lower < right).any()


def test_pieces_are_the_images_own() -> None:
    counts = scintigrams(32)
    pieces = list(altered_images(counts, 10, np.random.default_rng(3)))[3]
    contents = {tuple(np.sort(image.ravel())) for image in counts}
    assert all(tuple(np.sort(image.ravel())) in contents for image in pieces)
    assert not any((image == original).all() for image in pieces for original in counts)


def test_the_same_generator_makes_the_same() -> None:
    first, second = (
        np.concatenate(list(altered_images(scintigrams(16), 2, np.random.default_rng(4))))
        for _ in "12"
    )
    np.testing.assert_array_equal(first, second)


def test_fields_are_evenly_lit() -> None:
    """Nowhere is a field of flood sources more than half as bright again as on average."""
    *_, fields = altered_images(100 * scintigrams(32), 20, np.random.default_rng(5))
    for field in fields:
        lit = field[field > field.max() / 3]
        assert len(lit) > 10
        assert lit.max() < 1.5 * lit.mean()
