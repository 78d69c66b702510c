"""Every statistic agrees with an independent reference, and every fault of a generator is found."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from torch import nn
from torchmetrics.image.kid import KernelInceptionDistance

from thyroid.evaluate.case_mix import draw_same_mix, mix_weights
from thyroid.evaluate.generator_quality import (
    compare,
    frechet_distance,
    kernel_distance,
    mean_of,
    memorisation,
    nearest_distances,
    neighbour_dispersion,
    neighbourhoods,
    total_counts_distance,
)


def clouds(n=40, m=60, d=6, shift=0.5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1.3, (n, d)), rng.normal(size=(m, d)) @ np.diag(np.linspace(0.5, 2, d))


def scenes(n, seed, size=32):
    """Expected counts of a bright spot at a random place, an even background and a ramp."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    cy, cx = rng.uniform(0.25 * size, 0.75 * size, (2, n, 1, 1))
    spot = 40 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (size / 10) ** 2))
    return 5 + 0.1 * y + spot


# Distances


@pytest.mark.parametrize("n", [12, 40, 200])  # fewer images than features, too
def test_frechet_distance(n):
    x, y = clouds(n, 60, d=15)
    s_x, s_y = np.cov(x.T), np.cov(y.T)
    root = sqrtm(s_x @ s_y).real
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(s_x + s_y - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_of_known_gaussians():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 200_000, 2)) * np.array([[[1, 1]], [[3, 1]]]) + [[[2, 0]], [[0, 0]]]
    # independent axes: (mu_x - mu_y)^2 + (s_x - s_y)^2 summed
    assert frechet_distance(x, y) == pytest.approx(4 + 4, rel=0.02)
    assert frechet_distance(x[:99], x[:99]) == pytest.approx(0, abs=1e-6)


def test_kernel_distance_is_torchmetrics():
    x, y = clouds(50, 50)
    features = nn.Identity()
    metric = KernelInceptionDistance(feature=features, subsets=1, subset_size=50)
    metric.update(torch.from_numpy(x), real=False)
    metric.update(torch.from_numpy(y), real=True)
    assert kernel_distance(x, y) == pytest.approx(metric.compute()[0].item(), rel=1e-9)


@pytest.mark.parametrize("paired", [False, True])
def test_kernel_distance_by_counting_pairs(paired):
    x, y = clouds(9, 9 if paired else 7)

    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    within = [
        np.mean([k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j])
        for s in (x, y)
    ]
    across = np.mean(
        [k(a, b) for i, a in enumerate(x) for j, b in enumerate(y) if not paired or i != j]
    )
    assert kernel_distance(x, y, paired=paired) == pytest.approx(sum(within) - 2 * across)


@pytest.mark.parametrize("paired", [False, True])
def test_kernel_distance_is_unbiased(paired):
    """The mean distance between samples of one distribution is 0, also for paired images."""
    found = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        same, own = rng.normal(size=(12, 4)), rng.normal(size=(2, 12, 4))
        x, y = own if not paired else 0.8 * same + 0.6 * own
        found.append(kernel_distance(x, y, paired=paired))
    assert abs(np.mean(found)) < 3 * np.std(found) / 20


def test_kernel_distance_is_unbiased_with_a_fixed_mix():
    """Few images in each of several distant groups: leaving out the pairs i = j removes pairs
    within groups only, which biases the plain estimate.
    """
    groups = np.repeat(np.array(["a", "b", "c"], dtype=object), [2, 3, 5])
    twice = np.repeat(groups, 2)
    middle = {"a": -3.0, "b": 0.0, "c": 3.0}
    found, plain = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        x, y = (rng.normal([[middle[g]] for g in mix], 1, (len(mix), 4)) for mix in (groups, twice))
        found.append(kernel_distance(x, y, groups=(groups, twice)))
        plain.append(kernel_distance(x, y))
    assert abs(np.mean(found)) < 3 * np.std(found) / 20
    assert np.mean(plain) < -10 * np.std(plain) / 20


def test_one_group_needs_no_correction():
    x, y = clouds(8, 9)
    one = (np.full(8, "a", dtype=object), np.full(9, "a", dtype=object))
    assert kernel_distance(x, y, groups=one) == pytest.approx(kernel_distance(x, y), rel=1e-12)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_neighbourhoods_by_brute_force(k, shift):
    made, real = clouds(30, 45, shift=shift)

    def radius(points, i):
        return sorted(np.linalg.norm(points[i] - p) for p in np.delete(points, i, 0))[k - 1]

    in_real = [[np.linalg.norm(a - b) <= radius(real, j) for j, b in enumerate(real)] for a in made]
    in_made = [[np.linalg.norm(a - b) <= radius(made, i) for i, a in enumerate(made)] for b in real]
    found = neighbourhoods(made, real, k)
    assert found["precision"] == pytest.approx(np.mean([any(row) for row in in_real]))
    assert found["recall"] == pytest.approx(np.mean([any(row) for row in in_made]))
    assert found["density"] == pytest.approx(np.sum(in_real) / (k * len(made)))
    assert found["coverage"] == pytest.approx(np.mean(np.any(in_real, axis=0)))


def test_each_distance_notices_its_fault():
    rng = np.random.default_rng(0)
    real, fresh = rng.normal(size=(2, 300, 4))
    good = compare(fresh, real)
    collapsed = compare(real[:1] + 0.01 * fresh, real)
    strange = compare(fresh + 6, real)
    assert all(value is not None for value in good.values())
    assert good["precision"] > 0.9
    assert good["recall"] > 0.9
    assert good["coverage"] > 0.9
    assert good["density"] == pytest.approx(1, abs=0.1)
    assert abs(good["kernel_distance"]) < 0.05
    assert collapsed["recall"] < 0.1
    assert collapsed["coverage"] < 0.2
    assert strange["precision"] < 0.05
    assert strange["density"] < 0.05
    for name in ("frechet_distance", "kernel_distance"):
        assert min(collapsed[name], strange[name]) > 5 * abs(good[name])


@pytest.mark.parametrize(
    ("n", "known"),
    [
        (0, set()),
        (4, set()),
        (5, {"kernel_distance"}),
        (10, {"kernel_distance", "precision", "recall", "density", "coverage"}),
        (50, set(compare(np.eye(50), np.eye(50)))),
    ],
)
def test_few_images_are_not_compared(n, known):
    made, real = clouds(n, 60)
    assert {name for name, value in compare(made, real).items() if value is not None} == known


# Memorisation


def test_nearest_distances():
    x, y = clouds(20, 30)
    np.testing.assert_allclose(nearest_distances(x, y), cdist(x, y).min(1))


def flat(counts):
    """Stabilised counts as the stage compares them."""
    return np.sqrt(counts + 0.375).reshape(len(counts), -1)


def test_copied_training_images_are_found_out():
    rng = np.random.default_rng(0)
    rates, fresh, unseen = scenes(300, 0), scenes(200, 1), scenes(200, 2)
    train = rng.poisson(rates)
    held_out = nearest_distances(flat(rng.poisson(unseen)), flat(train))
    weights = np.ones(200)

    def found(counts):
        return memorisation(nearest_distances(flat(counts), flat(train)), held_out, weights)

    honest = found(rng.poisson(fresh))
    copied = found(rng.poisson(train[:200]))  # with noise of their own
    mixed = found(np.concatenate([rng.poisson(fresh[:140]), rng.poisson(train[:60])]))
    assert honest["nearest_training_distance"] == pytest.approx(1, abs=0.03)
    assert honest["share_suspiciously_near"] == pytest.approx(0.05, abs=0.04)
    assert copied["nearest_training_distance"] < 0.97
    assert copied["share_suspiciously_near"] > 0.5
    assert mixed["share_suspiciously_near"] > 0.15


def test_memorisation_weights_and_few_images():
    held_out = np.arange(1.0, 101)
    weighted = memorisation(np.array([0.5, 0.6, 80, 81, 82]), held_out, np.array([1, 1, 4, 4, 4.0]))
    assert weighted["share_suspiciously_near"] == pytest.approx(2 / 14)
    assert weighted["nearest_training_distance"] == pytest.approx(81 / 50.5)
    itself = memorisation(held_out, held_out, np.ones(100))
    assert itself["share_suspiciously_near"] == pytest.approx(0.05)
    assert itself["nearest_training_distance"] == pytest.approx(1, abs=0.02)
    few = memorisation(held_out, held_out[:19], np.ones(100))
    assert few["share_suspiciously_near"] is None
    assert few["nearest_training_distance"] is not None
    assert set(memorisation(held_out[:4], held_out, np.ones(4)).values()) == {None}


# Counts


@pytest.mark.parametrize("size", [32, 64, 65])
def test_poisson_noise_has_dispersion_one(size):
    counts = np.random.default_rng(0).poisson(scenes(200, 0, size))
    found = neighbour_dispersion(counts)
    assert found.mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("rate", [0.3, 1.0, 4.0, 100.0])
def test_dispersion_is_unbiased_at_every_level(rate):
    counts = np.random.default_rng(0).poisson(rate, (3000, 32, 32))
    found = neighbour_dispersion(counts)
    assert np.nanmean(found) == pytest.approx(1, abs=0.03)


def test_imitated_noise_is_found_out():
    """Images of a generator that learned noise contain noise twice; smooth counts contain too
    little.
    """
    rng = np.random.default_rng(0)
    counts = rng.poisson(scenes(100, 0))
    assert neighbour_dispersion(rng.poisson(counts)).mean() == pytest.approx(2, abs=0.05)
    a_third = scenes(100, 0) + (counts - scenes(100, 0)) / 3
    assert neighbour_dispersion(rng.poisson(a_third)).mean() > 1.05
    assert neighbour_dispersion(scenes(100, 0).round()).mean() < 0.5


def test_dispersion_block_by_block():
    counts = np.random.default_rng(0).poisson(3.0, (12, 12))
    totals, squares, around = {}, {}, {}
    for y in range(6):
        for x in range(6):
            (a, b), (c, d) = counts[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].tolist()
            totals[y, x], squares[y, x] = a + b + c + d, (a - b - c + d) ** 2
    for y in range(1, 5):
        for x in range(1, 5):
            near = [totals[y + i, x + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
            if totals[y, x] >= 4:
                around[y, x] = np.var(near) / np.mean(near)
    level = np.median(list(around.values()))
    ratios = [squares[at] / totals[at] for at, uneven in around.items() if uneven <= level]
    assert neighbour_dispersion(counts[None]) == pytest.approx([np.mean(ratios)])


def test_an_empty_image_has_no_dispersion():
    counts = np.random.default_rng(0).poisson(5.0, (6, 32, 32))
    counts[2] = 0
    found = neighbour_dispersion(counts)
    assert np.flatnonzero(np.isnan(found)).tolist() == [2]
    assert mean_of(found, np.ones(6)) == pytest.approx(np.nanmean(found))
    assert mean_of(found[:5], np.ones(5)) is None


def test_total_counts_distance_is_the_largest_gap():
    rng = np.random.default_rng(0)
    x, y = rng.lognormal(12, 0.3, 80), rng.lognormal(12.2, 0.3, 50)
    gaps = [abs(np.mean(x <= t) - np.mean(y <= t)) for t in [*x, *y]]
    assert total_counts_distance(x, y) == pytest.approx(max(gaps))
    assert total_counts_distance(np.append(x, np.nan), y) == pytest.approx(max(gaps))
    assert total_counts_distance(x, y[:4]) is None
    assert total_counts_distance(x * np.nan, y) is None


# The mix of groups

GROUPS = st.lists(st.sampled_from("abcd"), max_size=30).map(lambda g: np.array(g, dtype=object))


@given(reference=GROUPS, parts=st.lists(GROUPS, min_size=1, max_size=3), seed=st.integers(0, 9))
def test_drawn_images_have_one_mix(reference, parts, seed):
    rows, drawn = draw_same_mix(reference, parts, np.random.default_rng(seed))
    mix = Counter(reference[rows])
    there = Counter(reference)
    assert len(set(rows)) == len(rows)
    for group in "abcd":  # as many as every set has, but no more than the reference has
        assert mix[group] == min(there[group], *(int((part == group).sum()) for part in parts))
    times = {len(chosen) / max(len(rows), 1) for chosen in drawn}
    assert len(times) == 1
    for part, chosen in zip(parts, drawn, strict=True):
        assert len(set(chosen)) == len(chosen)
        assert Counter(part[chosen]) == {g: n * max(times) for g, n in mix.items() if n}


def test_more_images_are_drawn_where_every_group_has_more():
    reference = np.array(["a"] * 4 + ["b"] * 2, dtype=object)
    rows, (made, train) = draw_same_mix(
        reference, [np.repeat(reference, 5), np.repeat(reference, 3)], np.random.default_rng(0)
    )
    assert (len(rows), len(made), len(train)) == (6, 18, 18)


@given(groups=GROUPS, reference=GROUPS)
def test_weights_give_the_mix_of_the_reference(groups, reference):
    weights = mix_weights(groups, reference)
    there = Counter(reference) or Counter(groups)
    for group in set(groups):
        assert weights[groups == group].sum() == pytest.approx(there[group])
