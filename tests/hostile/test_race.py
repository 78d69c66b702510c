"""A search decides without test images and without images on which its networks were trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.toy import toy_generators, toy_recipe, where, with_other_pixels, write_toy
from thyroid.data.dataset import Dataset
from thyroid.data.splits import make_split
from thyroid.execution.in_process import bring_about, in_process
from thyroid.recipe import Recipe
from thyroid.runs.experiment import grid, network_of
from thyroid.stage import Stage
from thyroid.storage.store import Store
from thyroid.tuning.held_out import HeldOut, held_out, validations
from thyroid.tuning.search_config import SearchConfig

FOLDS = 3
WITH_ALL = {"cross__order": "retrain", "cross__epochs": 2, "cross__synthetic": 0.25}


def raced(recipe: Recipe, dataset: Dataset) -> list[Stage]:
    """The predictions of the race's last level, which has the networks of all earlier levels."""
    *_, last = SearchConfig(seeds=1, max_seeds=2).race_levels(recipe.folds)
    assert last == (2, FOLDS)
    return validations(recipe, dataset.digest, grid(*last))


@pytest.mark.parametrize("by", ["patient", "centre"])
def test_no_stage_of_the_race_sees_a_test_image_or_one_that_it_predicts(
    by: str, tmp_path: Path
) -> None:
    dataset = write_toy(tmp_path / "toy", crosses=24)
    if by == "centre":
        table = dataset.images
        three = (
            table["patient_id"].str[-3:].astype(int) // 3 % FOLDS
        )  # classes change patient by patient
        table.assign(centre=three.astype(str)).to_csv(dataset.folder / "images.csv", index=False)
        dataset = Dataset.open(dataset.folder)
    split = {"split__folds": FOLDS, "split__folds_by": by, "split__test": 0.2}
    recipe = toy_generators(**WITH_ALL, **split)
    predicted: dict[int, list[int]] = {}
    for final in raced(recipe, dataset):
        network, lineage = network_of(final), list(final.lineage())
        assert {s.config.part for s in lineage if s.kind == "prediction"} == {"validation"}
        assert not {s.kind for s in lineage} & {"cases", "quality"}
        assert {"dcgan", "srgan", "synthesis", "classifier"} <= {s.kind for s in lineage}
        assert {s.dataset for s in lineage} == {dataset.digest}
        (dealt,) = {s.key: s.config for s in lineage if s.kind == "split"}.values()
        assert dealt.fold == network.fold
        parts, patients = make_split(dataset, dealt), dataset.patients
        shown = set(patients[parts.validation])
        assert shown
        assert not shown & set(patients[parts.train])
        assert not set(patients[parts.test]) & (shown | set(patients[parts.train]))
        predicted.setdefault(network.seed, []).extend(parts.validation.tolist())
    for rows in predicted.values():  # each image outside of the test part once
        assert sorted(rows) == sorted({*range(len(dataset))} - {*parts.test.tolist()})


def test_other_test_images_change_no_bit_of_what_decides(tmp_path: Path) -> None:
    recipe = toy_recipe(split__folds=FOLDS, schedule__constant_epochs=1)
    dataset = write_toy(tmp_path / "toy")
    test = make_split(dataset, recipe.in_fold(0).split).test
    assert len(test)
    other = with_other_pixels(dataset, test, tmp_path / "other")
    one = _decided_by(recipe, dataset, tmp_path / "store-one")
    same = _decided_by(recipe, other, tmp_path / "store-same")
    np.testing.assert_array_equal(one.predicted, same.predicted)
    assert one.macro_f1 == same.macro_f1
    assert one.macro_f1.standard_error > 0
    validated = make_split(dataset, recipe.in_fold(0).split).validation
    seen = with_other_pixels(dataset, validated, tmp_path / "seen")
    changed = _decided_by(recipe, seen, tmp_path / "store-seen")
    assert (changed.predicted != one.predicted).any()  # these do


def _decided_by(recipe: Recipe, dataset: Dataset, folder: Path) -> HeldOut:
    store = Store(folder)
    stages = validations(recipe, dataset.digest, grid(1, FOLDS))
    bring_about(stages, in_process(store, where(dataset.folder)))
    found = held_out(store, stages, dataset.info.classes)
    assert found is not None
    return found
