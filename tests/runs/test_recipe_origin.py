"""The origin of a recipe, and the number of recipes from which it was chosen there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stub_config import stub_comparison, stub_config, stub_search
from thyroid.run_files.config_json import write_config
from thyroid.run_files.rows_json import ComparedRow, write_rows
from thyroid.run_files.trials_csv import Trial, write_trials
from thyroid.runs.recipe_origin import searched_before

NEW = Path("nowhere")


def run_of(folder: Path, **config: Any) -> str:
    """A run's folder, and the path of its recipe."""
    folder.mkdir()
    write_config(folder, stub_config(**config))
    return str(folder / "recipe.json")


def test_of_a_search_are_counted_the_trials_that_ended_or_else_those_asked_for(
    tmp_path: Path,
) -> None:
    recipe = run_of(tmp_path / "searched", command="search", search=stub_search())
    assert searched_before(recipe, NEW) == 16
    ended = [Trial(number=n, state="failed", epochs=0, parameters={}) for n in range(3)]
    write_trials(tmp_path / "searched", ended)
    assert searched_before(recipe, NEW) == 3


def test_whatever_lies_between_hands_the_number_on(tmp_path: Path) -> None:
    trained = run_of(tmp_path / "trained", command="train", searched=16)
    assert searched_before(trained, NEW) == 16
    again = run_of(tmp_path / "again", command="search", searched=16, search=stub_search(trials=8))
    assert searched_before(again, NEW) == 24
    compared = run_of(tmp_path / "compared", command="compare", comparison=stub_comparison())
    about = {"title": "", "changes": {}, "parameters": 1, "train_seconds": 0.0, "epochs": 1}
    method = ComparedRow(name="method", kind="method", trials=19, done=True, **about)
    baseline = ComparedRow(name="lenet5", kind="baseline", trials=4, done=True, **about)
    write_rows(tmp_path / "compared", [method, baseline])
    assert searched_before(compared, NEW) == 19


def test_a_run_that_goes_on_keeps_the_number_that_it_began_with(tmp_path: Path) -> None:
    run_of(tmp_path / "run", command="compare", searched=16)
    other = run_of(tmp_path / "searched", command="search", search=stub_search(trials=40))
    assert searched_before(other, tmp_path / "run") == 16
    assert searched_before("small", tmp_path / "run") == 16


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"dataset": {"classes": ["a"]}}'])
def test_a_recipe_of_unknown_origin_is_as_given(tmp_path: Path, content: str | None) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text("{}")
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert searched_before(str(recipe), NEW) == 0
    assert searched_before("small", NEW) == 0
    other = run_of(tmp_path / "run", command="search", search=stub_search())
    beside = Path(other).with_name("mine.json")
    assert searched_before(str(beside), NEW) == 0
