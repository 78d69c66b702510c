"""`thyroid search` with several folds: how trials are evaluated, and how the recipe is chosen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from tests.short_trainings import FEW, artifacts, cross_data
from thyroid.cli import main
from thyroid.data.dataset import Dataset
from thyroid.recipe import Recipe, read_recipe
from thyroid.run_files.race_json import read_race
from thyroid.run_files.stages_json import read_stages
from thyroid.runs.experiment import grid
from thyroid.storage.store import Store
from thyroid.tuning.held_out import validations
from thyroid.tuning.study import find_study, recipe_of

pytestmark = pytest.mark.ray

IN_ORDER = ["--folds", "3", "--grace-epochs", "99", "--concurrent", "1"]

SPACE = """
from thyroid.recipe import override

def space(trial, recipe):
    rate = trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    return override(recipe, {"optimiser.learning_rate": rate})
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, ray_here: None) -> list[str]:
    """The command of a search over three folds, which has ended."""
    folder = tmp_path_factory.mktemp("search-in-folds")
    data, run, space = cross_data(folder / "data"), folder / "run", folder / "own.py"
    space.write_text(SPACE)
    command = ["search", str(data), str(run), "--space", str(space), "--trials", "2"]
    command += [*FEW, *IN_ORDER]
    assert main(command) == 0
    return command


@pytest.fixture(scope="module")
def run(searched: list[str]) -> Path:
    return Path(searched[2])


def _recipes(run: Path) -> Iterator[tuple[int, Recipe]]:
    for trial in find_study(run).get_trials(deepcopy=False):
        yield trial.number, recipe_of(trial)


def _held_out(run: Path, recipe: Recipe, folds: int) -> pd.DataFrame:
    """The images of the first folds, as the artifacts of the store predict them."""
    digest = Dataset.open(run.parent / "data").digest
    store, tables = Store(run / "store"), []
    for stage in validations(recipe, digest, grid(1, folds)):
        artifact = store.open(stage.key)
        assert artifact is not None
        tables.append(pd.read_csv(artifact / "predictions.csv"))
    return pd.concat(tables)


def _named(table: pd.DataFrame) -> pd.Series:
    named = table.filter(like="p_")
    return named.columns.str.removeprefix("p_").to_series().iloc[named.to_numpy().argmax(axis=1)]


def _macro_f1(table: pd.DataFrame) -> Any:
    return pytest.approx(f1_score(table["label"], _named(table), average="macro"), abs=1e-12)


def test_a_trials_value_is_that_of_the_held_out_images_of_two_folds(run: Path) -> None:
    trials = pd.read_csv(run / "trials.csv").set_index("number")
    assert list(trials["state"]) == ["complete", "complete"]
    split = pd.read_csv(run / "split.csv").set_index("image_id")
    for number, recipe in _recipes(run):
        held_out = _held_out(run, recipe, 2)
        assert set(held_out["image_id"]) == set(split.index[split["fold"] < 2])
        assert held_out["image_id"].is_unique
        row = trials.loc[number]
        assert row["macro_f1"] == _macro_f1(held_out)
        assert 0 < row["standard_error"] < 0.5
        crosses = held_out[held_out["findings"].str.contains(";")]
        right = (_named(crosses).to_numpy() == crosses["label"].to_numpy()).mean()
        assert row["cross_recall"] == pytest.approx(right)


def test_a_trial_is_trained_in_these_folds_alone(run: Path) -> None:
    store = Store(run / "store")
    for trial in find_study(run).get_trials(deepcopy=False):
        manifests = [store.manifest(key) for key in trial.user_attrs["outcome"]["stages"].split()]
        splits = [each["config"] for each in manifests if each and each["kind"] == "split"]
        assert sorted(config["fold"] for config in splits) == [0, 1]
        kinds = [each["kind"] for each in manifests if each]
        assert kinds.count("prediction") == 2


def test_race_json_is_what_the_runs_files_say(run: Path) -> None:
    raced, recipes = read_race(run), dict(_recipes(run))
    config = json.loads((run / "config.json").read_text())
    base = next(r for r in raced if r.trial is None)
    assert {r.trial for r in raced} == {None, 0, 1}
    for r in raced:
        assert r.seeds == 1
        assert 2 <= r.folds <= 3
        if r.trial is not None:
            assert r.macro_f1 == _macro_f1(_held_out(run, recipes[r.trial], r.folds))
    best = max(r.macro_f1 for r in raced if r.folds == raced[0].folds)
    assert raced[0].behind == pytest.approx(best - raced[0].macro_f1, abs=1e-12)
    stays = base.behind <= (base.behind_error or 0)
    assert (raced[0] == base) == (base.state == "chosen") == stays
    chosen = read_recipe(run / "recipe.json")
    if raced[0].trial is None:
        assert config["recipe"] == config["search"]["base"]
    else:
        assert chosen == recipes[raced[0].trial]
    table = pd.read_csv(run / "trials.csv")
    assert list(table["number"][table["chosen"] == 1]) == [
        r.trial for r in raced[:1] if r.trial is not None
    ]
    final = pd.read_csv(run / "predictions" / "validation-seed0.csv")
    assert raced[0].macro_f1 == _macro_f1(final[final["fold"] < raced[0].folds])
    users = {user for stage in read_stages(run) or () for user in stage.users}
    assert {"race, the given recipe", "race, trial 0", "race, trial 1"} <= users


def test_the_same_command_again_computes_nothing_and_ends_alike(
    searched: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("trials.csv", "race.json", "recipe.json", "predictions/test-seed0.csv")
    before = artifacts(run), [(run / name).read_bytes() for name in names]
    assert main(searched) == 0
    assert (artifacts(run), [(run / name).read_bytes() for name in names]) == before
    capsys.readouterr()
    assert main([*searched, "--first-folds", "3"]) == 2
    assert "with --first-folds 2 instead of 3" in capsys.readouterr().err


def test_a_warm_start_takes_over_values_of_all_folds(searched: list[str], run: Path) -> None:
    other = run.parent / "other"
    command = [*searched[:2], str(other), *searched[3:], "--warm-start", str(run)]
    assert main([*command, "--store", str(run / "store"), "--trials", "1"]) == 0
    first, second = (pd.read_csv(each / "trials.csv") for each in (run, other))
    assert len(second) == 3
    for name in ("macro_f1", "standard_error", "cross_recall", "epochs", "compute"):
        np.testing.assert_array_equal(second[name][:2], first[name])
    assert (second["computed_stages"][:2] == 0).all()
    assert list(second["reason"][:2]) == [f"warm start from run trial {n}" for n in (0, 1)]
