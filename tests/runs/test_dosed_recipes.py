"""Rows of a dose-response curve: paired, with equal steps, named by what they change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.toy import toy_recipe, write_small_phantom, write_toy
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.generators import names
from thyroid.recipe import RECIPES, Recipe, override
from thyroid.runs.compared_recipes import changes_of
from thyroid.runs.dosed_recipes import Doses, asked_doses, dose_rows
from thyroid.runs.experiment import Experiment
from thyroid.runs.preflight import preflight
from thyroid.stage import Stage

FIXED = {"execution.precision": "fp32", "execution.device": "cpu", "split.folds": 2}


def doses(**changes: Any) -> Doses:
    asked = {"shares": (0.25, 0.5), "generators": ("eigen", "dcgan+srgan"), "sizes": (None,)}
    return Doses(**asked | changes)


def final(recipe: Recipe, seed: int = 0) -> Stage:
    return pipeline.classifier(recipe, "d" * 64, seed)[-1]


@pytest.mark.parametrize("preset", RECIPES)
def test_a_curve_has_share_0_and_each_share_of_each_generator(preset: str) -> None:
    method = override(RECIPES[preset](), FIXED)
    rows = dose_rows(method, doses())
    assert [row.name for row in rows] == [
        "dose-none",
        *("dose-eigen-25", "dose-eigen-50", "dose-dcgan-srgan-25", "dose-dcgan-srgan-50"),
    ]
    assert [row.title for row in rows][:2] == ["real images alone", "eigen-scintigrams · 25 %"]
    assert {row.kind for row in rows} == {"dose"}
    assert not rows[0].recipe.synthetic
    for row in rows[1:]:
        assert row.dose is not None
        assert row.recipe.mixing.dose == row.dose.share
        assert row.recipe.srgan.scale == (2 if row.dose.generator.endswith("+srgan") else 1)
    assert len({final(row.recipe).key for row in rows}) == len(rows)


def test_rows_differ_in_nothing_but_the_synthetic_images() -> None:
    """Folds, seeds, steps, schedule and real images are the same in all rows."""
    method = override(RECIPES["paper"](), FIXED)
    first, *rest = dose_rows(method, doses())
    for row in rest:
        changed = set(changes_of(first.recipe, row.recipe))
        assert changed <= {"mixing.dose", "generator", "srgan.scale"}
        before, after = final(first.recipe), final(row.recipe)
        assert before.inputs["split"].key == after.inputs["split"].key
        for name in ("optimiser", "augmentation", "network", "rate", "seed", "epochs", "cross"):
            assert getattr(before.config, name) == getattr(after.config, name)


def test_rows_of_one_generator_share_its_images() -> None:
    rows = dose_rows(override(RECIPES["small"](), FIXED), doses())
    made: dict[str, set[str]] = {}
    for row in rows[1:]:
        assert row.dose is not None
        made.setdefault(row.dose.generator, set()).add(final(row.recipe).inputs["synthetic"].key)
    assert {name: len(keys) for name, keys in made.items()} == {"eigen": 1, "dcgan+srgan": 1}


def test_share_0_is_the_method_on_real_images_alone() -> None:
    method = override(RECIPES["paper"](), FIXED)
    first = dose_rows(method, doses())[0]
    experiment = Experiment(dataset=None, recipe=method, seeds=[0])  # type: ignore[arg-type]
    assert final(first.recipe).key == final(experiment.real_only.recipe).key


def test_a_size_has_a_curve_of_its_own_and_generators_of_its_own() -> None:
    rows = dose_rows(override(RECIPES["small"](), FIXED), doses(sizes=(10, None)))
    assert [row.name for row in rows][:2] == ["dose-none-n10", "dose-eigen-25-n10"]
    assert len(rows) == 10
    assert rows[1].title == "eigen-scintigrams · 25 % · n = 10"
    few, all_ = final(rows[1].recipe), final(rows[6].recipe)
    for stage in few.lineage():
        if "split" in stage.inputs:
            assert stage.inputs["split"].config.images_per_class == 10, stage.kind
    assert not {s.key for s in few.lineage()} & {s.key for s in all_.lineage()}


def test_a_recipe_of_fewer_images_keeps_them() -> None:
    few = override(RECIPES["small"](), FIXED | {"split.images_per_class": 10})
    rows = dose_rows(few, doses(sizes=(5, None, 10)))
    sizes = [row.dose.images_per_class for row in rows if row.dose]
    assert sizes == [5] * 5 + [10] * 5
    assert {row.recipe.split.images_per_class for row in rows} == {5, 10}


def test_names_of_shares_sizes_and_generators(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    phantom = Dataset.open(write_small_phantom(tmp_path / "phantom", 2, 0))
    every = ("dcgan", "dcgan+srgan", *names())
    assert asked_doses("0.1, 0.5", "all", "all", toy) == doses(shares=(0.1, 0.5), generators=every)
    found = asked_doses("0.5,0.1,0,0.1", "all", "20,all,20", phantom)
    assert found == Doses(shares=(0.1, 0.5), generators=(*every, "oracle"), sizes=(20, None))
    assert asked_doses("1", "eigen+srgan,oracle", "5", phantom).generators == (
        "eigen+srgan",
        "oracle",
    )
    for shares, generators, sizes, sentence in (
        ("0.5,x", "all", "all", "--shares has 'x' but each must be a number from 0 to 1"),
        ("1.5", "all", "all", "--shares is 1.5 but must be from 0 to 1"),
        ("nan", "all", "all", "--shares is nan but must be"),
        (
            "0.5",
            "gan",
            "all",
            "--generators names 'gan': choose all, or some of dcgan, dcgan+srgan",
        ),
        ("0.5", "oracle", "all", "only the simulator can draw further patients"),
        ("0.5", "oracle+srgan", "all", "--generators names 'oracle+srgan'"),
        ("0.5", "all", "0", "--sizes is 0 but must be from 1 to"),
        ("", "all", "all", "--shares is empty"),
        ("0.5", "", "all", "--generators is empty"),
        ("0.5", "all", "", "--sizes is empty"),
    ):
        with pytest.raises(InputError, match=re.escape(sentence)):
            asked_doses(shares, generators, sizes, toy)


def test_an_srgan_that_is_not_trained_enlarges_nothing() -> None:
    bicubic = override(
        RECIPES["small"](), FIXED | {"srgan.pixel_epochs": 0, "srgan.adversarial_epochs": 0}
    )
    with pytest.raises(InputError, match=r"needs an SRGAN: set srgan\.pixel_epochs"):
        dose_rows(bicubic, doses())


def test_what_cannot_be_drawn_is_said_before_anything_is_trained(crossed_toy: Dataset) -> None:
    retrain = toy_recipe(cross__order="retrain", cross__epochs=2, synthesis__crosses="none")
    row = dose_rows(retrain, doses(generators=("eigen",)))[1]
    experiment = Experiment(dataset=crossed_toy, recipe=row.recipe, seeds=[0])
    with pytest.raises(InputError, match=re.escape("change it or synthesis.crosses")):
        preflight(experiment)
    oracle = dose_rows(retrain, doses(generators=("oracle",)))[1]
    with pytest.raises(InputError, match="only simulated data have an oracle"):
        preflight(experiment.of(oracle.recipe))


@pytest.fixture
def crossed_toy(tmp_path: Path) -> Dataset:
    return write_toy(tmp_path / "crossed", crosses=24)
