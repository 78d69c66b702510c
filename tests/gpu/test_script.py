"""The script for machines with a GPU, on a machine without one: its message and its commands."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.gpu import __main__ as script
from tests.toy import write_toy
from thyroid.cli import main


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert script.main() == 1
    assert capsys.readouterr().out.startswith("There is no GPU that torch can use here: run")


def test_its_commands_are_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def record(_: script.Machine, *command: str) -> tuple[str, float]:
        asked.append(list(command[len(script.THYROID) :]))
        return "", 0.0

    called: list[str] = []
    monkeypatch.setattr(script.Machine, "run", record)
    monkeypatch.setattr(script, "write_toy", lambda folder, **_: write_toy(folder, images=6))
    on = script.Machine(tmp_path)
    told = [line for part in (script.shared, script.search) for line in part(on)]
    assert told[2] == "- Their predictions are NOT the same."  # as there are none
    assert on.failed
    for command in asked:
        name = command[0]
        module = importlib.import_module(f"thyroid.commands.{name}")

        def count(*_: Any, name: str = name, **__: Any) -> None:
            called.append(name)

        monkeypatch.setattr(module, name, functools.wraps(getattr(module, name))(count))
        assert main(command) == 0, command
    assert called == ["train", "train", "phantom", "search"]


def test_a_command_that_fails_or_takes_too_long_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    on = script.Machine(tmp_path)
    assert on.run("bash", "-c", "echo fine")[0] == "fine"
    assert not on.failed
    on.run("bash", "-c", "echo broken; exit 3")
    assert on.failed
    on.ends = 0.0
    on.run("sleep", "60")
    told = capfd.readouterr().out
    assert "broken" in told
    assert "The 600 s are over." in told
