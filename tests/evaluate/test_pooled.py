"""Macro-F1 of pooled predictions: its standard error agrees with jackknife and resampling."""

import time

import numpy as np
import pytest

from thyroid.evaluate.metrics import macro_f1
from thyroid.evaluate.paired import macro_f1_difference
from thyroid.evaluate.pooled import pooled_difference, pooled_macro_f1


def simulate(rng, *, seeds=1, patients=150, images=2, classes=5, right=(0.85, 0.8)):
    member = np.repeat(np.arange(patients), images)
    labels = rng.integers(0, classes, patients)[member]
    hard = rng.normal(0, 0.1, patients)[member]
    named = []
    for share in right:
        hit = rng.random((seeds, len(labels))) < share + hard
        wrong = (labels + rng.integers(1, classes, hit.shape)) % classes
        named.append(np.where(hit, labels, wrong))
    return labels, *named, member


def test_value_is_macro_f1_and_the_mean_over_seeds():
    labels, first, second, member = simulate(np.random.default_rng(0), seeds=3)
    each = [macro_f1(labels, row, 5) for row in first]
    assert pooled_macro_f1(labels, first, member, classes=5).value == pytest.approx(np.mean(each))
    alone = pooled_macro_f1(labels, first[0], member, classes=5)
    assert alone.value == pytest.approx(each[0])
    assert alone == pooled_macro_f1(labels, first[:1], member, classes=5)
    found = pooled_difference(labels, first, second, member, classes=5)
    other = pooled_macro_f1(labels, second, member, classes=5)
    assert found.value == pytest.approx(np.mean(each) - other.value)


@pytest.mark.parametrize("seeds", [1, 3])
def test_standard_error_is_that_of_leaving_out_one_patient(seeds):
    labels, first, second, member = simulate(np.random.default_rng(1), seeds=seeds, patients=300)

    def difference(rows):
        pairs = zip(first, second, strict=True)
        y = labels[rows]
        return np.mean([macro_f1(y, a[rows], 5) - macro_f1(y, b[rows], 5) for a, b in pairs])

    left = np.array([difference(member != p) for p in range(300)])
    jackknife = np.sqrt(299 / 300 * ((left - left.mean()) ** 2).sum())
    found = pooled_difference(labels, first, second, member, classes=5)
    assert found.standard_error == pytest.approx(jackknife, rel=0.01)


def test_standard_error_is_that_of_resampling():
    data = simulate(np.random.default_rng(2), patients=400)
    resampled = macro_f1_difference(*data, classes=5, resamples=4000).patient_means.std()
    found = pooled_difference(*data, classes=5)
    assert found.standard_error == pytest.approx(resampled, rel=0.06)


def test_images_of_one_patient_count_together():
    labels, first, _, _ = simulate(np.random.default_rng(3), patients=100, images=1)
    apart = pooled_macro_f1(labels, first, np.arange(100), classes=5)
    four = pooled_macro_f1(
        np.tile(labels, 4), np.tile(first, 4), np.tile(np.arange(100), 4), classes=5
    )
    assert (four.value, four.standard_error) == pytest.approx((apart.value, apart.standard_error))


def test_a_recipe_does_not_differ_from_itself_and_the_sign_follows_the_order():
    labels, first, second, member = simulate(np.random.default_rng(4))
    same = pooled_difference(labels, first, first, member, classes=5)
    assert (same.value, same.standard_error) == (0, 0)
    there = pooled_difference(labels, first, second, member, classes=5)
    back = pooled_difference(labels, second, first, member, classes=5)
    assert (back.value, back.standard_error) == pytest.approx((-there.value, there.standard_error))


def test_classes_without_images_or_never_named_and_a_single_patient():
    labels, named = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 3, 1])
    found = pooled_macro_f1(labels, named, np.arange(5), classes=4)
    assert found.value == pytest.approx(macro_f1(labels, named, 4))
    assert np.isfinite(found.standard_error)
    assert np.isnan(pooled_macro_f1(labels, named, np.zeros(5), classes=4).standard_error)


def test_five_hundred_images_take_less_than_fifty_milliseconds():
    data = simulate(np.random.default_rng(5), seeds=3, patients=250, classes=7)
    pooled_difference(*data, classes=7)
    start = time.process_time()
    for _ in range(10):
        pooled_difference(*data, classes=7)
    assert (time.process_time() - start) / 10 < 0.05
