"""Simulated coverage of an ensemble's sets, whose threshold is from out-of-fold predictions.

Data sets are drawn from a known distribution, so coverage can be measured on any number of new
images. Classifiers are linear discriminants on few images, which differ much from fold to fold.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from thyroid.evaluate.conformal import conformal_set, conformal_threshold
from thyroid.evaluate.temperature import ensemble_temperature, fit_temperature, tempered

FOLDS, CLASSES, LEVEL = 5, 4, 0.95


def drawn(n: int, dimensions: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes along the first axes, and noise along all others."""
    labels = rng.integers(0, CLASSES, n)
    x = rng.standard_normal((n, dimensions))
    x[np.arange(n), labels] += 2.2
    return x, labels


def coverage(n: int, dimensions: int, rng: np.random.Generator) -> tuple[float, float]:
    """Coverage of the sets of the ensemble, and of the sets of one member."""
    x, labels = drawn(n, dimensions, rng)
    fold = rng.permutation(np.arange(n) % FOLDS)
    new, truth = drawn(2000, dimensions, rng)
    held_out, of_members = np.empty((n, CLASSES)), []
    for f in range(FOLDS):
        network = LinearDiscriminantAnalysis().fit(x[fold != f], labels[fold != f])
        held_out[fold == f] = network.predict_proba(x[fold == f])
        of_members.append(network.predict_proba(new))
    T = fit_temperature(labels, held_out)
    threshold = conformal_threshold(labels, tempered(held_out, T), LEVEL)
    T_of_all = ensemble_temperature(T, averaged=1, members=FOLDS)
    p = tempered(np.mean(of_members, axis=0), T_of_all), tempered(of_members[0], T)
    ours, alone = (conformal_set(each, threshold)[np.arange(2000), truth].mean() for each in p)
    return float(ours), float(alone)


@pytest.mark.parametrize(
    ("images", "dimensions"),
    [(540, 20), (540, 100), (150, 20)],
    ids=["members agree", "members differ", "few images"],
)
def test_sets_of_an_ensemble_hold_the_true_class_as_often_as_promised(
    images: int, dimensions: int
) -> None:
    rng = np.random.default_rng(images + dimensions)
    found = np.array([coverage(images, dimensions, rng) for _ in range(40)])
    ours, alone = found.mean(axis=0)
    assert 0.93 <= alone <= 0.97
    assert 0.93 <= ours <= 0.97, (ours, alone)


def test_a_temperature_fitted_on_as_many_networks_is_the_ensemble_s() -> None:
    assert ensemble_temperature(0.8, averaged=3, members=3) == pytest.approx(0.8)
    five = ensemble_temperature(0.8, averaged=1, members=5)
    assert five < 0.8
    by_way_of_two = ensemble_temperature(0.8, averaged=1, members=2)
    assert ensemble_temperature(by_way_of_two, averaged=2, members=5) == pytest.approx(five)
