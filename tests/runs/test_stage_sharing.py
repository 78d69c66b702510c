"""Stages that a run needed, computed and found."""

from pathlib import Path

import pytest

from tests.toy import toy_generators, toy_recipe, where
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.execution.in_process import in_process
from thyroid.run_files.stages_json import read_stages
from thyroid.runs.stage_sharing import lineages, tell_stages, totals
from thyroid.storage.store import Store


def test_what_trials_share_is_needed_twice_and_computed_once(toy: Path, tmp_path: Path) -> None:
    digest = Dataset.open(toy).digest
    short = pipeline.classifier(toy_generators(), digest, 0)
    longer = pipeline.classifier(toy_generators(schedule__constant_epochs=3), digest, 0)
    earlier, own = Store(tmp_path / "store", "earlier"), Store(tmp_path / "store", "own")
    dcgan = next(s for s in short[0].lineage() if s.kind == "dcgan")
    list(in_process(earlier, where(toy))([dcgan]))
    list(in_process(own, where(toy))([short[-1], longer[-1]]))
    needs = lineages({"trial 0": [short[-1]], "trial 1": [longer[-1]]})
    tell_stages(tmp_path, needs, own)

    rows = {stage.key: stage for stage in read_stages(tmp_path)}
    assert set(rows) == {s.key for final in (short[-1], longer[-1]) for s in final.lineage()}
    assert rows[dcgan.key].found
    assert rows[dcgan.key].users == ("trial 0", "trial 1")
    own_rows = [rows[short[-1].key], rows[longer[-1].key]]
    assert [row.users for row in own_rows] == [("trial 0",), ("trial 1",)]
    assert not own_rows[0].found
    assert own_rows[1].first_epoch == 4
    assert own_rows[1].phase == "mixed"
    assert longer[-2].key in own_rows[1].inputs
    assert all(row.seconds > 0 for row in rows.values())

    told = totals(list(rows.values()))
    by_hand = sum(row.seconds * row.needs for row in rows.values())
    assert told["needed"] == pytest.approx(by_hand)
    assert told["computed"] + told["found"] == pytest.approx(
        sum(row.seconds for row in rows.values())
    )
    assert told["needed"] > told["computed"] + told["found"]


def test_stages_of_a_fold_bear_its_number(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, store = toy_recipe(split__folds=2), Store(tmp_path / "store", "own")
    digest = Dataset.open(toy).digest
    finals = [pipeline.classifier(recipe.in_fold(fold), digest, 0)[-1] for fold in (0, 1)]
    one_split = pipeline.classifier(toy_recipe(), digest, 0)[-1]
    list(in_process(store, where(toy))([*finals, one_split]))
    tell_stages(tmp_path, lineages({"x": [*finals, one_split]}), store)
    told = capsys.readouterr().err
    assert "stages took" in told
    assert "without sharing" not in told  # nothing was shared

    folds = {stage.key: stage.fold for stage in read_stages(tmp_path)}
    for fold, final in enumerate(finals):
        assert {folds[stage.key] for stage in final.lineage()} == {fold}
    assert {folds[stage.key] for stage in one_split.lineage()} == {None}


def test_what_is_there_no_longer_is_left_out(tmp_path: Path) -> None:
    tell_stages(tmp_path, {"seed 0": ["ab" * 32]}, Store(tmp_path / "store"))
    assert read_stages(tmp_path) == []
