"""The report during a run: one process at a time, of low priority, which always ends."""

from __future__ import annotations

import errno
import io
import os
import tempfile
import time
from pathlib import Path

import pytest
from rich.console import Console

from thyroid import progress
from thyroid.runs.live_report import LiveReport


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=written, force_terminal=False))
    return written


def ended(report: LiveReport) -> None:
    """Wait until the process has ended."""
    deadline = time.monotonic() + 60
    while not report.due():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_report_that_fails_is_told_once_and_harms_nobody(
    tmp_path: Path, told: io.StringIO
) -> None:
    with LiveReport(tmp_path, 0.0) as report:
        for _ in range(2):
            report.start()
            ended(report)
    (line,) = told.getvalue().splitlines()
    assert line.startswith(f"the report could not be rebuilt: {tmp_path} is not a run")


def test_there_is_one_at_a_time_and_none_at_the_end(tmp_path: Path, told: io.StringIO) -> None:
    with LiveReport(tmp_path, 0.0) as report:
        assert report.due()
        report.start()
        assert report._process is not None
        process = report._process
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
        assert not report.due()
        report.start()
        assert report._process is process
    assert process.returncode is not None
    assert told.getvalue() == ""


def test_without_room_for_its_complaints_the_search_goes_on(
    tmp_path: Path, told: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with LiveReport(tmp_path, 0.0) as report:
        report.start()
        assert report.due()
    assert told.getvalue().strip() == "the report could not be rebuilt: No space left on device"


def test_the_first_one_comes_after_a_while(tmp_path: Path) -> None:
    assert not LiveReport(tmp_path, 3600).due()
