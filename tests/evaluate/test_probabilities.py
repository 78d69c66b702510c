"""Temperature agrees with torch and known truth, and reliability with scikit-learn; credible sets
contain the class as often as they should.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.calibration import calibration_curve

from thyroid.evaluate import temperature as module
from thyroid.evaluate.conformal import conformal_set, conformal_threshold
from thyroid.evaluate.metrics import calibration_error, log_loss, reliability
from thyroid.evaluate.temperature import fit_temperature, tempered


def stated(n, temperature=1.0, classes=5, seed=0, spread=2.0):
    """Labels drawn from true probabilities, and probabilities that are too extreme by
    `temperature`.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (n, classes))
    labels = (softmax(logits, axis=1).cumsum(1) < rng.random((n, 1))).sum(1).clip(max=classes - 1)
    return labels, softmax(logits * temperature, axis=1)


def by_torch(labels, probabilities):
    """The method of Guo et al. 2017: gradient descent on the temperature. Before, log T is assumed
    to have mean 0 and standard deviation 0.5.
    """
    logits = torch.from_numpy(np.log(probabilities))
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS([log_t], max_iter=200, line_search_fn="strong_wolfe",
                                tolerance_grad=1e-12, tolerance_change=1e-14)  # fmt: skip

    def closure():
        descent.zero_grad()
        loss = F.cross_entropy(logits / log_t.exp(), torch.from_numpy(labels), reduction="sum")
        loss = loss + log_t**2 / (2 * 0.5**2)
        loss.backward()
        return loss

    descent.step(closure)
    return log_t.exp().item()


# Temperature


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_temperature_is_what_torch_finds(temperature, n):
    labels, p = stated(n, temperature, seed=n)
    assert fit_temperature(labels, p) == pytest.approx(by_torch(labels, p), rel=1e-4)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_a_known_temperature_is_found_and_undone(temperature):
    labels, p = stated(40_000, temperature)
    found = fit_temperature(labels, p)
    assert found == pytest.approx(temperature, rel=0.03)
    np.testing.assert_allclose(tempered(p, temperature), stated(40_000)[1], atol=1e-12)
    ones = np.ones(len(labels))
    assert calibration_error(labels, tempered(p, found), ones) < 0.01
    if temperature != 1:
        assert calibration_error(labels, p, ones) > 0.05


def test_no_other_temperature_is_more_probable():
    labels, p = stated(200, 2.0, seed=4)
    ones = np.ones(len(labels))

    def total(T):
        return len(labels) * log_loss(labels, tempered(p, T), ones) + 2 * math.log(T) ** 2

    least = total(fit_temperature(labels, p))
    for other in np.exp(np.linspace(-3, 3, 400)):
        assert least <= total(other) + 1e-9


@pytest.mark.parametrize("n", [10, 60, 300])
def test_images_that_are_all_right_do_not_make_a_model_certain(n):
    """After n of n right ones, the next is wrong with probability 1 / (n + 2) (Laplace). If all are
    wrong, classes do not become equally probable.
    """
    p = np.tile([0.8, 0.15, 0.05], (n, 1))
    T = fit_temperature(np.zeros(n, int), p)
    assert T < 1
    assert 0.5 / (n + 2) < 1 - tempered(p, T)[0, 0] < 1 / (n + 2)
    assert 2 < fit_temperature(np.full(10, 2), p[:10]) < 20


def test_probabilities_of_zero_are_survived():
    p = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    for labels in ([0, 1, 0, 0], [0, 1, 2, 1]):  # the second one has two classes with probability 0
        found = fit_temperature(np.array(labels), p)
        assert math.exp(-3) <= found <= math.exp(3)
        q = tempered(p, found)
        assert np.isfinite(q).all()
        np.testing.assert_allclose(q.sum(axis=1), 1)
    np.testing.assert_allclose(tempered(p, 1.0), p, atol=1e-40)
    assert tempered(p, 20.0)[0] == pytest.approx([0.989, 0.0056, 0.0056], abs=1e-3)
    # single precision turns e^-200 into zero, so zero stands for its smallest number at most
    underflown = torch.tensor([[0.0, -200.0]]).softmax(1).double().numpy()
    assert underflown[0, 1] == 0 < tempered(underflown, 2.0)[0, 1] < 1e-20


@given(st.integers(0, 2**31), st.floats(0.05, 20), st.floats(0.5, 2))
@settings(max_examples=60, deadline=None)
def test_tempering_keeps_the_order_and_composes(seed, temperature, second):
    p = np.random.default_rng(seed).dirichlet(np.ones(4), 5)
    q = tempered(p, temperature)
    np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-12)
    powered = p ** (1 / temperature)
    np.testing.assert_allclose(q, powered / powered.sum(axis=1, keepdims=True), atol=1e-10)
    assert (q.argmax(axis=1) == p.argmax(axis=1)).all()
    surer = q.max(axis=1) - p.max(axis=1)
    assert (surer <= 1e-12).all() if temperature >= 1 else (surer >= -1e-12).all()
    if 0.5 <= temperature <= 2:  # beyond this, the replacement of zero decides
        both = tempered(p, temperature * second)
        np.testing.assert_allclose(tempered(q, second), both, atol=1e-9)


# Reliability


@pytest.mark.parametrize("bins", [5, 15])
@pytest.mark.parametrize("n", [8, 400])
def test_reliability_is_scikit_learns_curve(n, bins):
    labels, p = stated(n, 2.0, seed=n)
    found = reliability(labels, p, bins)
    right, confidence = p.argmax(axis=1) == labels, p.max(axis=1)
    accuracy, mean = calibration_curve(right, confidence, n_bins=bins)
    occupied = [b for b in found if b.images]
    assert [b.accuracy for b in occupied] == pytest.approx(accuracy)
    assert [b.confidence for b in occupied] == pytest.approx(mean)
    assert all(b.low <= b.confidence <= b.high for b in occupied)
    for empty in (b for b in found if not b.images):
        assert math.isnan(empty.accuracy)
        assert math.isnan(empty.confidence)
    assert [b.low for b in found] == pytest.approx(np.arange(bins) / bins)
    assert [b.high for b in found] == pytest.approx(np.arange(1, bins + 1) / bins)
    assert sum(b.images for b in found) == n


@pytest.mark.parametrize("bins", [4, 15])
def test_calibration_error_is_the_sum_over_the_bins(bins):
    labels, p = stated(300, 3.0, seed=2)
    p[:6, :4] = 0
    p[:6, 4] = 1  # probability 1: the upper edge of the last bin
    p[6:9] = [0.5, 0.5, 0, 0, 0]  # the edge between two bins of four
    found = [b for b in reliability(labels, p, bins) if b.images]
    total = sum(b.images / 300 * abs(b.accuracy - b.confidence) for b in found)
    assert total == pytest.approx(calibration_error(labels, p, np.ones(300), bins))


# Credible sets


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("n", [20, 60, 333])
def test_sets_hold_the_class_as_often_as_they_say(n, level):
    """On average over calibration sets: ceil((n + 1) level) / (n + 1), whatever the network."""
    for_all, rng = [], np.random.default_rng(1)
    for trial in range(400):
        labels, p = stated(n + 200, 2.0, classes=4, seed=10_000 * n + trial)
        order = rng.permutation(len(labels))
        known, new = order[:n], order[n:]
        credible = conformal_set(p[new], conformal_threshold(labels[known], p[known], level))
        for_all.append(credible[np.arange(200), labels[new]].mean())
    expected = math.ceil(round((n + 1) * level, 9)) / (n + 1)
    error = np.std(for_all) / math.sqrt(len(for_all))
    assert np.mean(for_all) == pytest.approx(expected, abs=4 * error)
    assert expected >= level


def test_the_threshold_is_the_ranked_score():
    labels = np.zeros(19, int)
    p = np.linspace(0.05, 0.95, 19)  # scores 0.95, 0.9, ... 0.05
    p = np.random.default_rng(0).permutation(np.stack([p, 1 - p], axis=1))
    assert conformal_threshold(labels, p, 0.95) == pytest.approx(0.95)  # the 19th of 19
    assert conformal_threshold(labels, p, 0.9) == pytest.approx(0.9)  # the 18th
    assert conformal_threshold(labels, p, 0.5) == pytest.approx(0.5)  # the 10th
    # (n + 1) level is a whole number, which floating point overshoots
    many = np.stack([np.linspace(0, 0.98, 99)[::-1], np.zeros(99)], axis=1)
    assert 100 * 0.55 > 55
    assert conformal_threshold(np.zeros(99, int), many, 0.55) == 1 - many[54, 0]


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_too_few_images_make_every_class_credible(level):
    enough = round(level / (1 - level))
    labels, p = stated(enough, 3.0, seed=1)
    assert conformal_threshold(labels[:-1], p[:-1], level) == 1.0
    assert conformal_threshold(labels[:0], p[:0], level) == 1.0
    certain = np.array([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    assert conformal_set(certain, 1.0).all()
    assert conformal_threshold(labels, p, level) == (1 - p[np.arange(enough), labels]).max() < 1


def test_sets_may_hold_none_one_or_several():
    p = np.array([[0.4, 0.35, 0.25], [0.9, 0.06, 0.04], [0.5, 0.5, 0.0]])
    got = conformal_set(p, 0.5)
    assert got.dtype == bool
    assert got.tolist() == [[False] * 3, [True, False, False], [True, True, False]]


@given(st.integers(0, 2**31), st.floats(0.5, 0.99), st.integers(1, 80))
@settings(max_examples=60, deadline=None)
def test_on_its_own_images_it_holds_at_least_as_many(seed, level, n):
    """Also, the threshold rises with the level, and the order of images does not matter."""
    rng = np.random.default_rng(seed)
    p, labels = rng.dirichlet(np.ones(3), n), rng.integers(0, 3, n)
    threshold = conformal_threshold(labels, p, level)
    assert conformal_set(p, threshold)[np.arange(n), labels].mean() >= level
    assert conformal_threshold(labels, p, (1 + level) / 2) >= threshold
    order = rng.permutation(n)
    assert conformal_threshold(labels[order], p[order], level) == threshold


def test_the_least_probability_is_single_precisions():
    assert torch.tensor(module.LEAST).item() > 0
    assert torch.tensor(module.LEAST / 4).item() == 0
