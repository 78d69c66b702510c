"""The gate of a model: how far an image is from all training images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from thyroid.evaluate.novelty import FeatureReference
from thyroid.model.gate import gate_of
from thyroid.run_files.features_file import NetworkFeatures


def test_the_gate_weighs_networks_by_their_held_out_distances() -> None:
    """There are two folds; the measures of the second fold's two networks are averaged."""
    one, other = (
        FeatureReference(means=mean, directions=np.eye(2), deviations=np.ones(2), floor=1.0)
        for mean in np.eye(2)[:, None]
    )
    first, second = np.arange(1.0, 400.0), np.arange(401.0, 800.0)
    held_out = [(first, first), (2 * second, second - 1), (4 * second, second + 1)]
    networks = [
        NetworkFeatures(
            reference=one, altered=other, held_out=distances, held_out_relative=relative
        )
        for distances, relative in held_out
    ]
    gate = gate_of(networks, [0, 1, 1])
    assert gate.scales == (200, 1200, 2400)
    scaled = np.concatenate([first / 200, second / 600])
    rank = int(np.ceil((len(scaled) + 1) * 0.995))
    assert gate.threshold == pytest.approx(np.sort(scaled)[rank - 1])
    assert gate.relative == np.sort(np.concatenate([first, second]))[rank - 1]
    # At a right angle to the mean, features of length 1 are the square root of 2 away from it;
    # between both means they are equally far from both
    features = [np.array([[3.0, 0.0], [0.0, 7.0], [2.0, 2.0]])] * 3
    each = np.mean([1 / 200, 1 / 1200, 1 / 2400]) / gate.threshold
    far, between = np.sqrt(2), np.sqrt(2 - np.sqrt(2))
    measured = dataclasses.replace(gate, relative=0.5).measure(features)
    np.testing.assert_allclose(measured.distance, [0, far * each, between * each], atol=1e-12)
    np.testing.assert_allclose(measured.altered, [0, far / 1e-6 / 0.5, 2])
