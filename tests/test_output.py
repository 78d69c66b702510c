"""If the reader of the output ends, the disk is full, or only ASCII can be printed, the command
ends without a traceback.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CLI = [sys.executable, "-m", "thyroid.cli"]


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]])
def test_a_reader_that_went_away_ends_the_command_without_a_word(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*CLI, *words], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_broken_pipe_elsewhere_is_told() -> None:
    code = (
        "import sys, thyroid.cli as cli\n"
        "def broken(name, argv): raise BrokenPipeError(32, 'Broken pipe')\n"
        "cli._run = broken\n"
        "sys.exit(cli.main(['train']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "thyroid: Broken pipe.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("words", [["--help"], ["store", "--help"]])
def test_output_that_cannot_be_written_is_one_sentence(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*CLI, *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 2
    assert "No space left on device." in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_closed_output_and_one_of_ascii_are_no_errors() -> None:
    closed = f"exec {' '.join(CLI)} --version >&-"
    assert subprocess.run(["bash", "-c", closed], timeout=60, check=False).returncode == 0
    code = "import thyroid.cli as cli; cli._run = lambda *_: print('后位'); cli.main(['train'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stdout) == (0, b"\\u540e\\u4f4d\n")
