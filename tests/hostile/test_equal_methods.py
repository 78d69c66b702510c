"""How often a report calls one of two equal methods better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from reports.estimates import LEVEL, direction, gain, paired_differences
from thyroid.evaluate.metrics import Floats, Ints, macro_f1
from thyroid.evaluate.paired import accuracy_difference, macro_f1_difference

CLASSES = 4


@dataclass(frozen=True, kw_only=True)
class Luck:
    """Sources of differences between trainings and images while methods are equal."""

    seeds: int = 5
    patients: int = 80
    of_seed: float = 0.4
    """Spread of a training's skill, in logits; one logit changes its share of right answers by
    about 0.1."""
    of_training: float = 0.7
    """Standard deviation of a training's skill in a class."""
    of_patient: float = 1.0
    """Standard deviation of a patient's difficulty, common to all trainings."""
    of_method: float = 0.0
    """Standard deviation of a patient's difficulty for one method."""
    images: tuple[int, int] = (1, 4)
    """Number of images per patient: minimum, and maximum plus one."""


def equal(rng: np.random.Generator, luck: Luck, methods: int) -> tuple[Ints, list[Ints], Ints]:
    """Labels (N,), what each of the methods names (S, N), and patients (N,)."""
    member = np.repeat(np.arange(luck.patients), rng.integers(*luck.images, luck.patients))
    labels = rng.choice(CLASSES, luck.patients, p=[0.4, 0.3, 0.2, 0.1])[member]
    hard = rng.normal(0, luck.of_patient, luck.patients)[member]
    wrong = (labels + rng.integers(1, CLASSES, (luck.patients,))[member]) % CLASSES
    named = []
    for _ in range(methods):
        skill: Floats = 1.0 + rng.normal(0, luck.of_seed, (luck.seeds, 1))
        skill = skill + rng.normal(0, luck.of_training, (luck.seeds, CLASSES))[:, labels]
        if luck.of_method:
            skill = skill + rng.normal(0, luck.of_method, luck.patients)[member]
        right = rng.random(skill.shape) < 1 / (1 + np.exp(-(skill - hard)))
        named.append(np.where(right, labels, wrong))
    return labels, named, member


@pytest.mark.parametrize(
    "luck",
    [
        Luck(),
        Luck(of_seed=0.0, of_training=0.0, of_patient=2.0),
        Luck(of_seed=1.0, patients=300),
        Luck(seeds=10, patients=40, images=(1, 12)),
    ],
    ids=["usual", "patients", "seeds", "few patients of many images"],
)
def test_of_two_equal_methods_one_is_called_better_one_time_in_twenty(luck: Luck) -> None:
    rng, called = np.random.default_rng(0), {"macro_f1": 0, "accuracy": 0}
    repetitions = 150
    for trial in range(repetitions):
        labels, (first, second), member = equal(rng, luck, 2)
        settings: dict[str, Any] = {"resamples": 300, "seed": trial}
        f1 = macro_f1_difference(labels, first, second, member, classes=CLASSES, **settings)
        called["macro_f1"] += f1.p_value <= 1 - LEVEL
        accuracy = accuracy_difference(labels, first, second, member, **settings)
        called["accuracy"] += accuracy.p_value <= 1 - LEVEL
    assert max(called.values()) <= binom.ppf(0.99, repetitions, 0.05)


def test_among_eight_equal_baselines_any_is_called_worse_or_better_one_time_in_twenty() -> None:
    """The differences are one family, each with an interval at Holm's level."""
    rng, called, uncorrected, repetitions = np.random.default_rng(1), 0, 0, 80
    for trial in range(repetitions):
        labels, (method, *others), member = equal(rng, Luck(), 9)
        found = [
            macro_f1_difference(
                labels, method, other, member, classes=CLASSES, resamples=1000, seed=trial
            )
            for other in others
        ]
        raw = [each.interval_p_value for each in found]
        family = paired_differences(found, [Luck().seeds] * 8, [1] * 8, learned=True)
        called += {each.state for each in family} != {"undecided"}
        uncorrected += min(raw) <= 1 - LEVEL
    assert called <= binom.ppf(0.99, repetitions, 0.05)
    assert uncorrected > called


def test_the_luckiest_of_equal_recipes_is_not_called_better_by_the_images_that_chose_it() -> None:
    rng, tried, repetitions = np.random.default_rng(3), 16, 200
    luck = Luck(of_seed=0.0, of_training=0.0, of_method=2.0)
    called: dict[int, list[str]] = {1: [], tried: []}
    for trial in range(repetitions):
        labels, (other, *recipes), member = equal(rng, luck, 1 + tried)
        reached = [np.mean([macro_f1(labels, row, CLASSES) for row in r]) for r in recipes]
        best = recipes[int(np.argmax(reached))]
        found = macro_f1_difference(
            labels, best, other, member, classes=CLASSES, resamples=300, seed=trial
        )
        for number, states in called.items():
            states.append(direction(gain(found), found.p_value, luck.seeds, tried=number))
    assert called[1].count("higher") > binom.ppf(0.999, repetitions, 0.025)  # else it is
    assert set(called[tried]) == {"undecided", "selected"}


def test_a_method_that_is_better_is_called_so() -> None:
    """The report also finds true differences: it does not meet the bounds above by never reporting
    one.
    """
    rng, called = np.random.default_rng(2), 0
    for trial in range(20):
        labels, (first, second), member = equal(
            rng, Luck(patients=300, of_seed=0.1, of_training=0.2), 2
        )
        better = np.where(rng.random(first.shape) < 0.4, labels, first)
        found = macro_f1_difference(
            labels, better, second, member, classes=CLASSES, resamples=300, seed=trial
        )
        called += direction(gain(found), found.p_value, 5) == "higher"
    assert called >= 18
