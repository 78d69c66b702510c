"""The gate of a model: how far an image is from all training images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from thyroid.evaluate.novelty import AlteredOdds, FeatureReference
from thyroid.model.gate import gate_of
from thyroid.run_files.features_file import NetworkFeatures


def test_the_gate_weighs_networks_by_their_held_out_distances() -> None:
    """There are two folds; the measures of the second fold's two networks are averaged."""
    one = FeatureReference(
        means=np.array([[1.0, 0.0]]), directions=np.eye(2), deviations=np.ones(2), floor=1.0
    )
    first, second = np.arange(1.0, 400.0), np.arange(401.0, 800.0)
    odds = AlteredOdds(weights=np.array([0.0, 3.0]), bias=1.0)
    held_out = [(first, first), (2 * second, second - 1), (4 * second, second + 1)]
    networks = [
        NetworkFeatures(reference=one, odds=odds, held_out=distances, held_out_log_odds=log_odds)
        for distances, log_odds in held_out
    ]
    gate = gate_of(networks, [0, 1, 1])
    assert gate.scales == (200, 1200, 2400)
    scaled = np.concatenate([first / 200, second / 600])
    rank = int(np.ceil((len(scaled) + 1) * 0.995))
    assert gate.threshold == pytest.approx(np.sort(scaled)[rank - 1])
    assert gate.log_odds == np.sort(np.concatenate([first, second]))[rank - 1]
    # At a right angle to the mean, features of length 1 are the square root of 2 away from it
    features = [np.array([[3.0, 0.0], [0.0, 7.0]])] * 3
    far = np.sqrt(2) * np.mean([1 / 200, 1 / 1200, 1 / 2400]) / gate.threshold
    measured = dataclasses.replace(gate, log_odds=0.5).measure(features)
    np.testing.assert_allclose(measured.distance, [0, far], atol=1e-12)
    np.testing.assert_allclose(measured.altered, np.exp([0.5, 3.5]))
