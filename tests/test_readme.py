"""The README's commands work as they stand there, on small data."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import optuna
import pytest

from tests.test_cli import FEW, TINY
from thyroid.cli import SUMMARIES, main
from thyroid.recipe import Recipe
from thyroid.space import load_space

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks() -> list[str]:
    """The fenced blocks, without their fences."""
    return re.findall(r"^```\w*\n(.*?)^```", README, re.M | re.S)


@pytest.mark.usefixtures("ray_here")
def test_the_commands_for_ones_own_images_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (commands,) = [block for block in blocks() if block.startswith("thyroid import")]
    assert main(["phantom", "scintigrams", "--format", "png", "--images-per-class", "6",
                 "--images-per-cross", "2"]) == 0  # fmt: skip
    for line in commands.splitlines():
        command = shlex.split(line)[1:]
        if command[0] in ("train", "search"):
            command += FEW + TINY
        if command[0] == "search":
            command[command.index("--trials") + 1] = "2"
            command += ["--final-seeds", "1"]
        assert main(command) == 0, line
    assert (tmp_path / "searched" / "report.html").exists()


def test_the_space_of_ones_own_is_a_space(tmp_path: Path) -> None:
    (source,) = [block for block in blocks() if "def space" in block]
    (tmp_path / "own.py").write_text(source)
    space = load_space(str(tmp_path / "own.py"))
    fixed = optuna.trial.FixedTrial({"learning_rate": 5e-4, "normalisation": "log_mean"})
    recipe = space(fixed, Recipe())
    assert recipe.optimiser.learning_rate == 5e-4
    assert recipe.input.normalisation == "log_mean"


def test_every_command_and_option_that_the_readme_names_exists(
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = ""
    for name in SUMMARIES:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        known += capsys.readouterr().out
    named = set(re.findall(r"(?:`|^)thyroid (\w+)[ `]", README, re.M))
    assert len(named) > 4
    assert named <= set(SUMMARIES)
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)):
        assert option in known, option


def test_every_file_that_the_readme_links_exists() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(linked) >= 4
    for name in linked:
        assert (Path(__file__).parents[1] / name).is_file(), name
