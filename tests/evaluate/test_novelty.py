"""Distances in feature space agree with scikit-learn's covariance, and separate unlike images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from thyroid.evaluate.novelty import (
    WIDEST,
    feature_distances,
    feature_reference,
    novelty_threshold,
    relative_distances,
)

CENTRES = np.random.default_rng(7).random((4, 60))


def drawn(n: int, rng: np.random.Generator, centres: np.ndarray = CENTRES) -> tuple:
    """Features (n, D) of positive directions around a centre for each class, and labels."""
    labels = rng.integers(0, len(centres), n)
    spread = rng.standard_normal((n, 5)) @ np.random.default_rng(8).random((5, centres.shape[1]))
    features = centres[labels] + 0.1 * spread + 0.02 * rng.standard_normal((n, centres.shape[1]))
    return features * rng.uniform(0.5, 2, (n, 1)), labels


@pytest.mark.parametrize("n", [25, 400], ids=["fewer images than features", "more"])
def test_the_distance_is_mahalanobis_by_the_covariance_of_ledoit_and_wolf(n: int) -> None:
    rng = np.random.default_rng(n)
    features, labels = drawn(n, rng)
    new, _ = drawn(30, rng)
    unit, new_unit = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, new))
    means = np.stack([unit[labels == c].mean(axis=0) for c in range(len(CENTRES))])
    precision = LedoitWolf(assume_centered=True).fit(unit - means[labels]).precision_
    gaps = new_unit[:, None] - means  # (N, C, D)
    expected = np.sqrt(np.einsum("ncd,de,nce->nc", gaps, precision, gaps).min(axis=1))
    reference = feature_reference(features, labels)
    np.testing.assert_allclose(feature_distances(reference, new), expected, rtol=1e-6)


def test_beyond_its_widest_directions_the_covariance_is_round() -> None:
    rng = np.random.default_rng(3)
    features = np.ones(300) + 0.1 * rng.standard_normal((900, 300)) * np.linspace(2, 0.1, 300)
    reference = feature_reference(features, np.zeros(900, dtype=int))
    assert reference.directions.shape == (WIDEST, 300)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    trace = (reference.deviations**2).sum() + (300 - WIDEST) * reference.floor**2
    assert trace == pytest.approx(unit.var(axis=0).sum(), rel=1e-6)
    assert reference.deviations.min() > reference.floor


def test_what_is_new_lies_farther() -> None:
    rng = np.random.default_rng(0)
    reference = feature_reference(*drawn(200, rng))
    known = feature_distances(reference, drawn(500, rng)[0])
    other = feature_distances(reference, drawn(500, rng, rng.random((9, 60)))[0])
    truth = np.repeat([0, 1], 500)
    assert roc_auc_score(truth, np.concatenate([known, other])) > 0.999


def test_altered_images_near_the_known_ones_are_told_by_the_relative_distance() -> None:
    """They are shifted along a direction in which the known images vary, so the distance alone does
    not show the shift.
    """
    rng = np.random.default_rng(1)
    shift = 0.25 * np.random.default_rng(8).random((5, CENTRES.shape[1]))[0]

    def altered(n: int) -> np.ndarray:
        return drawn(n, rng, CENTRES + shift)[0]

    near = feature_reference(*drawn(400, rng))
    away = feature_reference(altered(400), np.zeros(400, dtype=int))
    new = np.concatenate([drawn(500, rng)[0], altered(500)])
    truth = np.repeat([0, 1], 500)
    assert roc_auc_score(truth, relative_distances(near, away, new)) > 0.8
    assert roc_auc_score(truth, feature_distances(near, new)) < 0.75


def test_features_that_are_all_the_same_or_zero_have_distances() -> None:
    same = feature_reference(np.ones((6, 3)), np.array([0, 0, 0, 1, 1, 1]))
    near, far, nothing = feature_distances(same, np.array([[2.0, 2, 2], [1, 0, 0], [0, 0, 0]]))
    assert near == pytest.approx(0, abs=1e-6)
    assert np.isfinite([far, nothing]).all()
    assert far > 1000
    assert np.isfinite(relative_distances(same, same, np.ones((1, 3)))).all()


@pytest.mark.parametrize(("n", "rank"), [(99, 99), (199, 198), (1000, 991)])
def test_the_threshold_is_that_of_conformal_prediction(n: int, rank: int) -> None:
    distances = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    assert novelty_threshold(distances, 0.99) == rank


@pytest.mark.parametrize("n", [5, 40])
def test_few_images_have_a_threshold_that_others_seldom_exceed(n: int) -> None:
    rng = np.random.default_rng(n)
    held_out = rng.normal(3, 0.5, (2000, n))
    thresholds = np.array([novelty_threshold(some, 0.99) for some in held_out])
    exceeded = norm.sf((thresholds - 3) / 0.5).mean()
    assert exceeded == pytest.approx(0.01, abs=0.003)
    assert norm.sf((held_out.max(axis=1) - 3) / 0.5).mean() > 0.02  # the largest alone
    assert novelty_threshold(np.array([2.0]), 0.99) == 2
    assert novelty_threshold(np.array([1.0, 1, 1, 1, 1, 1, 1, 1, 1, 9]), 0.9) == 9
