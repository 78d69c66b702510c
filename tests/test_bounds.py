"""One table bounds every number of every command; each bound is tried from both sides."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from thyroid.bounds import BOUNDS, WITHIN_TEXT
from thyroid.cli import SUMMARIES, main
from thyroid.commands.options import option_types
from thyroid.errors import InputError
from thyroid.recipe import Recipe, override
from thyroid.workflows.options import SearchOptions

POSITIONALS = {
    "train": ["data", "run"],
    "compare": ["data", "run"],
    "search": ["data", "run", "--space", "joint"],
    "import": ["source", "data"],
    "export": ["run", "model"],
    "recalibrate": ["model", "data", "new"],
    "predict": ["model", "image"],
    "demo": [],
}
"""Words that a command needs; of any other, one."""


def command(name: str) -> Callable[..., None]:
    module = "import_" if name == "import" else name.replace("-", "_")
    found: Callable[..., None] = getattr(
        importlib.import_module(f"thyroid.commands.{module}"), module
    )
    return found


def numbers(name: str) -> dict[str, Any]:
    """The options of a command that are numbers, by the name of their row."""
    return {
        row(option): kind for option, kind in option_types(command(name)).items() if is_number(kind)
    }


def is_number(kind: Any) -> bool:
    return kind in (int, float)


def row(option: str) -> str:
    section, dot, field = option.removeprefix("--").replace("-", "_").partition(".")
    if not dot:
        return option
    return f"{'schedule' if section == 'label_filter' else section}.{field}"


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_number_of_a_command_has_a_row_of_its_kind(name: str) -> None:
    for option, kind in numbers(name).items():
        assert option in BOUNDS, option
        assert {type(bound) for bound in BOUNDS[option]} == {kind}, option


def test_every_row_is_of_an_option() -> None:
    used = set().union(*map(numbers, SUMMARIES), WITHIN_TEXT, {"schedule.epochs"})
    assert set(BOUNDS) == used
    assert all(least < most for least, most in BOUNDS.values())


def beyond(option: str) -> list[float]:
    least, most = BOUNDS[option]
    if isinstance(least, int):
        return [least - 1, most + 1]
    return [least - max(abs(least), 1.0) * 1e-3, most * 1.001, float("nan"), float("inf")]


@pytest.mark.parametrize("name", SUMMARIES)
def test_what_is_beyond_a_bound_is_refused_in_a_sentence_before_anything_starts(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://none")  # no Ray starts
    for option in numbers(name):
        if not option.startswith("--"):
            continue
        for value in beyond(option):
            status = main([name, *POSITIONALS.get(name, ["a"]), option, str(value)])
            told = capsys.readouterr().err
            assert status == 2, (option, value, told)
            assert told.startswith(f"thyroid: {option} is {value} but must be from "), told
            assert told.count("\n") == 1


@pytest.mark.parametrize("field", [row for row in BOUNDS if not row.startswith("--")])
def test_a_recipe_takes_what_is_within_and_refuses_what_is_beyond(field: str) -> None:
    if field == "schedule.epochs":  # the sum of three
        with pytest.raises(InputError, match=r"schedule\.epochs is 0 but"):
            override(Recipe(), {f"schedule.{part}_epochs": 0 for part in PHASES})
        return
    for value in beyond(field):
        with pytest.raises(InputError, match=rf"^{field} is .* but must be from"):
            override(Recipe(), {field: value})


PHASES = ("warmup", "constant", "decay")


@pytest.mark.parametrize("value", [0.5, "3", True, None])
def test_what_is_no_number_is_refused_in_a_notebook_too(value: Any) -> None:
    options: dict[str, Any] = {"space": "joint", "trials": value}
    if value is None:
        assert SearchOptions(space="joint", final_seeds=None).final_seeds is None
        return
    with pytest.raises(InputError, match=r"--trials is .* but must be a whole number from 1 to"):
        SearchOptions(**options)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "d", "r", "--folds", "0"], "--folds is 0 but must be from 1 to 1000"),
        (["train", "d", "r", "--folds", "-1"], "--folds is -1 but must be a number from 1"),
        (
            ["search", "d", "r", "--space", "joint", "--time-budget", "0.01s"],
            "--time-budget is 0.01s",
        ),
        (["search", "d", "r", "--space", "joint", "--report-every", "9999999d"], "from 0.1 to"),
        (["store", "s", "--prune", "--max-size", "99999999999TB"], "--max-size is 99999999999TB"),
        (["store", "s", "--prune", "--older-than", "0.01s"], "--older-than is 0.01s but must be"),
    ],
)
def test_numbers_within_texts_are_bounded_too(
    words: list[str], sentence: str, refused: Callable[..., str]
) -> None:
    refused(words, sentence)
