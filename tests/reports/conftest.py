"""Runs that are shared by the tests of pages."""

from pathlib import Path

import pytest

from tests.reports.made_predictions import add_comparison
from tests.reports.made_runs import add_cross_phase, add_synthetic, make_dataset, make_run
from tests.reports.made_searches import add_costs, add_objectives, add_stages
from thyroid.data.dataset import Dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("data") / "synthetic4")


@pytest.fixture
def run(tmp_path, dataset) -> Path:
    return make_run(tmp_path / "run1", dataset)


@pytest.fixture
def synthetic_run(tmp_path, dataset) -> Path:
    """A run of five seeds; its synthetic images include a cross that no training image shows."""
    run = make_run(tmp_path / "run2", dataset, seeds=range(5))
    return add_synthetic(run, dataset, new_crosses=("hot_nodule;cold_nodule",))


@pytest.fixture
def compared_run(tmp_path, dataset) -> Path:
    """A comparison of five seeds: a method with a cross phase, three baselines, two ablations."""
    run = make_run(tmp_path / "run3", dataset, seeds=range(5))
    return add_comparison(add_cross_phase(run, dataset), dataset)


@pytest.fixture
def folded_run(tmp_path, dataset) -> Path:
    """A comparison with all its parts, of five folds and one seed."""
    run = make_run(tmp_path / "run5", dataset, seeds=(0,), folds=5)
    add_synthetic(add_cross_phase(run, dataset), dataset)
    return add_stages(add_comparison(run, dataset), trials=1, folds=5)


@pytest.fixture
def shared_run(tmp_path, dataset) -> Path:
    """A search with three objectives, a final race, the stages that it computed, and its costs."""
    run = make_run(tmp_path / "run4", dataset, trials=24)
    add_objectives(run, "macro_f1", "cross_recall", "compute", raced=3)
    add_costs(run, time_hours=2.0, gpu_hours=4.375, ended="gpu_hours")
    return add_stages(run, trials=24, segments=6, found=("dcgan",))
