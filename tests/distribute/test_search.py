"""A search ends with the best recipe, survives its own death, and counts failed trials."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from tests.toy import toy_recipe
from thyroid.data.dataset import Dataset
from thyroid.distribute.search import SearchConfig, load_space, search
from thyroid.distribute.study import open_study, sampler
from thyroid.errors import InputError
from thyroid.recipe import Recipe, override
from thyroid.store import Store

pytestmark = pytest.mark.ray


def rates(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """Learning rates, of which the first is poisonous."""
    if trial.number == 0:
        poison = {
            "optimiser.learning_rate": 10.0,
            "optimiser.weight_decay": 10.0,
            "network.name": "lenet5",
        }
        return override(recipe, poison)
    rate = trial.suggest_float("rate", 1e-5, 1e-2, log=True)
    return override(recipe, {"optimiser.learning_rate": rate})


@pytest.mark.usefixtures("ray_here")
def test_a_search_finds_counts_and_resumes(toy: Path, tmp_path: Path) -> None:
    dataset, store = Dataset.open(toy), Store(tmp_path / "store")
    base = toy_recipe(schedule__constant_epochs=6)
    few = SearchConfig(trials=4, grace_epochs=2, reduction_factor=2, concurrent=2)
    search(tmp_path, dataset, base, rates, few, store)
    first = pd.read_csv(tmp_path / "trials.csv")
    assert list(first["number"]) == [0, 1, 2, 3]
    assert first["state"][0] == "failed"
    assert "diverged" in first["reason"][0]
    assert set(first["state"][1:]) <= {"complete", "pruned"}

    more = SearchConfig(trials=7, grace_epochs=2, reduction_factor=2, concurrent=2)
    best = search(tmp_path, dataset, base, rates, more, store)
    second = pd.read_csv(tmp_path / "trials.csv")
    assert list(second["number"]) == list(range(7))
    pd.testing.assert_frame_equal(second[:4], first)  # what was finished stays as it was
    complete = second[second["state"] == "complete"]
    assert best.optimiser.learning_rate in set(
        complete["rate"][complete["macro_f1"] == complete["macro_f1"].max()]
    )
    pruned = second[second["state"] == "pruned"]
    assert (pruned["epochs"] < base.schedule.epochs).all()
    assert (complete["epochs"] == base.schedule.epochs).all()
    assert not (tmp_path / "tune").exists()
    states = {t.state for t in open_study(tmp_path / "study.journal").trials}
    assert states <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


@pytest.mark.usefixtures("ray_here")
def test_a_trial_left_running_by_a_dead_process_runs_again_under_its_number(
    toy: Path, tmp_path: Path
) -> None:
    study = open_study(tmp_path / "study.journal")
    for _ in range(2):
        orphan = study.ask()
        orphan.suggest_float("magnitude", 0.0, 2.0, step=0.25)
    parameters = [t.params["magnitude"] for t in study.trials]
    config = SearchConfig(trials=3, grace_epochs=99, concurrent=1)
    space = load_space("augmentation")
    search(tmp_path, Dataset.open(toy), toy_recipe(), space, config, Store(tmp_path / "store"))
    table = pd.read_csv(tmp_path / "trials.csv")
    assert list(table["number"]) == [0, 1, 2]
    assert list(table["state"]) == ["complete"] * 3
    assert list(table["magnitude"][:2]) == parameters


KILLED = """
import sys
from pathlib import Path
from tests.distribute.test_search import undisturbed
from thyroid.distribute.connection import connected
with connected(cpus=1):
    undisturbed(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def undisturbed(toy: Path, run: Path) -> pd.DataFrame:
    """A sequential search of five trials; its table without times and reuse."""
    config = SearchConfig(trials=5, concurrent=1, grace_epochs=2, reduction_factor=2)
    base = toy_recipe(schedule__constant_epochs=4)
    space = load_space("augmentation")
    search(run, Dataset.open(toy), base, space, config, Store(run / "store"))
    table = pd.read_csv(run / "trials.csv")
    return table.drop(columns=["seconds", "reused_stages", "computed_stages"])


@pytest.mark.usefixtures("ray_here")
def test_a_killed_search_ends_as_an_undisturbed_one(toy: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(toy), str(run)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not (run / "trials.csv").exists():
            assert process.poll() is None, "the search ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        # Ray's own processes are in the session of the one that is killed: all die at once.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert 1 <= len(pd.read_csv(run / "trials.csv")) < 5
    assert undisturbed(toy, run).equals(undisturbed(toy, tmp_path / "whole"))


def test_proposals_depend_on_the_seed_and_the_number_only() -> None:
    def propose(seed: int, number: int) -> float:
        study = optuna.create_study(sampler=sampler(seed, number))
        return study.ask().suggest_float("x", 0, 1)

    assert propose(1, 5) == propose(1, 5)
    assert len({propose(seed, number) for seed in range(3) for number in range(3)}) == 9


def test_a_space_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose augmentation"):
        load_space("augmentations")
    with pytest.raises(InputError, match="is no file"):
        load_space(str(tmp_path / "own.py"))
    (tmp_path / "own.py").write_text("def sace(trial, recipe): ...")
    with pytest.raises(InputError, match=r"must define space\(trial, recipe\)"):
        load_space(str(tmp_path / "own.py"))


@pytest.mark.usefixtures("ray_here")
def test_a_space_that_proposes_what_cannot_be_is_told_so(toy: Path, tmp_path: Path) -> None:
    def broken(trial: optuna.Trial, recipe: Recipe) -> Recipe:
        return override(recipe, {"input.size": 3})

    with pytest.raises(InputError, match=r"failed to propose trial 0: input.size is 3"):
        search(tmp_path, Dataset.open(toy), toy_recipe(), broken, SearchConfig(), Store(tmp_path))


def test_a_journal_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.journal").write_text("not a journal\nat all\n")
    with pytest.raises(InputError, match="is no Optuna journal"):
        open_study(tmp_path / "study.journal")
