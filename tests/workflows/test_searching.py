"""`thyroid search`: trials, the best recipe, and the run that it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.run_files.test_files_md import all_named
from tests.runs.test_tensorboard import same_as_metrics, scalars
from tests.short_trainings import FEW, TINY
from thyroid.cli import main
from thyroid.run_files.race_json import read_race


def test_a_damaged_journal_is_told_before_ray_starts(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ray(*_: object) -> None:
        raise AssertionError("Ray would have been started")

    monkeypatch.setattr("thyroid.workflows.searching.ray_with_room", no_ray)
    run = tmp_path / "run"
    run.mkdir()
    record = '{"op_code": 0, "worker_id": "w", "study_name": "s", "directions": [2]}'
    (run / "study.journal").write_text(f"{record}\n{record[:20]}\n{record}\n")
    assert main(["search", str(toy), str(run), "--space", "augmentation", *FEW]) == 2
    assert "study.journal, line 2, is damaged: restore a copy" in capsys.readouterr().err


@pytest.mark.usefixtures("ray_here")
def test_search_writes_trials_and_the_best_recipe(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table, the race, the chosen recipe, the page and TensorBoard's curves agree; training the
    recipe again takes all stages from the store and gives the same predictions.
    """
    run = tmp_path / "run"
    command = ["search", str(toy), str(run), "--space", "augmentation", *FEW, *TINY]
    command += ["--trials", "2", "--final-seeds", "1"]
    assert main(command) == 0
    told = capsys.readouterr()
    assert "trial 0: macro-F1" in told.err
    assert f"best recipe: {run / 'recipe.json'}" in told.out
    table = pd.read_csv(run / "trials.csv")
    assert list(table["state"]) == ["complete", "complete"]
    recipe = json.loads((run / "recipe.json").read_text())
    raced = read_race(run)
    assert {r.trial for r in raced} == {None, 0, 1}
    assert list(table["number"][table["chosen"] == 1]) == [
        r.trial for r in raced[:1] if r.trial is not None
    ]
    if raced[0].trial is None:
        assert recipe == json.loads((run / "config.json").read_text())["search"]["base"]
        assert "the given recipe stays" in told.err
        assert told.out.splitlines()[2] == "  nothing"
    else:
        best = table.loc[raced[0].trial]
        assert recipe["augmentation"]["mirror"] == best["param_mirror"]
        assert recipe["augmentation"]["rotation_deg"] == pytest.approx(10 * best["param_magnitude"])
        assert f"trial {raced[0].trial} is chosen: macro-F1 {raced[0].macro_f1:.3f}" in told.err
    page = (run / "report.html").read_text()
    assert "Search" in page
    assert "What was computed" in page
    stages = json.loads((run / "stages.json").read_text())["stages"]
    assert {user for stage in stages for user in stage["users"]} >= {"trial 0", "trial 1", "seed 0"}
    assert not any(stage["found"] for stage in stages)
    assert "stages took" in told.err.splitlines()[-1]
    assert all_named(run)
    assert same_as_metrics(run, seeds=1)
    outcome = scalars(run / "tensorboard" / "search")
    assert outcome["search/macro_f1", 1] == pytest.approx(table["macro_f1"][1], rel=1e-6)

    assert main(["train", str(toy), str(tmp_path / "again"), "--recipe", str(run / "recipe.json"),
                 "--seeds", "1", "--store", str(run / "store")]) == 0  # fmt: skip
    stages = json.loads((tmp_path / "again" / "stages.json").read_text())["stages"]
    assert all(stage["found"] for stage in stages)
    assert main([*command, "--objectives", "macro_f1,compute"]) == 2
    assert "with --objectives ['macro_f1'] instead" in capsys.readouterr().err
    again = pd.read_csv(tmp_path / "again" / "predictions" / "test-seed0.csv")
    assert again.equals(pd.read_csv(run / "predictions" / "test-seed0.csv"))
