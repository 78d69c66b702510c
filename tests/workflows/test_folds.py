"""Runs with several folds: which networks predict an image, and what the run keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.short_trainings import FEW, cross_data
from tests.toy import write_toy
from thyroid.cli import main
from thyroid.data.dataset import Dataset
from thyroid.recipe import RECIPES, override


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folds. Tests must not change it."""
    folder = tmp_path_factory.mktemp("folds")
    data = cross_data(folder / "data")
    command = ["train", str(data), str(folder / "run"), *FEW, "--folds", "3"]
    assert main(command) == 0
    return folder / "run"


def _predicted(path: Path) -> pd.DataFrame:
    return pd.read_csv(path).set_index("image_id")


def test_each_image_is_predicted_by_the_network_that_never_saw_its_patient(run: Path) -> None:
    split = _predicted(run / "split.csv")
    assert set(split["part"]) == {"development", "test"}
    assert split["fold"].isna().equals(split["part"] == "test")
    held_out = _predicted(run / "predictions" / "validation-seed0.csv")
    assert set(held_out.index) == set(split.index[split["part"] == "development"])
    assert held_out.index.is_unique
    assert (held_out["fold"] == split.loc[held_out.index, "fold"]).all()
    assert (held_out.groupby("patient_id")["fold"].nunique() == 1).all()
    assert set(held_out["fold"]) == {0, 1, 2}


def test_test_images_are_predicted_by_the_mean_of_all_networks(run: Path) -> None:
    folder = run / "predictions"
    networks = [_predicted(p) for p in sorted((folder / "networks").glob("test-fold*-seed0.csv"))]
    assert len(networks) == 3
    mean = _predicted(folder / "test-seed0.csv")
    columns = [name for name in mean if name.startswith("p_")]
    stacked = np.stack([network[columns] for network in networks])
    np.testing.assert_allclose(mean[columns], stacked.mean(axis=0), rtol=0, atol=1e-12)
    assert (stacked[0] != stacked[1]).any()
    assert {p.name for p in (run / "model").iterdir()} == {f"fold{f}-seed0" for f in range(3)}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {(line["seed"], line["fold"]) for line in lines} == {(0, 0), (0, 1), (0, 2)}


def test_the_recipe_says_how_many_folds_and_a_run_with_others_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = json.loads((run / "recipe.json").read_text())
    assert (recipe["split"]["folds"], recipe["split"]["fold"]) == (3, 0)
    data = str(run.parent / "data")
    assert main(["train", data, str(run), *FEW, "--folds", "2"]) == 2
    assert "split.folds 3 instead of 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--folds", "many"], "--folds is many but must be a number from 1, or centre"),
        (["--split.folds", "3", "--split.fold", "1"], "split.fold cannot be chosen"),
        (["--folds", "300"], "300 folds are more than the 36 patients outside of the test part"),
    ],
)
def test_what_is_no_number_of_folds_is_refused(
    words: list[str], sentence: str, toy: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    refused(["train", str(toy), str(tmp_path / "run"), *FEW, *words], sentence)


def test_a_run_that_is_not_told_has_five_folds(tmp_path: Path) -> None:
    from thyroid.workflows.options import TrainOptions
    from thyroid.workflows.setup import inputs, set_up

    toy = write_toy(tmp_path / "toy")
    short = {"input.size": 32}
    given = inputs(Dataset.open(toy.folder), tmp_path / "run", "small", short)
    setup = set_up(given, TrainOptions())
    assert setup.recipe.folds == 5
    assert len(setup.experiment(None, of_one_split=3).networks) == 5
    one = set_up(given, TrainOptions(folds=1))
    assert [n.seed for n in one.experiment(None, of_one_split=3).networks] == [0, 1, 2]
    centres = set_up(given, TrainOptions(folds="centre"))
    assert centres.recipe.folds == toy.images["centre"].nunique()
    again = inputs(Dataset.open(toy.folder), tmp_path / "run", one.recipe)
    assert set_up(again, TrainOptions()).recipe.folds == 1  # as the recipe says
    assert override(RECIPES["small"](), {"split.folds": 4}).folds == 4
