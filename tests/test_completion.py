"""Bash completes the words of a command line, and `python -m thyroid` is the command line."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import thyroid
from docs.make_reference import help_of
from thyroid.cli import SUMMARIES, main

COMPLETE = """
eval "$1"; shift
[ "$(complete -p thyroid)" = "complete -o default -F _thyroid thyroid" ] || exit 1
COMP_WORDS=(thyroid "$@"); COMP_CWORD=$#
_thyroid
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script() -> str:
    words = [sys.executable, "-m", "thyroid", "--completion", "bash"]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def completed(script: str, *words: str) -> list[str]:
    """Words that bash offers for the last word."""
    asked = ["bash", "-c", COMPLETE, "bash", script, *words]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["se"], ["search"]),
        (["search", "data", "run", "--spa"], ["--space"]),
        (["train", "data", "run", "--network.cross-feature", "st"], ["stem"]),
        (["phantom", "data", "--format", ""], ["dataset", "dicom", "png"]),
        (["store", "store", "--no-d"], ["--no-dry-run"]),
        (["train", "da"], []),  # a file's name: bash completes it
    ],
)
def test_bash_completes(script: str, words: list[str], offered: list[str]) -> None:
    assert completed(script, *words) == offered


def test_every_command_and_option_is_completed(script: str) -> None:
    assert set(completed(script, "")) >= set(SUMMARIES)
    for name in ("search", "compare", "store"):
        told = set(re.findall(r"(?<![\w-])--[a-z][\w.-]+", help_of(name)))
        offered = set(completed(script, name, "-"))
        assert {option for option in offered if not option.startswith("--no-")} <= told, name
        first = re.findall(r"^│ (--[a-z][\w.-]+)", help_of(name), re.M)
        assert first
        assert set(first) <= offered, name


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--completion"]) == main(["--completion", "tcsh"]) == 2
    assert "for bash" in capsys.readouterr().err


def test_the_module_is_the_command_line() -> None:
    for words in (["-m", "thyroid", "--version"], ["-m", "thyroid.cli", "--version"]):
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60)
        assert done.stdout == f"thyroid {thyroid.__version__}\n"
