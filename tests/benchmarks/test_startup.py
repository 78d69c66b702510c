"""Time until the command line answers, predicts, and computes the first stage of a search."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

THYROID = Path(sys.executable).with_name("thyroid")
PATIENCE_S = 120.0
ONE_EPOCH = [
    *("--schedule.warmup-epochs", "0"),
    *("--schedule.constant-epochs", "1"),
    *("--schedule.decay-epochs", "0"),
    *("--mixing.synthetic-share", "0"),
]


def thyroid(folder: Path, *words: str) -> None:
    """Run a command in a process of its own."""
    done = subprocess.run([THYROID, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data (108 scintigrams), a model of them, and dicom/."""
    folder = tmp_path_factory.mktemp("startup")
    few = ["--images-per-class", "12", "--images-per-cross", "4"]
    thyroid(folder, "phantom", "data", *few)
    one = ["--images-per-class", "1", "--images-per-cross", "0", "--format", "dicom"]
    thyroid(folder, "phantom", "dicom", *one)
    thyroid(folder, "train", "data", "run", "--seeds", "1", *ONE_EPOCH)
    thyroid(folder, "export", "run", "model")
    return folder


def test_help_answers_within_300_ms(benchmark: BenchmarkFixture) -> None:
    def ask() -> None:
        subprocess.run([THYROID, "--help"], check=True, stdout=subprocess.DEVNULL)

    benchmark.pedantic(ask, rounds=10, warmup_rounds=1)
    assert benchmark.stats.stats.median <= 0.3


def test_a_new_process_predicts_one_image_within_3_s(
    place: Path, benchmark: BenchmarkFixture
) -> None:
    image = next(path for path in sorted((place / "dicom").iterdir()) if path.suffix == ".dcm")
    words = ["predict", "model", str(image)]
    benchmark.pedantic(thyroid, args=(place, *words), rounds=5, warmup_rounds=1)
    forget_files()
    began = time.perf_counter()
    thyroid(place, *words)
    from_disk = time.perf_counter() - began
    median = benchmark.stats.stats.median
    print(
        f"\npredict: {median:.2f} s; with Python's packages read from disk {from_disk:.1f} s; "
        f"load {os.getloadavg()[0]:.1f}"
    )
    assert median <= 3.0


def forget_files() -> None:
    """Make the system drop the packages' files from its cache, as after a restart."""
    for path in Path(sys.prefix).rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def test_the_first_trial_of_a_search_is_under_way_within_10_s(
    place: Path, benchmark: BenchmarkFixture
) -> None:
    taken: list[float] = []

    def search() -> None:
        """Seconds until the first stage of a search has begun."""
        run = place / f"searched-{len(taken)}"
        words = ["search", "data", str(run), "--space", "demo", "--trials", "2", *ONE_EPOCH]
        began = time.perf_counter()
        command = subprocess.Popen([THYROID, *words], cwd=place, stderr=subprocess.PIPE)
        try:
            while not any((run / "store" / "building").glob("*")):
                assert command.poll() is None, command.communicate()[1]
                assert time.perf_counter() - began < PATIENCE_S
                time.sleep(0.01)
            taken.append(time.perf_counter() - began)
        finally:
            command.send_signal(signal.SIGINT)
            command.communicate()

    benchmark.pedantic(search, rounds=3)
    best, told = min(taken), ", ".join(f"{seconds:.1f}" for seconds in taken)
    benchmark.extra_info["seconds"] = taken
    print(f"\nfirst stage of a search begun after {told} s; load {os.getloadavg()[0]:.1f}")
    assert best <= 10.0
