"""A command changes a run in a bucket as it changes one in a folder; other machines see it."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pandas as pd
import pytest

from tests.buckets import NAME, Stumbling, bucket_server, contents
from tests.toy import toy_recipe
from thyroid.cli import main
from thyroid.configuration import to_json
from thyroid.errors import InputError, StorageError
from thyroid.storage import lease, mirror
from thyroid.storage.bucket import Bucket
from thyroid.storage.mirror import local_copy

URL = f"s3://{NAME}/runs/first"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stumbling]:
    monkeypatch.setenv("THYROID_CACHE", str(tmp_path / "cache"))
    with bucket_server() as server:
        yield server


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, act as another machine."""
    monkeypatch.setenv("THYROID_CACHE", str(tmp_path / "elsewhere"))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition was never met"
        time.sleep(0.02)


def test_another_machine_finds_what_was_written_changed_and_removed(
    server: Stumbling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_copy(URL, alone=True) as folder:
        assert not list(folder.iterdir())
        (folder / "deep").mkdir()
        for name in ("deep/kept.txt", "changed.txt", "removed.txt", ".lock"):
            (folder / name).write_text("before")
        (folder / "tune").mkdir()
        (folder / "tune" / "scribble").write_text("nothing")
    with local_copy(URL, alone=True) as folder:
        (folder / "changed.txt").write_text("after")
        (folder / "removed.txt").unlink()
    elsewhere(tmp_path, monkeypatch)
    with local_copy(URL, alone=True) as folder:
        found = {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*.txt")}
        assert found == {"deep/kept.txt": "before", "changed.txt": "after"}
        assert not (folder / "tune").exists()
    assert sorted(contents("runs")) == ["runs/first/changed.txt", "runs/first/deep/kept.txt"]


def test_changes_go_up_while_the_command_runs(
    server: Stumbling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "PUSH_EVERY_S", 0.05)
    with local_copy(URL, alone=True) as folder:
        journal = folder / "study.journal"
        for line in ("one\n", "two\n"):
            with journal.open("a") as file:
                file.write(line)
            until(lambda: (Bucket(URL).get("study.journal") or b"") == journal.read_bytes())


def test_what_fails_leaves_what_was_written(server: Stumbling) -> None:
    with pytest.raises(FileNotFoundError), local_copy(URL, alone=True) as folder:  # noqa: PT012
        (folder / "written.txt").write_text("before it failed")
        (folder / "missing.txt").read_text()
    assert Bucket(URL).get("written.txt") == b"before it failed"
    assert Bucket(URL).get(mirror.LEASE) is None


def test_a_file_that_the_bucket_lacks_is_removed_from_the_copy(server: Stumbling) -> None:
    with local_copy(URL, alone=True) as folder:
        (folder / "config.json").write_text("{}")
    (folder / "stray.txt").write_text("of a crash")
    with local_copy(URL, alone=False) as again:
        assert [path.name for path in again.iterdir()] == ["config.json"]


def test_two_on_one_machine_are_refused(server: Stumbling) -> None:
    with (
        local_copy(URL, alone=True),
        pytest.raises(InputError, match="on this machine"),
        local_copy(URL, alone=True),
    ):
        pass


def test_two_on_two_machines_are_refused_unless_they_only_read(
    server: Stumbling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 3.0)
    monkeypatch.setattr(mirror, "PUSH_EVERY_S", 0.05)
    with local_copy(URL, alone=True) as folder:
        (folder / "config.json").write_text("{}")
        elsewhere(tmp_path, monkeypatch)
        refused = pytest.raises(InputError, match="Another thyroid command is using")
        with refused, local_copy(URL, alone=True):
            pass
        with local_copy(URL, alone=False):
            pass


def test_there_must_be_something_to_read(server: Stumbling) -> None:
    with pytest.raises(InputError, match=f"There is no run at {URL}"), local_copy(URL, alone=False):
        pass


def test_a_dead_command_elsewhere_is_waited_out(
    server: Stumbling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.5)
    Bucket(URL).put(mirror.LEASE, b"elsewhere 1 0 3")
    began = time.monotonic()
    with local_copy(URL, alone=True):
        assert time.monotonic() - began > 0.5


def test_names_that_lead_out_of_the_folder_are_refused(server: Stumbling) -> None:
    client = boto3.client("s3")
    client.put_object(Bucket=NAME, Key="runs/first/../../stolen.txt", Body=b"x")
    with pytest.raises(StorageError, match="invalid path"), local_copy(URL, alone=False):
        pass


def test_a_training_in_a_bucket_is_that_in_a_folder(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(to_json(toy_recipe())))
    options = ["--recipe", str(recipe), "--folds", "1", "--seeds", "1"]
    here = tmp_path / "here"
    assert main(["train", str(toy), str(here), *options]) == 0
    monkeypatch.setenv("THYROID_CACHE", str(tmp_path / "cache"))
    with bucket_server(every=10) as server:
        assert main(["train", str(toy), URL, *options]) == 0
        assert capsys.readouterr().out.endswith(f"run: {URL}\n")
        names = {name.removeprefix("runs/first/") for name in contents("runs/first")}
        made = {p.relative_to(here).as_posix() for p in here.rglob("*") if p.is_file()}
        kept = {n for n in made if not n.startswith((".", "store/"))}
        plain = {n for n in names if not n.startswith("store/")}
        assert {n for n in plain if "tfevents" not in n} == {n for n in kept if "tfevents" not in n}
        assert any(n.startswith("store/artifacts/") for n in names)
        shutil.rmtree(tmp_path / "cache")
        elsewhere(tmp_path, monkeypatch)
        assert main(["report", URL, "--lang", "zh"]) == 0
        assert "runs/first/report.zh.html" in contents("runs/first")
        assert main(["export", URL, str(tmp_path / "model")]) == 0
        csv = Bucket(URL).get("predictions/test-seed0.csv") or b""
        assert server.failed > 5
    assert csv == (here / "predictions" / "test-seed0.csv").read_bytes()
    assert len(pd.read_csv(here / "predictions" / "test-seed0.csv")) > 0
    assert (tmp_path / "model" / "README.md").exists()
