"""The test against chance distinguishes results by chance from others."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import binom

from thyroid.evaluate.chance import against_chance
from thyroid.evaluate.metrics import Ints, macro_f1


def test_chance_is_the_mean_over_all_exchanges_where_these_can_be_counted() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    predicted = np.array([[0, 1, 1, 2, 2], [0, 0, 1, 1, 1]])
    every = [
        np.mean([macro_f1(np.array(given), row, 3) for row in predicted])
        for given in permutations(labels.tolist())
    ]
    own = np.mean([macro_f1(labels, row, 3) for row in predicted])
    found = against_chance(labels, predicted, np.arange(5), 3, resamples=20_000)
    assert found.macro_f1 == pytest.approx(np.mean(every), abs=0.005)
    assert found.p_value == pytest.approx(np.mean(np.array(every) >= own - 1e-12), abs=0.01)


def drawn(rng: np.random.Generator, patients: int, images: int) -> tuple[Ints, Ints, Ints]:
    """Labels of patients with `images` images each, and predictions; all images of a patient have
    the same label and the same prediction.
    """
    patient = np.repeat(np.arange(patients), images)
    labels = rng.integers(3, size=patients)[patient]
    return patient, labels, rng.integers(3, size=(2, patients))[:, patient]


@pytest.mark.parametrize("images", [1, 4])
def test_predictions_that_know_nothing_are_called_luck_nineteen_times_in_twenty(
    images: int,
) -> None:
    rng = np.random.default_rng(images)
    found = []
    for _ in range(400):
        patient, labels, predicted = drawn(rng, 30, images)
        chance = against_chance(labels, predicted, patient, 3, resamples=99)
        found.append(chance.p_value <= 0.05)
    assert sum(found) <= binom.ppf(0.999, 400, 0.05)


def test_a_network_that_names_all_classes_at_random_is_above_a_constant_guess_and_still_luck() -> (
    None
):
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(7, size=700), rng.integers(7, size=(5, 700))
    constant = macro_f1(labels, np.zeros(700, dtype=np.int64), 7)
    assert macro_f1(labels, predicted[0], 7) > 3 * constant
    assert against_chance(labels, predicted, np.arange(700), 7, resamples=199).p_value > 0.05


def test_a_little_knowledge_of_many_images_is_found() -> None:
    rng = np.random.default_rng(0)
    patient, labels, predicted = drawn(rng, 500, 2)
    known = rng.random(predicted.shape) < 0.2
    predicted[known] = np.broadcast_to(labels, predicted.shape)[known]
    assert against_chance(labels, predicted, patient, 3, resamples=199).p_value == 1 / 200


def test_patients_with_different_numbers_of_images_exchange_whole_labels() -> None:
    patient = np.repeat(np.arange(12), np.arange(1, 13))
    labels = (np.arange(12) % 2)[patient]
    found = against_chance(labels, labels[None], patient, 2, resamples=999)
    assert 0.4 < found.macro_f1 < 0.6
    assert found.p_value < 0.02
