"""Simulated images per second on one core: at least 200 of 128 x 128, Poisson noise included."""

import time
from dataclasses import replace

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from thyroid.phantom.presets import PRESETS
from thyroid.phantom.simulator import addresses, simulate


@pytest.mark.benchmark(timer=time.process_time)  # of one core, whatever else the machine does
def test_phantom_speed(benchmark: BenchmarkFixture) -> None:
    centres = tuple(c for c in PRESETS["thyroid7"].centres if c.matrix == 128)
    preset = replace(PRESETS["thyroid7"], centres=centres)
    images = addresses(preset, images_per_class=20, images_per_cross=10)

    made = benchmark(lambda: sum(1 for _ in simulate(preset, images, seed=0)))

    assert made == len(images) == 200
    assert len(images) / benchmark.stats.stats.median >= 200
