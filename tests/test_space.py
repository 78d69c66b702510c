"""A mistake in a user's search space is reported in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.toy import toy_recipe
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.space import load_space
from thyroid.tuning.space_validation import validate_space

HEAD = "import optuna\nfrom thyroid.recipe import override\n"
MISTAKES = {
    "def spice(trial, recipe):\n    return recipe": r"must define space\(trial, recipe\)",
    "space = 3": r"must define space\(trial, recipe\)",
    "def space(trial):\n    return trial": "a function of two arguments",
    "def space(trial, recipe)\n    return recipe": r"imported: \S+, line 3: expected ':'",
    "import nowhere": r"imported: \S+, line 3: ModuleNotFoundError: No module named 'nowhere'",
    "raise SystemExit('enough')": "line 3: SystemExit: enough",
}
AT_A_TRIAL = {
    "return override(recipe, {'optimizer.rate': 1})": "line 4: The recipe has no field 'optimizer",
    "return override(recipe, {'cross.share': 7})": "line 4: cross.share is 7.* but must be from",
    "return override(recipe, {'cross.share': trial.suggest_float('a', 1, 0)})": "line 4: ValueErr",
    "return {}['b']": "line 4: KeyError: 'b'",
    "assert trial.number > 5": "trial 0: .*line 4: AssertionError$",
    "return recipe if trial.number < 3 else None": "trial 3: .* space returned None and not",
    "raise SystemExit(3)": "line 4: SystemExit: 3",
    "raise optuna.TrialPruned": "line 4: TrialPruned$",
    "return trial.study.best_params": "line 4: ValueError: No trials are completed yet",
}


@pytest.mark.parametrize("source", MISTAKES)
def test_a_file_that_is_no_space(source: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(HEAD + source + "\n")
    with pytest.raises(InputError, match=MISTAKES[source]):
        load_space(str(tmp_path / "own.py"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file"):
        load_space(str(tmp_path / "own.py"))


@pytest.mark.parametrize("line", AT_A_TRIAL)
def test_a_space_that_fails_at_one_of_the_first_trials(
    line: str, tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(f"{HEAD}def space(trial, recipe):\n    {line}\n")
    monkeypatch.chdir(tmp_path)
    space = load_space("own.py")  # as the README names it
    with pytest.raises(InputError) as error:
        validate_space(space, toy_recipe(), Dataset.open(toy), 4, 0)
    assert re.search(AT_A_TRIAL[line], str(error.value).rstrip("."))


@pytest.mark.parametrize("command", ["search", "compare"])
def test_it_is_refused_before_ray_starts_and_anything_is_written(
    command: str, toy: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    space = tmp_path / "own.py"
    space.write_text("def space(trial, recipe):\n    return recipe.unknown\n")
    run, more = (
        tmp_path / "run",
        {"search": [], "compare": ["--models", "none", "--trials-per-model", "2"]}[command],
    )
    wrong = [command, str(toy), str(run), "--space", str(space), "--input.size", "16", *more]
    wrong += ["--mixing.cross-share", "None"]  # of which there are none
    refused(wrong, "line 2: AttributeError: 'Recipe' object has no attribute 'unknown'.")
    assert not run.exists()
