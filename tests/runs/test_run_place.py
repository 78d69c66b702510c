"""Runs in use, missing stores and read-only disks are reported at once, in a sentence."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.short_trainings import FEW
from thyroid.cli import main
from thyroid.errors import StorageError
from thyroid.execution import connection
from thyroid.files import owned_folder, require_writable
from thyroid.runs.run_place import owned_run, require_place
from thyroid.storage.store import Store

KEY = "ab" * 32


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> NoReturn:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(connection.ray, "init", refuse)


@pytest.mark.parametrize(
    "words", [["train"], ["search", "--space", "augmentation"], ["compare", "--models", "lenet5"]]
)
def test_a_second_command_on_a_run_is_told_before_anything_starts(
    words: list[str], toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command, *more = words
    with owned_run(run):
        began = time.monotonic()
        assert main([command, str(toy), str(run), *FEW, *more]) == 2
        assert time.monotonic() - began < 10
    told = capsys.readouterr().err
    assert told == (
        f"thyroid: Another thyroid command is using {run}: wait until it ends, or choose another "
        "folder.\n"
    )
    assert not run.exists()  # the first one wrote nothing


def test_a_folder_stays_where_something_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "run"
    with contextlib.suppress(ZeroDivisionError), owned_folder(folder, "in use"):
        raise ZeroDivisionError
    assert not folder.parent.exists()
    with owned_folder(folder, "in use"):
        (folder / "result").touch()
    assert (folder / "result").exists()
    (folder / "result").unlink()
    with owned_folder(folder, "in use"):
        pass
    assert folder.exists()  # it was there before
    require_place(folder)
    require_writable(folder / "deep" / "er")
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_store_that_goes_away_while_it_is_used_is_one_sentence(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def build() -> None:
        with store.building(KEY, {}) as folder:
            assert folder is not None
            (folder / "weights").write_bytes(b"1")
            shutil.rmtree(store.root)

    with pytest.raises(StorageError, match=r"Cannot write .*store.*run the same command again if"):
        build()


@pytest.fixture
def read_only(toy: Path, tmp_path: Path) -> Iterator[Path]:
    """A disk that cannot be written, with a data set."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        shutil.copytree(toy, disk / "data")
        (disk / "run").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_read_only_disk_is_told_before_the_work(
    read_only: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["train", toy, read_only / "run", *FEW],
        ["train", toy, tmp_path / "run", *FEW, "--store", read_only / "store"],
        ["search", toy, read_only / "new", *FEW, "--space", "augmentation"],
        ["phantom", read_only / "phantom"],
        ["inspect", read_only / "data"],
        ["inspect", toy, "--out", read_only / "page.html"],
        ["report", tmp_path, "--out", read_only / "page.html"],
        ["predict", tmp_path, toy, "--out", read_only / "predictions.csv"],
        ["predict", tmp_path, toy, "--explain", read_only / "page.html"],
        ["pretrain", read_only / "weights"],
        ["demo", "--out", read_only / "demo"],
    ):
        assert main([str(word) for word in words]) == 2, words
        told = capsys.readouterr()
        assert "Read-only file system; choose another folder." in told.err, words
        assert told.err.count("\n") == 1, told.err
        assert told.out == ""


def test_pretrain_knows_its_network_before_it_simulates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", str(tmp_path / "out"), "--network", "resnet19"]) == 2
    assert "choose one of alexnet" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
