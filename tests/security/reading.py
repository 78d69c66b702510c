"""Reads changed files as the import does, in a separate process that reports the outcome.

    python -m tests.security.reading FOLDER FIRST LAST
    python -m tests.security.reading FOLDER

With FIRST and LAST, FOLDER has valid files and, in `dataset/`, a valid data set; their changed
versions FIRST to LAST are made and read. Otherwise the files in FOLDER are read as they are, in the
order of their names. For each file, the process prints "began" and a number, and then the message
that a user would get; at the end it prints "peak" and its maximum memory in MB. If a file takes
more than SECONDS of processor time, a signal ends the process.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.security.mutations import mutated
from thyroid.data.dataset import Dataset
from thyroid.data.labels import LabelledFile
from thyroid.data.record import Rejection, read_image
from thyroid.errors import InputError

ROOT = Path(__file__).parents[2]
SECONDS = 5.0
"""Limit of processor time per file; wall time depends on what else the machine does."""
ADDRESS_SPACE = 2 * 2**30
MOST_MEGABYTES = 512
"""Limit for a process that reads one file after the other; it has 60 before the first."""
TABLES = 10  # one of so many files belongs to a data set


def outcomes(work: Path, *arguments: str) -> tuple[list[str], int]:
    """A process's answer to each file, and its peak memory, MB."""
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.security.reading", *arguments],
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        cwd=work,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"status {done.returncode} after {lines[-2:]}"
    return lines[1:-1:2], int(lines[-1].removeprefix("peak "))


def read(path: Path) -> str:
    """Read one file: `read`, or the reason why it cannot be read."""
    file = LabelledFile(path=path, name=path.name, findings=("normal",))
    result = read_image(file, size=64, pixel_mm=4.0)
    return result.reason if isinstance(result, Rejection) else "read"


def read_changed(folder: Path, number: int) -> str:
    """Make and read one changed file."""
    if number % TABLES == 0:
        return _data_set(folder / "dataset", number)
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    files = {name: (folder / name).read_bytes() for name in names}
    path = Path.cwd() / "changed"
    path.write_bytes(mutated(files, names[number % len(names)], number))
    return read(path)


def _data_set(sound: Path, number: int) -> str:
    names = sorted(path.name for path in sound.iterdir())
    files = {name: (sound / name).read_bytes() for name in names}
    name = names[number // TABLES % len(names)]
    changed = Path.cwd() / "dataset"
    shutil.copytree(sound, changed, dirs_exist_ok=True)
    (changed / name).write_bytes(mutated(files, name, number))
    try:
        dataset = Dataset.open(changed, verify=number % (2 * TABLES) == 0)
        assert len(dataset.labels) == len(dataset.findings) == len(dataset.is_cross)
        assert dataset.counts.sum() >= 0
        assert dataset.digest
    except InputError as error:
        return str(error)
    return "read"


def main() -> None:
    """Read files within limits."""
    folder = Path(sys.argv[1])
    steps: Iterator[Callable[[], str]]
    if len(sys.argv) > 2:
        numbers = range(int(sys.argv[2]), int(sys.argv[3]))
        steps = (partial(read_changed, folder, number) for number in numbers)
    else:
        steps = (partial(read, path) for path in sorted(folder.iterdir()))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # decoders in C print messages of their own
    os.dup2(1, 2)
    for number, step in enumerate(steps):
        told.write(f"began {number}\n")
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            told.write(f"{step()!r}\n")
        except Exception:
            told.write(f"{traceback.format_exc()!r}\n")
            raise
        signal.setitimer(signal.ITIMER_PROF, 0)
    status = Path("/proc/self/status").read_text()  # getrusage counts the parent's, too
    told.write(f"peak {int(status.partition('VmHWM:')[2].split()[0]) // 1024}\n")


if __name__ == "__main__":
    main()
