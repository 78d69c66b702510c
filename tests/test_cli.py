"""The command line as a user meets it: help, status, and one sentence for what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.short_trainings import FEW
from tests.toy import write_toy
from thyroid.cli import SUMMARIES, main


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from thyroid.cli import main; main(['--help']);"
        "sys.exit(bool({'torch', 'ray', 'pandas', 'tyro'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in SUMMARIES)


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_command_explains_itself_without_torch(name: str) -> None:
    code = (
        "import sys; from thyroid.cli import main\n"
        f"try: main(['{name}', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"usage: thyroid {name}" in done.stdout


@pytest.mark.parametrize("name", sorted(set(SUMMARIES) - {"demo"}))
def test_a_command_without_arguments_says_what_it_needs(
    name: str, refused: Callable[..., str]
) -> None:
    refused([name], f"missing; see `thyroid {name} --help`")


def test_bad_input_is_one_sentence_status_2_and_leaves_nothing(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    changed = write_toy(tmp_path / "changed").folder
    counts = bytearray((changed / "counts.npy").read_bytes())
    counts[-1] ^= 1
    (changed / "counts.npy").write_bytes(counts)
    train = ["train", str(toy), str(run), *FEW]
    search = ["search", str(toy), str(run), *FEW, "--space"]
    for command, sentence in [
        (["diagnose"], "no command 'diagnose'"),
        (["train", str(changed), str(run)], "was changed or damaged"),
        ([*train, "--input.size", "20"], "choose one of 32, 16."),
        ([*train, "--network.name", "resnet19"], "choose one of alexnet"),
        ([*train, "--recipe", "large"], "choose small, resnet18, paper or a JSON file"),
        ([*train, "--recipe", str(tmp_path / "no.json")], "Cannot read recipe"),
        ([*search, "none"], "choose augmentation"),
        ([*train, "--execution.device", "cuda"], "but this machine has none"),
        ([*search, "augmentation", "--time-budget", "soon"], "90s, 30m, 2h or 30d"),
        ([*search, "augmentation", "--gpu-hours", "1"], "on the processor: use --time-budget"),
        ([*search, "augmentation", "--report-every", "1"], "--report-every '1' is not a duration"),
        ([*search, "augmentation", "--objectives", "f1"], "choose from macro"),
        ([*search, "augmentation", "--warm-start", "nowhere"], "nowhere is not a run"),
        ([*search, "augmentation", "--storage", "sqlite:////no/where.db"], "give a URL such as"),
        (["compare", str(toy), str(run), *FEW, "--models", "none"], "compares nothing"),
        (
            ["demo", "--out", str(changed)],
            "is not the folder of a demonstration: name a new folder",
        ),
        (["report", str(tmp_path)], "is not a run"),
        (["phantom", str(tmp_path / "p"), "--preset", "heart"], "choose thyroid7 or"),
        (["phantom", str(toy)], "exists already"),
        (["import", str(tmp_path / "none"), str(tmp_path / "d")], "none"),
    ]:
        assert main(command) == 2, command
        told = capsys.readouterr().err.removeprefix("starting Ray on this machine\n")
        assert sentence in told, told
        assert told.count("\n") == 1, told
        assert not run.exists()
        assert not (tmp_path / "p").exists()
        assert not (tmp_path / "d").exists()


def test_a_full_disk_ends_with_a_sentence(toy: Path, tmp_path: Path) -> None:
    """The limit on a file's size stands in for the disk: every write beyond it is refused."""
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from thyroid.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", limited, "train", str(toy), str(run), "--seeds", "1", *FEW],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 2, done.stderr
    assert "Cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((run / "store" / "building").iterdir())
    assert not list((run / "store" / "claims").iterdir())
