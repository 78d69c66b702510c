"""Intervals agree with scipy and brute force, and contain the truth as often as they should."""

import time

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import f1_score

from reports.measured import Measured
from thyroid.evaluate import bootstrap as module
from thyroid.evaluate.bootstrap import bootstrap
from thyroid.evaluate.metrics import RANGES, calibration_error, measure


def predictions(n, seeds=1, classes=3, seed=0, skill=1.5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(seeds, n, classes))
    logits[:, np.arange(n), labels] += skill
    p = np.exp(logits)
    return labels, p / p.sum(axis=-1, keepdims=True)


def metric_intervals(labels, p, patients, *, folds=1, ensemble=False, resamples=2000):
    """Every metric with its interval, as in a report; `p` is (S, N, C), or (K, S, N, C) of the
    networks of K folds.
    """
    in_folds = p.ndim == 4
    found = Measured(
        labels=labels,
        patients=np.asarray(patients, dtype=str),
        is_cross=np.zeros(len(labels), dtype=bool),
        stated=p.mean(axis=(0, 1))[None] if in_folds else p,
        networks=p if in_folds else None,
        folds=folds,
        seeds=[],
    )
    return found.intervals(
        lambda p, w: measure(labels, p, w),
        resamples=resamples,
        pivotal=("ece",),
        single=not ensemble,
    )


def test_agrees_with_scipy_where_each_patient_has_one_image():
    labels, p = predictions(150)
    got = metric_intervals(labels, p, np.arange(150), resamples=4000)["macro_f1"]
    predicted = p[0].argmax(axis=1)
    want = scipy.stats.bootstrap(
        (labels, predicted),
        lambda y, z: f1_score(y, z, average="macro"),
        paired=True,
        vectorized=False,
        n_resamples=600,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert got.value == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert got.low == pytest.approx(want.low, abs=0.01)
    assert got.high == pytest.approx(want.high, abs=0.01)


def test_agrees_with_brute_force_over_patients_and_seeds():
    labels, p = predictions(80, seeds=4)
    patients = np.random.default_rng(2).integers(0, 25, 80)
    got = metric_intervals(labels, p, patients, resamples=4000)
    rng = np.random.default_rng(3)
    by_patient = [np.flatnonzero(patients == g) for g in np.unique(patients)]
    values = {"macro_auroc": [], "accuracy": []}
    stretch = np.sqrt(4 / 3) * 3.182446 / 1.959964  # t with 3 degrees of freedom over normal
    for _ in range(600):
        rows = np.concatenate(
            [by_patient[g] for g in rng.integers(0, len(by_patient), len(by_patient))]
        )
        resampled = [measure(labels[rows], p[s][rows]) for s in range(4)]
        drawn = rng.integers(0, 4, 4)
        for name, found in values.items():
            each = np.array([m[name] for m in resampled])
            found.append(each.mean() + stretch * (each[drawn].mean() - each.mean()))
    for name, found in values.items():
        low, high = np.quantile(found, (0.025, 0.975))
        width = high - low
        assert got[name].low == pytest.approx(low, abs=0.1 * width), name
        assert got[name].high == pytest.approx(high, abs=0.1 * width), name


def test_images_of_one_patient_widen_the_interval():
    labels, p = predictions(60)
    labels, p = np.repeat(labels, 4), np.repeat(p, 4, axis=1)
    together = metric_intervals(labels, p, np.repeat(np.arange(60), 4))["accuracy"]
    apart = metric_intervals(labels, p, np.arange(240))["accuracy"]
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(2.0, abs=0.25)  # four copies: sqrt(4) times too narrow if ignored


def test_seeds_that_differ_widen_the_interval():
    labels, p = predictions(200, seeds=5)
    worse = p.copy()
    worse[3:] = 1 / 3 + (worse[3:] - 1 / 3) * -0.1  # two of the seeds failed
    same, differing = (
        metric_intervals(labels, q, np.arange(200))["accuracy"]
        for q in (p[:1].repeat(5, axis=0), worse)
    )
    assert differing.high - differing.low > 2 * (same.high - same.low)


def test_covers_the_truth_as_often_as_it_says():
    """Accuracy 0.8 on 200 patients: 95 % intervals contain 0.8 in 93 to 97 of 100 simulations."""
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        correct = rng.random(200) < 0.8
        interval = bootstrap(
            lambda w, correct=correct: {"accuracy": (correct @ w / w.sum(axis=0))[None]},
            np.arange(200),
            resamples=400,
            seed=trial,
        )["accuracy"]
        held += bool(interval.low <= 0.8 <= interval.high)
    assert 0.92 <= held / 300 <= 0.975


def test_covers_the_truth_over_clusters_and_seeds():
    """Patients with three images and ten seeds, which vary independently; the true mean is 0."""
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(40), 3)
    held = 0
    for trial in range(300):
        values = (
            rng.normal(size=40)[patients] + rng.normal(size=(10, 1)) + rng.normal(size=(10, 120))
        )
        interval = bootstrap(
            lambda w, values=values: {"mean": values @ w / w.sum(axis=0)},
            patients,
            resamples=300,
            seed=trial,
        )["mean"]
        held += bool(interval.low <= 0 <= interval.high)
    assert 0.89 <= held / 300 <= 0.98


@pytest.mark.parametrize("seeds", [3, 5])
def test_few_seeds_and_many_images_hold_the_truth(seeds, monkeypatch):
    """Accuracy 0.85 on 2,000 images, of models that vary by 0.02: without the stretch, intervals
    contain it too rarely.
    """
    held = {}
    for stretched in (True, False):
        if not stretched:
            monkeypatch.setattr(module, "stretch", lambda seeds, level, shared: 1.0)
        rng, held[stretched] = np.random.default_rng(seeds), 0
        for trial in range(300):
            skill = 0.85 + rng.normal(0, 0.02, (seeds, 1))
            right = rng.binomial(100, skill, (seeds, 20)) / 100  # 20 patients of 100 images
            interval = bootstrap(
                lambda w, right=right: {"accuracy": right @ w / w.sum(axis=0)},
                np.arange(20),
                resamples=200,
                seed=trial,
            )["accuracy"]
            held[stretched] += bool(interval.low <= 0.85 <= interval.high)
    assert held[False] / 300 < 0.92 < held[True] / 300


def test_stretched_limits_stay_within_the_range_of_a_metric():
    """One of three seeds failed: without limits recall would reach 1.3, and log loss would fall
    below 0.
    """
    labels, p = predictions(300, seeds=3, skill=9.0)
    p[2] = np.roll(p[2], 1, axis=-1)
    found = metric_intervals(labels, p, np.arange(300), resamples=300)
    assert found["accuracy"].value < 0.7
    for name, interval in found.items():
        least, greatest = RANGES[name]
        assert (least <= interval.low).all(), name
        assert (interval.high <= greatest).all(), name
    assert found["accuracy"].high == 1
    assert found["log_loss"].low == 0
    assert found["log_loss"].high > 1
    assert found["ece"].high > found["ece"].value


def test_calibration_error_is_pivotal_since_resampling_raises_it():
    """Overconfident predictions with a known error: the percentile interval misses it, the pivotal
    one contains it.
    """
    rng = np.random.default_rng(0)

    def simulate(n):
        labels = rng.integers(0, 4, n)
        logits = rng.normal(size=(n, 4))
        logits[np.arange(n), labels] += 1.5
        p = np.exp(2.25 * logits)
        return labels, p / p.sum(axis=1, keepdims=True)

    def ece(labels, p):
        return lambda w: {"ece": calibration_error(labels, p, w)[None]}

    labels, p = simulate(300_000)
    truth = calibration_error(labels, p, np.ones(300_000))
    held = {(): 0, ("ece",): 0}
    for trial in range(200):
        labels, p = simulate(80)
        for pivotal in held:
            found = bootstrap(
                ece(labels, p), np.arange(80), resamples=200, seed=trial, pivotal=pivotal
            )["ece"]
            held[pivotal] += bool(found.low <= truth <= found.high)
    assert held[("ece",)] / 200 > 0.8
    assert held[("ece",)] - held[()] > 0.05 * 200


def test_seeded_and_independent_of_the_block(monkeypatch):
    labels, p = predictions(50, seeds=3)
    first = metric_intervals(labels, p, np.arange(50), resamples=100)
    monkeypatch.setattr(module, "BLOCK", 7)
    second = metric_intervals(labels, p, np.arange(50), resamples=100)
    for name, interval in first.items():
        np.testing.assert_allclose(interval.low, second[name].low, rtol=1e-12)
        np.testing.assert_allclose(interval.high, second[name].high, rtol=1e-12)
    own, other = (
        bootstrap(lambda w: {"loss": -np.log(p[:, :, 0]) @ w}, np.arange(50), seed=seed)["loss"]
        for seed in (0, 1)
    )
    assert own.low != other.low


def test_an_absent_class_has_no_interval_and_breaks_nothing():
    labels, p = predictions(40)
    labels[labels == 2] = 0
    got = metric_intervals(labels, p, np.arange(40), resamples=50)
    assert np.isnan(got["recall"].low[2])
    assert np.isfinite(got["macro_recall"].low)


def test_two_thousand_resamples_of_a_thousand_images_take_two_seconds_at_most():
    labels, p = predictions(1000, classes=7)
    began = time.process_time()
    metric_intervals(labels, p, np.arange(1000))
    assert time.process_time() - began < 2
