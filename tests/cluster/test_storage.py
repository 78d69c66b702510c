"""A search has the same results with its run in a folder, in a bucket, in a bucket that fails at
times, and on a disk that becomes full.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest

from tests.buckets import NAME, bucket_server, contents
from tests.cluster.outcomes import Outcome, outcome, require_same
from tests.toy import toy_generators
from tests.tuning.test_kills import kill_processes, named
from tests.waiting import wait_until
from thyroid.configuration import to_json
from thyroid.storage.bucket import Bucket

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TRIALS = 2
URL = f"s3://{NAME}/runs/first"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    path.write_text(json.dumps(to_json(toy_generators(split__folds=1))))
    return path


@contextmanager
def searching(
    toy: Path, run: Path | str, recipe: Path, output: Path, options: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """`thyroid search` in a new session, whose processes are ended after the block."""
    words = ["search", str(toy), str(run), "--recipe", str(recipe), "--space", "augmentation"]
    words += ["--trials", str(TRIALS), "--concurrent", "1", "--max-seeds", "1"]
    words += ["--final-seeds", "1", *options]
    with output.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "thyroid.cli", *words],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            start_new_session=True,
            stdout=told,
            stderr=told,
        )
    try:
        yield process
    finally:
        kill_processes(named("", process.pid))
        process.wait()


def ended(process: subprocess.Popen[bytes], output: Path, status: int = 0) -> str:
    """Return the output of a search that ended with an error."""
    assert process.wait(240) == status, output.read_text()[-3000:]
    return output.read_text()


def in_bucket(folder: Path) -> Outcome:
    """`outcome` of the run in the bucket, fetched as another client would."""
    (folder / "predictions").mkdir()
    for name in ("trials.csv", "predictions/test-seed0.csv"):
        (folder / name).write_bytes(Bucket(URL).get(name) or b"")
    return outcome(folder)


@pytest.fixture(scope="module")
def undisturbed(toy: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("undisturbed")
    with searching(toy, folder / "run", recipe, folder / "output.txt") as process:
        ended(process, folder / "output.txt")
    return outcome(folder / "run")


def test_a_search_in_a_bucket_that_fails_at_times_goes_on_on_another_machine(
    toy: Path,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: Outcome,
) -> None:
    """One request in ten fails. The first machine dies; the second has an empty cache, continues
    the run, and leaves the same results, the page, and nothing unfinished.
    """
    monkeypatch.setenv("THYROID_CACHE", str(tmp_path / "one"))
    with bucket_server(every=10) as server:
        with searching(toy, URL, recipe, tmp_path / "killed.txt") as process:
            wait_until(lambda: b"\n0," in (Bucket(URL).get("trials.csv") or b""), process)
            os.killpg(process.pid, signal.SIGKILL)
        before = pd.read_csv(BytesIO(Bucket(URL).get("trials.csv") or b""))
        monkeypatch.setenv("THYROID_CACHE", str(tmp_path / "other"))
        with searching(toy, URL, recipe, tmp_path / "output.txt") as process:
            said = ended(process, tmp_path / "output.txt")
        assert said.endswith(f"run: {URL}\n")
        assert server.failed > 20
        require_same(in_bucket(tmp_path), undisturbed)
        after = pd.read_csv(tmp_path / "trials.csv")
        assert after["seconds"][0] == before["seconds"][0]  # it was not run again
        assert b"Not for clinical use" in (Bucket(URL).get("report.html") or b"")
        assert not contents("runs/first/store/claims")
        assert not contents("runs/first/store/damaged")


@contextmanager
def small_disk(folder: Path, size_mb: float) -> Iterator[Callable[[float], None]]:
    """A separate disk, which can be replaced by a larger one."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "t", folder]).returncode:
        pytest.skip("only root may mount")

    def enlarge(size_mb: float) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size_mb}m", folder], check=True)

    try:
        yield enlarge
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_and_a_damaged_artifact_are_told_and_the_same_command_goes_on(
    toy: Path, recipe: Path, tmp_path: Path, undisturbed: Outcome
) -> None:
    """The damaged artifact is found and computed again."""
    with small_disk(tmp_path / "disk", 1) as enlarge:
        run, output = tmp_path / "disk" / "run", tmp_path / "output.txt"
        with searching(toy, run, recipe, output) as process:
            said = ended(process, output, status=2)
        assert "No space left on device" in said.splitlines()[-1]
        assert "Traceback" not in said
        enlarge(200)
        damaged = next((run / "store" / "artifacts").glob("*/*/split.csv"))  # all need it
        content = bytearray(damaged.read_bytes())
        content[-1] ^= 1
        damaged.write_bytes(content)
        with searching(toy, run, recipe, output) as process:
            said = ended(process, output)
        assert "1 artifact of the store was damaged and computed again" in said
        require_same(outcome(run), undisturbed)
        assert len(list((run / "store" / "damaged").iterdir())) == 1
