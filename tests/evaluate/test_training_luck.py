"""Variation between training sets: corrections, and how often intervals about recipes contain the
truth.
"""

from dataclasses import replace

import numpy as np
import pytest

from tests.evaluate import known_truth as recipes
from tests.evaluate.known_truth import CLASSES, Setting
from tests.evaluate.test_bootstrap import metric_intervals
from thyroid.evaluate.bootstrap import bootstrap
from thyroid.evaluate.metrics import macro_f1
from thyroid.evaluate.paired import (
    Difference,
    accuracy_difference,
    detectable,
    macro_f1_difference,
)
from thyroid.evaluate.pooled import pooled_difference, pooled_macro_f1
from thyroid.evaluate.training_luck import overlap, shrinkage, widened


def predictions(seed=0, *, folds=5, seeds=1, images=210, classes=7, luck=0.4):
    """Labels, probabilities (2, K, S, N, C) of two methods, patients of two images each."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, classes, images // 2), 2)
    skill = 1.5 + rng.normal(0, luck, (2, folds, 1, 1, 1))
    score = rng.normal(size=(2, folds, seeds, images, classes)) + skill * np.eye(classes)[labels]
    grown = np.exp(score)
    return labels, grown / grown.sum(-1, keepdims=True), np.arange(images) // 2


def test_overlap_is_that_of_a_quadratic_form_of_shared_patients():
    """By brute force, for a luck that is the square of the mean over the patients of a training
    set.
    """
    rng, folds = np.random.default_rng(0), 5
    blocks = rng.normal(size=(40000, folds))  # sum over the patients of each fold
    luck = (blocks.sum(axis=1, keepdims=True) - blocks) ** 2
    between = luck.var(axis=1, ddof=1).mean()
    q = (luck.mean(axis=1).var() - between / folds) / between
    assert q == pytest.approx(overlap(folds), rel=0.05)
    assert [overlap(k) for k in (1, 2)] == [0, 0]


def test_widened_keeps_mean_gaps_and_single_splits():
    values = np.array([[1.0, 2.0, np.nan, 6.0], [np.nan] * 4])
    found = widened(values, 2)
    assert found[0, [0, 1, 3]] == pytest.approx(3 + np.sqrt(2) * np.array([-2, -1, 3]))
    assert np.isnan(found[0, 2])
    assert np.isnan(found[1]).all()
    assert widened(values, 1) is values


def test_shrinkage_takes_the_luck_of_images_out():
    rng = np.random.default_rng(1)
    assert shrinkage(np.zeros(5), rng.normal(size=(5, 100))) == 0
    values = rng.normal(size=(5, 3))
    assert shrinkage(values, np.repeat(values[..., None], 9, axis=-1)) == pytest.approx(np.ones(3))
    noise = rng.normal(size=(5, 4000))  # of variance 1 in each fold
    of_all = ((values[:, 0] - values[:, 0].mean()) ** 2).sum()
    kept = shrinkage(4 * values[:, 0], values[:, :1] + noise)
    assert kept**2 == pytest.approx(1 - 4 / (16 * of_all), rel=0.05)
    holed = np.concatenate([values[:, :1] + noise, np.full((5, 7), np.nan)], axis=1)
    assert shrinkage(4 * values[:, 0], holed) == pytest.approx(kept)


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_fold_is_as_without_folds_to_the_bit(seeds):
    labels, p, member = predictions(folds=1, seeds=seeds)
    named = p.argmax(-1)
    settings = {"classes": 7, "resamples": 130}
    first, second = named
    plain = macro_f1_difference(labels, first[0], second[0], member, **settings)
    nested = macro_f1_difference(labels, first, second, member, **settings)
    assert (plain.low, plain.high, plain.p_value) == (nested.low, nested.high, nested.p_value)
    plain = accuracy_difference(labels, first[0], second[0], member, resamples=130)
    nested = accuracy_difference(labels, first, second, member, resamples=130)
    assert (plain.low, plain.high, plain.p_value) == (nested.low, nested.high, nested.p_value)


def test_out_of_fold_intervals_are_patients_times_the_root_of_k_over_k_less_one():
    labels, p, member = predictions(folds=1, seeds=2)
    named = p.argmax(-1)[:, 0]
    alone = macro_f1_difference(labels, *named, member, classes=7, resamples=500)
    found = macro_f1_difference(labels, *named, member, classes=7, folds=5, resamples=500)
    assert found.value == alone.value
    want = np.sqrt(5 / 4) * alone.patient_means.std()
    assert found.standard_error == pytest.approx(want)
    pooled = pooled_difference(labels, *named, member, classes=7, folds=5)
    assert pooled.standard_error == pytest.approx(want, rel=0.1)
    low, high = np.quantile(found.patient_means, (0.025, 0.975))
    assert (found.low, found.high) == pytest.approx((low, high))  # seeds are not resampled

    metrics = metric_intervals(labels, p[0, 0], member, folds=5, resamples=500)["macro_f1"]
    one = pooled_macro_f1(labels, named[0], member, classes=7, folds=5)
    assert metrics.value == pytest.approx(one.value)
    assert metrics.high - metrics.low == pytest.approx(2 * 1.96 * one.standard_error, rel=0.15)


def test_networks_add_their_variation_with_the_overlap_of_their_training_sets():
    labels, p, member = predictions(seeds=2, images=2100, luck=0.5)
    first, second = p.argmax(-1)
    found = macro_f1_difference(labels, first, second, member, classes=7)
    by_fold = [
        np.mean([macro_f1(labels, a, 7) - macro_f1(labels, b, 7) for a, b in zip(*f, strict=True)])
        for f in zip(first, second, strict=True)
    ]
    assert found.by_seed == pytest.approx(by_fold)
    assert found.value == pytest.approx(np.mean(by_fold))
    luck = np.var(by_fold, ddof=1) * (1 / 5 + overlap(5))
    most = np.sqrt(found.patient_means.var() + luck)
    assert 0.9 * most < found.standard_error < 1.03 * most  # without the part of few test images


def test_ensembles_are_compared_with_the_luck_of_their_networks():
    labels, p, member = predictions(luck=0.5)
    first, second = p.argmax(-1)
    both = tuple(p.mean((1, 2)).argmax(-1))
    found = macro_f1_difference(labels, first, second, member, classes=7, ensembles=both)
    single = macro_f1_difference(labels, first, second, member, classes=7)
    want = macro_f1(labels, both[0], 7) - macro_f1(labels, both[1], 7)
    assert found.value == pytest.approx(want)
    np.testing.assert_array_equal(found.seed_deviations, single.seed_deviations)
    alone = macro_f1_difference(labels, both[0][None], both[1][None], member, classes=7)
    np.testing.assert_allclose(found.patient_means, alone.patient_means)
    right = accuracy_difference(labels, first, second, member, ensembles=both)
    assert right.value == pytest.approx(np.mean(both[0] == labels) - np.mean(both[1] == labels))

    metrics = metric_intervals(labels, p[0], member, ensemble=True, resamples=200)
    assert metrics["accuracy"].value == pytest.approx(np.mean(both[0] == labels))
    assert metrics["macro_f1"].low < metrics["macro_f1"].value < metrics["macro_f1"].high


def test_metrics_of_networks_are_means_over_folds_and_seeds():
    labels, p, member = predictions(seeds=2)
    found = metric_intervals(labels, p[0], member, resamples=200)
    rows = p[0].reshape(10, len(labels), 7)
    seeds = metric_intervals(labels, rows, member, resamples=200)
    for name in found:
        assert found[name].value == pytest.approx(seeds[name].value)
    named = macro_f1_difference(
        *(labels, p[0].argmax(-1), np.broadcast_to(labels, p[0].shape[:-1]), member), classes=7
    )
    width = found["macro_f1"].high - found["macro_f1"].low
    assert width == pytest.approx(named.high - named.low, rel=0.25)


def test_a_statistic_of_folds_may_be_any():
    """Folds differ, but every image gets the same value within a fold: only the variation of folds
    is left.
    """
    values = np.array([0.1, 0.2, 0.3, 0.4, 0.5])

    def statistic(weights):
        return {"x": np.repeat(values[:, None], weights.shape[1], axis=1)}

    found = bootstrap(statistic, np.arange(20), shared=overlap(5), resamples=4000)["x"]
    error = np.sqrt(values.var(ddof=1) * (1 / 5 + overlap(5)))
    assert found.value == pytest.approx(0.3)
    assert (found.high - found.low) / 2 == pytest.approx(2.776 * error, rel=0.08)


def test_detectable_difference_is_found_with_a_power_of_eighty_percent():
    rng = np.random.default_rng(2)
    of_patients, none = rng.normal(0, 0.02, 100000), np.zeros(100000)

    def difference(value):
        return Difference(
            by_seed=np.array([value]),
            patient_means=value + of_patients,
            seed_deviations=none,
            level=0.95,
        )

    least = detectable(difference(0.0))
    assert least == pytest.approx((1.96 + 0.8416) * 0.02, rel=0.02)
    measured = rng.normal(least, 0.02, 3000)
    assert np.mean(measured > 1.96 * 0.02) == pytest.approx(0.8, abs=0.025)


REPETITIONS = 100
DEVIATION = np.sqrt(0.05 * 0.95 / REPETITIONS)


@pytest.mark.parametrize("fit", [recipes.quadratic, recipes.random_features])
def test_of_equal_recipes_five_in_a_hundred_intervals_exclude_zero(fit):
    """Within three standard deviations of 100 draws; the benchmark has the full table."""
    setting, rng = Setting(fit=fit), np.random.default_rng(3)
    held = {"out of fold": 0, "networks": 0, "ensembles": 0}
    settings = {"classes": CLASSES, "resamples": 100}
    for trial in range(REPETITIONS):
        data = setting.train(rng)
        error = pooled_difference(
            data.labels, *data.out_of_fold, data.patients, classes=CLASSES, folds=5
        )
        held["out of fold"] += abs(error.value) <= 1.96 * error.standard_error
        test = (data.test_labels, *data.networks, data.test_patients)
        for name, both in (("networks", None), ("ensembles", tuple(data.ensembles))):
            found = macro_f1_difference(*test, ensembles=both, seed=trial, **settings)
            held[name] += found.low <= 0 <= found.high
    assert min(held.values()) / REPETITIONS > 0.94 - 3 * DEVIATION  # 100 resamples cost a percent


def test_patients_alone_call_equal_recipes_different_too_often():
    """Trees are trained on halves of the patients: the variation between trainings is as large as
    that between images.
    """
    setting, rng, held = replace(Setting(fit=recipes.tree), folds=2), np.random.default_rng(4), []
    for _ in range(REPETITIONS):
        data = setting.train(rng, test=(np.zeros((1, 18)), np.zeros(1, int), np.zeros(1, int)))
        rows = (data.labels, *data.out_of_fold, data.patients)
        pair = [pooled_difference(*rows, classes=CLASSES, folds=k) for k in (1, 2)]
        held.append([abs(e.value) <= 1.96 * e.standard_error for e in pair])
    alone, both = np.mean(held, axis=0)
    assert alone < 0.92
    assert both > 0.95 - 3 * DEVIATION
