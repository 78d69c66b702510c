"""Rows about a combination of findings that is left out of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toy import toy_recipe, write_toy
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.recipe import RECIPES, override
from thyroid.runs.experiment import Experiment
from thyroid.runs.unseen_recipes import require_testable, unseen_rows

FIXED = {"execution.precision": "fp32", "execution.device": "cpu", "split.folds": 2}
ASKED = "graves+cold_nodule"


def test_rows_differ_in_how_the_combination_is_given() -> None:
    method = override(RECIPES["paper"](), FIXED)
    rows = {row.name: row for row in unseen_rows(method, ASKED, ("eigen", "dcgan+srgan"))}
    assert list(rows) == [
        "unseen-never",
        "unseen-superposed",
        "unseen-eigen",
        "unseen-dcgan-srgan",
        "unseen-real",
    ]
    keys = {pipeline.classifier(row.recipe, "d" * 64, 0)[-1].key for row in rows.values()}
    assert len(keys) == len(rows)
    for name, row in rows.items():
        assert row.kind == "unseen"
        assert row.recipe.split.unseen == (None if name == "unseen-real" else ASKED)
        synthetic = name in ("unseen-eigen", "unseen-dcgan-srgan")
        assert row.recipe.synthetic == synthetic
        assert (row.recipe.cross.superposed > 0) == (name == "unseen-superposed")
        if synthetic or name == "unseen-superposed":
            assert row.recipe.synthesis.crosses == f"seen,{ASKED}"
        for kept in ("optimiser", "schedule", "augmentation", "network"):
            assert getattr(row.recipe, kept) == getattr(method, kept)


def test_superposition_needs_a_cross_phase_and_counts() -> None:
    paper, small = (override(RECIPES[name](), FIXED) for name in ("paper", "small"))
    for recipe, kind in ((small, "counts"), (paper, "display")):
        names = [row.name for row in unseen_rows(recipe, ASKED, ("eigen",), kind)]
        assert names == ["unseen-never", "unseen-eigen", "unseen-real"]


def test_crosses_that_are_named_stay_beside_it() -> None:
    for crosses, expected in (("none", ASKED), ("a+b", f"a+b,{ASKED}"), ("seen", f"seen,{ASKED}")):
        method = override(RECIPES["paper"](), FIXED | {"synthesis.crosses": crosses})
        assert unseen_rows(method, ASKED, ("eigen",))[2].recipe.synthesis.crosses == expected


def test_no_stage_of_a_row_but_that_of_real_images_is_split_with_the_combination() -> None:
    """Generators, label filters and predictions of validation images are included."""
    method = override(RECIPES["paper"](), FIXED)
    dataset = "d" * 64
    for row in unseen_rows(method, ASKED, ("eigen", "dcgan", "dcgan+srgan")):
        if row.name == "unseen-real":
            continue
        final = pipeline.prediction(row.recipe, dataset, 0, "validation")
        splits = {stage.config.unseen for stage in final.lineage() if stage.kind == "split"}
        assert splits == {ASKED}
        for stage in final.lineage():
            assert stage.kind in ("split", "weights") or "split" in stage.inputs


def test_it_must_be_known_and_tested_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = write_toy(tmp_path / "crossed", crosses=24)
    plain = write_toy(tmp_path / "plain", seed=1)
    recipe = toy_recipe(split__folds=2)

    def experiment(test_set: Dataset | None = None, of: Dataset = dataset) -> Experiment:
        test = {} if test_set is None else {"split.test": 0.0}
        return Experiment(dataset=of, recipe=override(recipe, test), seeds=[0], test_set=test_set)

    require_testable(experiment(), "left+right")
    require_testable(experiment(), "right+left")  # a combination has no order
    assert "none to leave out" not in "".join(capsys.readouterr())
    with pytest.raises(InputError, match="no test image shows this combination"):
        require_testable(experiment(), "left+below")
    with pytest.raises(InputError, match="no test image shows this combination"):
        require_testable(experiment(plain), "left+right")
    with pytest.raises(InputError, match="names 'up', but the classes"):
        require_testable(experiment(), "left+up")
    with pytest.raises(InputError, match="must be two findings or more"):
        require_testable(experiment(), "left")
    require_testable(experiment(dataset, plain), "left+right")
    assert "there is none to leave out" in "".join(capsys.readouterr())
