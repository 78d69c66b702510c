"""A search ends when its budget is used up, and continues with a larger one.

Its GPUs are resources without hardware; the stages that hold them import no torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from tests.toy import toy_recipe, where
from tests.tuning.slow import EPOCH_S
from thyroid.data.dataset import Dataset
from thyroid.recipe import Recipe, override
from thyroid.run_files.race_json import read_race
from thyroid.storage.store import Store
from thyroid.tuning.search_config import SearchConfig
from thyroid.tuning.study import open_study
from thyroid.tuning.tune_search import Search

pytestmark = [pytest.mark.cluster, pytest.mark.ray]

GPUS = 2
EPOCHS = 8
TRIALS = 12  # more than a busy machine starts before usage is read
TRIAL_S = EPOCHS * EPOCH_S
"""GPU-seconds of a trial."""

SEARCH = """
import json, sys
from pathlib import Path
import ray
from tests.tuning import slow
from tests.tuning.test_budget import GPUS, search
slow.install()
ray.init(
    address="local",
    num_cpus=4,
    num_gpus=GPUS,
    include_dashboard=False,
    log_to_driver=False,
    runtime_env={"worker_process_setup_hook": "tests.tuning.slow.install"},
)
search(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
"""


def rates(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    rate = trial.suggest_float("rate", 1e-5, 1e-2, log=True)
    return override(recipe, {"optimiser.learning_rate": rate})


def search(toy: Path, run: Path, settings: dict[str, Any]) -> None:
    base = toy_recipe(
        execution__device="cuda",
        schedule__warmup_epochs=0,
        schedule__constant_epochs=EPOCHS,
        schedule__decay_epochs=0,
        schedule__segment_epochs=2,
    )
    Search(
        run=run,
        dataset=Dataset.open(toy),
        base=base,
        space=rates,
        config=SearchConfig(**{"trials": TRIALS, "max_seeds": 1, "grace_epochs": 99} | settings),
        store=Store(run / "store"),
        datasets=where(toy),
    ).best()


def searched(toy: Path, run: Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SEARCH, str(toy), str(run), json.dumps(settings)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )


def costs(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the budget, and the hours that the search has used."""
    content = json.loads((run / "usage.json").read_text())
    (part,) = content["purposes"]
    return content["budget"], part


def test_gpu_hours_are_counted_over_commands_and_end_the_search(toy: Path, tmp_path: Path) -> None:
    """The second command, with a larger budget, counts the GPU-hours of the first one, too."""
    few = 2.5 * TRIAL_S / 3600
    first = searched(toy, tmp_path, gpu_hours=few, max_seeds=3)
    assert first.returncode == 0, first.stderr
    budget, used = costs(tmp_path)
    assert budget == {"time_hours": None, "gpu_hours": few, "ended": "gpu_hours"}
    late = GPUS * (2 + 3) / 3600  # until the usage looks, and on a busy machine
    assert few <= used["gpu_hours"] <= few + late
    assert used["gpu_node_hours"] == used["node_hours"] == used["hours"]
    assert used["there_gpu_hours"] == pytest.approx(GPUS * used["hours"])
    assert used["gpu_hours"] < used["there_gpu_hours"]
    assert "the search's budget is used up" in first.stderr
    assert f"of {few:g} GPU-hours" in first.stderr
    assert "comparing the given recipe" not in first.stderr  # no race
    study = open_study(tmp_path / "study.journal")
    done = [trial.number for trial in study.trials if trial.state is TrialState.COMPLETE]
    cut = [trial.number for trial in study.trials if trial.state is TrialState.RUNNING]
    assert done
    assert cut
    assert len(done) + len(cut) == len(study.trials) < TRIALS
    ended = pd.read_csv(tmp_path / "trials.csv")

    more = searched(toy, tmp_path, gpu_hours=100.0)
    assert more.returncode == 0, more.stderr
    table = pd.read_csv(tmp_path / "trials.csv")
    assert list(table["number"]) == list(range(TRIALS))
    assert set(table["state"]) == {"complete"}
    pd.testing.assert_frame_equal(
        table.drop(columns="chosen").loc[table["number"].isin(done)].reset_index(drop=True),
        ended.drop(columns="chosen"),
    )
    budget, after = costs(tmp_path)
    assert budget["ended"] is None
    assert after["gpu_hours"] > used["gpu_hours"]
    assert after["gpu_hours"] >= TRIALS * TRIAL_S / 3600  # some segments were computed twice


def test_a_time_budget_ends_the_race(toy: Path, tmp_path: Path) -> None:
    """All recipes have the same score, so that only time ends the race."""
    first = searched(toy, tmp_path, trials=2)
    assert first.returncode == 0, first.stderr
    budget, before = costs(tmp_path)
    assert budget == {"time_hours": None, "gpu_hours": None, "ended": None}
    seconds = 8.0
    second = searched(toy, tmp_path, trials=2, max_seeds=1000, time_budget=f"{seconds}s")
    assert second.returncode == 0, second.stderr
    assert "comparing the given recipe and the best 2 trials" in second.stderr
    budget, after = costs(tmp_path)
    assert budget == {"time_hours": seconds / 3600, "gpu_hours": None, "ended": "time_hours"}
    assert 0 <= 3600 * (after["hours"] - before["hours"]) - seconds < 60
    assert after["gpu_hours"] > before["gpu_hours"]
    table = pd.read_csv(tmp_path / "trials.csv")
    raced = read_race(tmp_path)
    assert {r.trial for r in raced} == {None, 0, 1}
    assert 1 <= raced[0].seeds < 1000
    assert {(r.seeds, r.behind, r.behind_error) for r in raced} == {(raced[0].seeds, 0, 0)}
    assert raced[0].trial is None  # none of the others is better
    assert table["chosen"].sum() == 0
