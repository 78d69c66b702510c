"""Data and recipes that cannot be trained are refused before anything is written."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.toy import toy_recipe, write_toy
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.recipe import Recipe
from thyroid.runs.experiment import Experiment
from thyroid.runs.preflight import preflight


def check(dataset: Dataset, recipe: Recipe, test_set: Dataset | None = None) -> None:
    preflight(Experiment(dataset=dataset, recipe=recipe, seeds=[0], test_set=test_set))


def changed_table(dataset: Dataset, **columns: Any) -> Dataset:
    """Replace columns of images.csv, and open the changed data set."""
    table = dataset.images.assign(**columns)
    table.to_csv(dataset.folder / "images.csv", index=False)
    return Dataset.open(dataset.folder)


def of_other_patients(folder: Path, **given: Any) -> Dataset:
    dataset = write_toy(folder, **{"seed": 1} | given)
    return changed_table(dataset, patient_id="other-" + dataset.images["patient_id"])


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_toy(tmp_path_factory.mktemp("crossed") / "data", crosses=24)


def test_a_test_set_of_other_patients_is_accepted(crossed: Dataset, tmp_path: Path) -> None:
    recipe = toy_recipe(split__test=0.0)
    check(crossed, recipe, of_other_patients(tmp_path / "other"))


def test_a_test_set_that_says_nothing_is_refused(
    crossed: Dataset, toy: Path, tmp_path: Path
) -> None:
    recipe = toy_recipe(split__test=0.0)
    same = crossed
    renamed = of_other_patients(tmp_path / "renamed", seed=0, crosses=24)
    patients = write_toy(tmp_path / "patients", seed=1)
    one = of_other_patients(tmp_path / "one")
    names = one.images["patient_id"].mask(one.images.index == 3, "patient-003")
    one = changed_table(one, patient_id=names)
    for test_set, sentence in [
        (same, "shares 114 images and 57 patients"),
        (renamed, "shares 114 images and 0 patients"),
        (patients, "shares 0 images and 45 patients"),
        (one, "shares 0 images and 1 patients"),
        (of_other_patients(tmp_path / "size", size=64), "has size 64, but the training data have"),
        (of_other_patients(tmp_path / "kind", kind="display"), "has kind display"),
    ]:
        with pytest.raises(InputError, match=sentence):
            check(crossed, recipe, test_set)


def test_a_test_set_of_other_classes_is_refused(crossed: Dataset, tmp_path: Path) -> None:
    other = of_other_patients(tmp_path / "other")
    info = dataclasses.replace(other.info, classes=("left", "right", "above"))
    with pytest.raises(InputError, match=r"has classes .*above"):
        check(crossed, toy_recipe(split__test=0.0), dataclasses.replace(other, info=info))


def test_a_phase_without_images_is_refused(crossed: Dataset, toy: Path, tmp_path: Path) -> None:
    alone = Dataset.open(toy)
    retrain = {"cross__order": "retrain", "cross__epochs": 2}
    for changes in ({}, {"cross__rehearsal": 0.0}, {"cross__superposed": 0.5}):
        with pytest.raises(InputError, match="no training image of several findings"):
            check(alone, toy_recipe(**retrain, **changes))
        check(crossed, toy_recipe(**retrain, **changes))
    asked = {"cross__superposed": 0.5, "synthesis__crosses": "left+right", "cross__rehearsal": 0.0}
    check(alone, toy_recipe(**retrain, **asked))

    both = write_toy(tmp_path / "both")
    findings = both.images["label"].map(
        {"left": "left;right", "right": "right;below", "below": "below;left"}
    )
    crosses = changed_table(both, findings=findings)
    for order in ("retrain", "never"):
        with pytest.raises(InputError, match="no training image of a single finding"):
            check(crosses, toy_recipe(cross__order=order, cross__epochs=2))
    check(crosses, toy_recipe())


def test_what_a_network_does_not_take_is_said_before_anything_is_written(crossed: Dataset) -> None:
    for changes, sentence in [
        ({"network__name": "lenet5", "network__cross_feature": "stem"}, "needs a residual network"),
        ({"network__name": "vgg_small"}, "network.width has no meaning for vgg_small"),
        ({"network__name": "vgg_small", "network__width": None, "input__size": 16}, "too small"),
        ({"network__name": "lenet5", "cross__order": "retrain", "cross__epochs": 1,
          "cross__trainable": "head"}, "needs a residual network"),
        ({"cross__order": "retrain", "cross__epochs": 4}, "leaves nothing of the schedule's 4"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=sentence):
            check(crossed, toy_recipe(**changes))
