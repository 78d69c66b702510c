"""McNemar's test agrees with sums by hand and scipy, Holm's correction with its definition."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from thyroid.evaluate.significance import McNemar, holm, holm_levels, mcnemar

P_VALUES = st.lists(st.floats(0, 1), max_size=12)


def images(both, only_first, only_second, neither):
    """Labels and the classes that two methods name, with given numbers of images of each kind."""
    right = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [both, only_first, only_second, neither], 0)
    order = np.random.default_rng(0).permutation(len(right))
    labels = np.arange(len(right)) % 5
    # if both are wrong, they name different classes
    named = np.where(right[order] == 1, labels[:, None], (labels[:, None] + [1, 2]) % 5)
    return labels, named[:, 0], named[:, 1]


def by_hand(k, n):
    """Share of the 2^n outcomes of n tosses that are at least as far from n / 2."""
    extreme = sum(comb(n, i) for i in range(n + 1) if abs(2 * i - n) >= abs(2 * k - n))
    return float(Fraction(extreme, 2**n))


@pytest.mark.parametrize("n", range(15))
def test_mcnemar_is_the_sum_over_outcomes(n):
    for k in range(n + 1):
        got = mcnemar(*images(7, k, n - k, 4))
        assert (got.only_first, got.only_second) == (k, n - k)
        assert got.p_value == pytest.approx(by_hand(k, n), rel=1e-12)


@given(st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=40, deadline=None)
def test_mcnemar_is_scipys_binomial_test(only_first, only_second):
    got = mcnemar(*images(3, only_first, only_second, 2))
    n = only_first + only_second
    want = binomtest(min(only_first, only_second), n).pvalue if n else 1.0
    assert got.p_value == pytest.approx(want, rel=1e-12)
    swapped = mcnemar(*np.array(images(3, only_first, only_second, 2))[[0, 2, 1]])
    assert (swapped.only_first, swapped.only_second) == (only_second, only_first)
    assert swapped.p_value == pytest.approx(got.p_value, rel=1e-12)


def test_images_that_do_not_tell_them_apart_do_not_count():
    assert mcnemar(*images(50, 0, 0, 30)) == McNemar(only_first=0, only_second=0, p_value=1.0)
    few, many = mcnemar(*images(0, 9, 2, 0)), mcnemar(*images(500, 9, 2, 300))
    assert few == many
    assert few.p_value == pytest.approx(0.065, abs=0.001)  # tables of the sign test: 9 of 11


def test_mcnemar_finds_nothing_as_often_as_it_says():
    rng, found = np.random.default_rng(0), 0
    for _ in range(1000):
        labels = np.zeros(60, int)
        found += mcnemar(labels, *(rng.random((2, 60)) > 0.7).astype(int)).p_value <= 0.05
    assert 0.01 < found / 1000 < 0.055  # counts are whole: the level is at most 0.05


def stepping_down(p_values, alpha):
    """Holm's own procedure: which of the hypotheses are rejected."""
    left = list(range(len(p_values)))
    rejected = set()
    while left:
        smallest = min(left, key=lambda i: p_values[i])
        if p_values[smallest] * len(left) > alpha:
            break
        rejected.add(smallest)
        left.remove(smallest)
    return rejected


def closed(p_values):
    """The closure of Bonferroni's test: for each hypothesis, the maximum over all sets that contain
    it.
    """
    m = len(p_values)
    adjusted = [0.0] * m
    for chosen in range(1, 2**m):
        members = [i for i in range(m) if chosen >> i & 1]
        p = min(1.0, len(members) * min(p_values[i] for i in members))
        for i in members:
            adjusted[i] = max(adjusted[i], p)
    return adjusted


def test_holm_of_known_numbers():
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.3]) == [0.3]
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=7))
@settings(max_examples=60, deadline=None)
def test_holm_is_the_closure_of_bonferroni(p_values):
    assert holm(p_values) == pytest.approx(closed(p_values), rel=1e-12)


@given(P_VALUES, st.floats(0.001, 0.5))
def test_holm_rejects_what_stepping_down_rejects(p_values, alpha):
    rejected = {i for i, p in enumerate(holm(p_values)) if p <= alpha}
    assert rejected == stepping_down(p_values, alpha)


@given(P_VALUES, st.randoms(use_true_random=False))
def test_holm_lies_between_no_correction_and_bonferronis_in_any_order(p_values, random):
    adjusted, m = holm(p_values), len(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1.0, m * p)
    order = random.sample(range(m), m)
    assert holm([p_values[i] for i in order]) == [adjusted[i] for i in order]
    levels = holm_levels(p_values)
    assert holm_levels([p_values[i] for i in order]) == [levels[i] for i in order]
    ascending = [adjusted[i] for i in sorted(range(m), key=p_values.__getitem__)]
    assert ascending == sorted(ascending)


def test_levels_of_known_numbers():
    # 0.001 <= 0.05 / 4, but 0.02 > 0.05 / 3: there the step-down stops, before 0.03 and 0.04
    got = holm_levels([0.04, 0.001, 0.02, 0.03])
    third = 1 - 0.05 / 3
    assert got == pytest.approx([third, 1 - 0.05 / 4, third, third])
    assert holm_levels([0.01, 0.02]) == pytest.approx([0.975, 0.95])
    assert holm_levels([0.7], 0.9) == pytest.approx([0.9])
    assert holm_levels([]) == []


@given(P_VALUES, st.floats(0.5, 0.999))
def test_an_interval_leaves_out_zero_where_holm_rejects(p_values, level):
    """An interval at level l excludes zero if its p-value is at most 1 - l."""
    rejected = stepping_down(p_values, 1 - level)
    for i, (p, own) in enumerate(zip(p_values, holm_levels(p_values, level), strict=True)):
        assert level - 1e-12 <= own <= 1 - (1 - level) / len(p_values) + 1e-12
        if abs(p - (1 - own)) > 1e-12:  # otherwise rounding decides
            assert (p < 1 - own) == (i in rejected)


def test_any_false_finding_is_as_rare_as_it_says():
    rng, false = np.random.default_rng(0), {"holm": 0, "none": 0}
    for _ in range(2000):
        p = np.append(rng.random(5), 1e-9)  # five true null hypotheses beside one that is false
        false["holm"] += min(holm(p)[:5]) <= 0.05
        false["none"] += min(p[:5]) <= 0.05
    assert 0.03 < false["holm"] / 2000 < 0.065
    assert false["none"] / 2000 > 0.18
