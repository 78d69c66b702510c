"""Calibration on few images of another place: it is moderate, by patient, and cross-validated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from thyroid.evaluate import temperature
from thyroid.evaluate.conformal import conformal_set, conformal_threshold
from thyroid.evaluate.metrics import calibration_error, log_loss
from thyroid.evaluate.recalibration import Calibration, gain, least_patients, recalibrated
from thyroid.evaluate.temperature import fit_temperature, shrunk_temperature, tempered

CLASSES = 7


def drawn(
    n: int, best: float, rng: np.random.Generator, sharp: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities whose best temperature is `best`; 84 % of predictions are right."""
    truth = np.maximum(rng.dirichlet([sharp] * CLASSES, n), 1e-12)
    truth /= truth.sum(axis=1, keepdims=True)
    labels = (truth.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return labels, tempered(truth, 1 / best)


@pytest.mark.parametrize(
    ("best", "kept", "alone", "shrunk"),
    [(1.0, 0.0, 0.160, 0.011), (2.0, 0.084, 0.250, 0.035), (3.0, 0.248, 0.425, 0.076)],
)
def test_twenty_patients_move_a_temperature_as_far_as_they_may(
    best: float, kept: float, alone: float, shrunk: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures in the docstring of `shrunk_temperature`: mean log loss above that of the best
    temperature.
    """
    rng = np.random.default_rng(7)
    labels, p = drawn(20_000, best, rng)
    rows = np.arange(len(labels))
    grid = np.exp(np.linspace(-3, 3, 61))
    losses = [-np.log(np.maximum(tempered(p, T)[rows, labels], 1e-300)).mean() for T in grid]

    def above(T: float) -> float:
        return float(np.interp(math.log(T), np.log(grid), losses)) - min(losses)

    assert above(1.0) == pytest.approx(kept, abs=0.02)
    found = []
    for _ in range(200):
        few, stated = drawn(20, best, rng)
        by_patient = shrunk_temperature(few, stated, np.arange(20), 1.0)
        with monkeypatch.context() as unknown:
            unknown.setattr(temperature, "SPREAD", math.inf)
            found.append((above(fit_temperature(few, stated)), above(by_patient)))
    of_fit, of_shrunk = np.mean(found, axis=0)
    assert of_fit == pytest.approx(alone, rel=0.4)  # a few certain predictions decide
    assert of_shrunk == pytest.approx(shrunk, abs=0.3 * shrunk + 0.005)
    assert of_shrunk < of_fit / 3
    assert of_shrunk < above(1.0) + 0.02


def test_many_patients_outweigh_the_model_s_temperature() -> None:
    labels, p = drawn(4000, 2.0, np.random.default_rng(1))
    T = shrunk_temperature(labels, p, np.arange(4000), 0.5)
    assert pytest.approx(fit_temperature(labels, p), rel=0.02) == T


def test_a_patient_counts_once_however_many_images_it_has() -> None:
    labels, p = drawn(30, 1.5, np.random.default_rng(2))
    patients = np.arange(30)
    once = recalibrated(labels, p, patients, own=0.8, level=0.9)
    again = np.concatenate([np.arange(30), np.full(40, 3)])  # patient 3, forty more times
    many = recalibrated(labels[again], p[again], patients[again], own=0.8, level=0.9)
    assert many.temperature == pytest.approx(once.temperature, rel=1e-4)
    assert many.threshold == pytest.approx(once.threshold, rel=1e-3)


def scores_of(patients: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores of images, similar within a patient. One patient in three has ten images with high
    scores, the others have one image.
    """
    many = rng.random(patients) < 1 / 3
    member = np.repeat(np.arange(patients), np.where(many, 10, 1))
    own = rng.random(patients) * 0.5 + np.where(many, 0.4, 0)
    return np.clip(own[member] + 0.05 * rng.random(len(member)), 0, 0.999), member


def test_sets_hold_the_class_of_a_new_patient_s_image_as_often_as_promised() -> None:
    rng = np.random.default_rng(3)
    by_patient, by_image = [], []
    new, of = scores_of(20_000, rng)
    first = np.unique(of, return_index=True)[1]  # an image of each new patient
    for _ in range(200):
        scores, member = scores_of(40, rng)
        labels, p = np.zeros(len(scores), dtype=int), np.stack([1 - scores, scores], axis=1)
        by_patient.append((new[first] <= conformal_threshold(labels, p, 0.8, member)).mean())
        by_image.append((new[first] <= conformal_threshold(labels, p, 0.8)).mean())
    assert np.mean(by_patient) == pytest.approx(0.81, abs=0.015)
    assert np.mean(by_image) > 0.9  # those with ten images would decide


def test_the_gain_is_of_patients_that_were_left_out() -> None:
    """Compare the gain with that of leaving out one patient after the other."""
    rng = np.random.default_rng(4)
    labels, p = drawn(60, 2.0, rng, sharp=0.2)
    patients = np.array([f"p{i % 25}" for i in range(60)])
    before = Calibration(temperature=0.5, threshold=0.7)
    found = gain(labels, p, patients, before=before, level=0.95)
    new, credible = np.empty_like(p), np.empty(p.shape, dtype=bool)
    for name in set(patients):
        out = patients == name
        T = shrunk_temperature(labels[~out], p[~out], patients[~out], 0.5)
        q = conformal_threshold(labels[~out], tempered(p[~out], T), 0.95, patients[~out])
        new[out] = tempered(p[out], T)
        credible[out] = conformal_set(new[out], min(q, 1.0))
    old, rows, once = tempered(p, 0.5), np.arange(60), np.ones(60)
    expected = {
        "before_log_loss": log_loss(labels, old, once),
        "after_log_loss": log_loss(labels, new, once),
        "log_loss_change": log_loss(labels, new, once) - log_loss(labels, old, once),
        "before_ece": calibration_error(labels, old, once),
        "after_ece": calibration_error(labels, new, once),
        "before_coverage": conformal_set(old, 0.7)[rows, labels].mean(),
        "after_coverage": credible[rows, labels].mean(),
        "before_named": (conformal_set(old, 0.7).sum(axis=1) == 1).mean(),
        "after_named": (credible.sum(axis=1) == 1).mean(),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name].value) == pytest.approx(float(value)), name
    change = found["log_loss_change"]
    assert change.low < change.value < change.high < 0  # 0.5 instead of 2
    whole = recalibrated(labels, p, patients, own=0.5, level=0.95)
    of_fit = log_loss(labels, tempered(p, whole.temperature), once)
    assert of_fit < expected["after_log_loss"]  # figures on the images of the fit are too good


def test_a_calibration_that_was_right_gains_nothing() -> None:
    labels, p = drawn(40, 1.0, np.random.default_rng(5))
    before = Calibration(temperature=1.0, threshold=0.9)
    change = gain(labels, p, np.arange(40), before=before, level=0.95)["log_loss_change"]
    assert change.low < 0 < change.high


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.99])
def test_the_least_number_of_patients_states_a_threshold_without_one_of_them(level: float) -> None:
    least = least_patients(level)
    p = np.full((least, 2), 0.5)
    some = conformal_threshold(np.zeros(least - 1, dtype=int), p[1:], level)
    fewer = conformal_threshold(np.zeros(least - 2, dtype=int), p[2:], level)
    assert (some, fewer) == (0.5, 1.0)
