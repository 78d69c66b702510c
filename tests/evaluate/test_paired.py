"""Intervals of a difference agree with brute force; they contain the truth often enough."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from thyroid.evaluate import paired as module
from thyroid.evaluate.metrics import macro_f1
from thyroid.evaluate.paired import Difference, accuracy_difference, macro_f1_difference


def simulate(rng, *, seeds, patients, seed_luck, patient_luck, gain=0.0, classes=4):
    """Labels, the classes that two methods predict (S, N), and patients of two images each; with
    gain 0 both methods are equally good.
    """
    member = np.repeat(np.arange(patients), 2)
    labels = rng.integers(0, classes, patients)[member]
    named = []
    for better in (gain, 0.0):
        skill = 0.8 + better + rng.normal(0, seed_luck, (seeds, 1))
        skill = skill + rng.normal(0, patient_luck, patients)[member]
        right = rng.random((seeds, len(labels))) < 1 / (1 + np.exp(-skill))
        wrong = (labels + rng.integers(1, classes, right.shape)) % classes
        named.append(np.where(right, labels, wrong))
    return labels, *named, member


def f1(labels, named):
    return f1_score(labels, named, average="macro", labels=np.unique(labels), zero_division=0)


@pytest.mark.parametrize("metric", ["macro-F1", "accuracy"])
def test_agrees_with_brute_force_over_patients_and_seeds(metric):
    rng = np.random.default_rng(0)
    labels, first, second, patients = simulate(
        rng, seeds=4, patients=30, seed_luck=0.3, patient_luck=0.5, gain=0.3
    )
    kept = np.flatnonzero(rng.random(60) < 0.8)  # patients of one image and of two
    labels, first, second, patients = labels[kept], first[:, kept], second[:, kept], patients[kept]
    data = (labels, first, second, patients)
    if metric == "accuracy":
        got = accuracy_difference(*data, resamples=4000)
        want = (first == labels).mean(axis=1) - (second == labels).mean(axis=1)
    else:
        got = macro_f1_difference(*data, classes=4, resamples=4000)
        want = [f1(labels, a) - f1(labels, b) for a, b in zip(first, second, strict=True)]
    assert got.by_seed == pytest.approx(want)
    assert got.value == pytest.approx(np.mean(want))

    def measured(named, rows):
        if metric == "accuracy":
            return np.mean(named[:, rows] == labels[rows], axis=1)
        return np.array([macro_f1(labels[rows], each[rows], 4) for each in named])

    stretch = np.sqrt(4 / 3) * 3.182446 / 1.959964  # t with 3 degrees of freedom over normal
    by_patient, found = [np.flatnonzero(patients == p) for p in np.unique(patients)], []
    for _ in range(4000):
        drawn = rng.integers(0, len(by_patient), len(by_patient))
        rows = np.concatenate([by_patient[p] for p in drawn])
        each = measured(first, rows) - measured(second, rows)
        found.append(each.mean() + stretch * (each[rng.integers(0, 4, 4)].mean() - each.mean()))
    low, high = np.quantile(found, (0.025, 0.975))
    assert got.low == pytest.approx(low, abs=0.05 * (high - low))
    assert got.high == pytest.approx(high, abs=0.05 * (high - low))
    below = 2 * min(np.mean(np.array(found) <= 0), np.mean(np.array(found) >= 0))
    assert got.p_value == pytest.approx(below, abs=0.05)


@pytest.mark.parametrize(
    ("seeds", "patients", "seed_luck", "patient_luck"),
    [(5, 200, 0.5, 0.0), (5, 60, 0.0, 1.5), (10, 60, 0.3, 1.0)],
    ids=["luck of seeds", "luck of patients", "both"],
)
def test_holds_the_truth_at_least_as_often_as_it_says(seeds, patients, seed_luck, patient_luck):
    """With two equal methods, 95 % of the intervals or a few more contain 0."""
    rng, held, shown = np.random.default_rng(0), 0, 0
    luck = {"seed_luck": seed_luck, "patient_luck": patient_luck}
    for trial in range(150):
        data = simulate(rng, seeds=seeds, patients=patients, **luck)
        found = macro_f1_difference(*data, classes=4, resamples=200, seed=trial)
        held += found.low <= 0 <= found.high
        shown += found.p_value < 0.05
    assert held / 150 >= 0.92
    assert shown / 150 <= 0.08


def test_without_stretching_five_seeds_hold_it_too_rarely(monkeypatch):
    held = {}
    for stretched in (True, False):
        if not stretched:
            monkeypatch.setattr(module, "stretch", lambda seeds, level, shared: 1.0)
        rng, held[stretched] = np.random.default_rng(0), 0
        for trial in range(150):
            data = simulate(rng, seeds=5, patients=200, seed_luck=0.8, patient_luck=0.0)
            found = macro_f1_difference(*data, classes=4, resamples=100, seed=trial)
            held[stretched] += found.low <= 0 <= found.high
    assert held[False] / 150 < 0.9 < held[True] / 150


def test_a_clear_gain_is_found_and_changes_its_sign_with_the_order():
    rng = np.random.default_rng(1)
    labels, first, second, patients = simulate(
        rng, seeds=5, patients=100, seed_luck=0.1, patient_luck=0.3, gain=1.0
    )
    gain = macro_f1_difference(labels, first, second, patients, classes=4)
    loss = macro_f1_difference(labels, second, first, patients, classes=4)
    assert gain.low > 0
    assert gain.p_value < 0.01
    assert (loss.value, loss.low, loss.high) == pytest.approx((-gain.value, -gain.high, -gain.low))
    assert loss.p_value == gain.p_value


def test_a_method_does_not_differ_from_itself():
    rng = np.random.default_rng(2)
    labels, first, _, patients = simulate(
        rng, seeds=3, patients=20, seed_luck=0.5, patient_luck=0.5
    )
    same = macro_f1_difference(labels, first, first, patients, classes=4, resamples=200)
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_what_both_methods_share_cancels():
    """Seeds that change both methods in the same way do not widen the interval."""
    rng = np.random.default_rng(3)
    labels, first, _, patients = simulate(
        rng, seeds=5, patients=100, seed_luck=1.5, patient_luck=0.5
    )
    flip = rng.random(first.shape) < 0.02
    second = np.where(flip, (first + 1) % 4, first)
    together = macro_f1_difference(labels, first, second, patients, classes=4)
    apart = macro_f1_difference(labels, first, np.roll(second, 1, axis=0), patients, classes=4)
    assert together.high - together.low < 0.3 * (apart.high - apart.low)


def test_same_numbers_again_and_whatever_the_block(monkeypatch):
    data = simulate(np.random.default_rng(4), seeds=5, patients=30, seed_luck=0.3, patient_luck=0.3)
    first = macro_f1_difference(*data, classes=4, resamples=100)
    again = macro_f1_difference(*data, classes=4, resamples=100)
    assert (first.low, first.high, first.p_value) == (again.low, again.high, again.p_value)
    monkeypatch.setattr(module, "BLOCK", 7)
    blocks = macro_f1_difference(*data, classes=4, resamples=100)
    assert (blocks.low, blocks.high) == pytest.approx((first.low, first.high))
    other = macro_f1_difference(*data, classes=4, resamples=100, seed=1)
    assert other.low != first.low


def test_one_seed_has_the_luck_of_patients_alone():
    data = simulate(np.random.default_rng(5), seeds=1, patients=50, seed_luck=0.5, patient_luck=0.5)
    found = macro_f1_difference(*data, classes=4, resamples=300)
    assert -1 < found.low < found.value < found.high < 1


def test_two_seeds_that_disagree_show_nothing():
    labels, patients = np.repeat([0, 1], 50), np.arange(100)
    wrong = 1 - labels
    right_first = np.stack([labels, np.where(patients % 2, labels, wrong)])
    found = macro_f1_difference(labels, right_first, right_first[::-1], patients, classes=2)
    assert (found.low, found.high) == (-1, 1)
    assert found.value == pytest.approx(0)


@pytest.mark.parametrize("gain", [0.2, 0.35, 0.7])
def test_the_interval_at_the_p_value_ends_at_zero(gain):
    """At every level, the interval excludes zero if 1 - level is above the p-value."""
    data = simulate(
        np.random.default_rng(7), seeds=5, patients=150, seed_luck=0.1, patient_luck=0.3, gain=gain
    )
    found = macro_f1_difference(*data, classes=4, resamples=4000)
    p = found.interval_p_value
    assert 0.001 < p < 0.9
    assert found.interval(1 - 1.1 * p)[0] > 0 > found.interval(1 - 0.85 * p)[0]
    assert found.interval(0.95) == (found.low, found.high)


def test_small_p_values_of_equal_methods_are_as_rare_as_they_say():
    """Five seeds that differ only by chance: with the stretch for 95 %, far too many p-values are
    below 0.005.
    """
    rng = np.random.default_rng(8)
    drawn = rng.multinomial(5, np.full(5, 0.2), size=2000).T - 1  # (S, B)
    below = {"interval_p_value": 0, "p_value": 0}
    for by_seed in rng.normal(0, 0.01, (1500, 5)):
        found = Difference(
            by_seed=by_seed,
            patient_means=np.full(2000, by_seed.mean()),
            seed_deviations=by_seed @ drawn / 5,
            level=0.95,
        )
        for name in below:
            below[name] += getattr(found, name) < 0.005
    assert below["interval_p_value"] / 1500 < 0.011
    assert below["p_value"] / 1500 > 0.018
