"""Reports of runs with folds: what is of single networks, and what of their ensemble."""

import numpy as np
import pytest

from reports.run import read_run
from reports.sections.data import data_info
from tests.reports.conftest import make_run


@pytest.fixture(scope="module")
def content(tmp_path_factory, dataset):
    folder = tmp_path_factory.mktemp("folds") / "run"
    return read_run(make_run(folder, dataset, seeds=(0, 1), folds=5))


def test_each_image_outside_of_the_test_part_is_validated_once(content):
    assert content.folds == 5
    assert set(content.parts.values()) == {"development", "test"}
    for predictions in content.predictions["validation"].values():
        names = list(predictions.images["image_id"])
        assert dict(zip(names, predictions.folds, strict=True)) == content.fold_of
        assert len(names) == len(set(names)) == 144


def test_test_predictions_are_the_mean_of_the_networks(content):
    assert list(content.networks) == [(s, f) for s in (0, 1) for f in range(5)]
    for seed in (0, 1):
        mean = np.mean([content.networks[seed, f].probabilities for f in range(5)], axis=0)
        assert content.predictions["test"][seed].probabilities == pytest.approx(mean)


def test_folds_are_counted(content):
    info = data_info(content)
    assert info.columns == ["development", "test"]
    assert [t["images"] for t in info.column_totals] == [144, 36]
    assert [f.fold for f in info.folds] == list(range(5))
    assert sum(f.images for f in info.folds) == 144
    assert sum(f.patients for f in info.folds) == 72
