"""The report of a run in progress, rebuilt at intervals in a separate process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from thyroid.progress import say

LOWEST_PRIORITY = 19


class LiveReport:
    """Runs `thyroid report RUN` at intervals, never two at once; ends the last one at its exit.

    Parameters
    ----------
    every_s : seconds from one start to the next, or more if a report takes longer
    """

    def __init__(self, run: Path, every_s: float) -> None:
        self._run, self._every_s = run, every_s
        self._next = time.monotonic() + every_s
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None
        self._told: set[str] = set()

    def due(self) -> bool:
        """True if it is time for the next report, and no report is being made."""
        self._look()
        return self._process is None and time.monotonic() >= self._next

    def start(self) -> None:
        """Start a report, unless one is being made."""
        self._look()
        if self._process is not None:
            return
        self._next = time.monotonic() + self._every_s
        self._complaints = None
        try:
            self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # closed when it has ended
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "thyroid.cli", "report", str(self._run)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
            )
            with contextlib.suppress(OSError):  # the process may have ended, or may be protected
                os.setpriority(os.PRIO_PROCESS, self._process.pid, LOWEST_PRIORITY)
        except OSError as refusal:
            if self._complaints is not None:
                self._complaints.close()
            self._tell(refusal.strerror or str(refusal))

    def _look(self) -> None:
        """Check whether the report's process has ended, and say how."""
        if self._process is None or self._complaints is None or self._process.poll() is None:
            return
        if self._process.returncode == 0:
            if not self._told:
                say(f"report so far: {self._run / 'report.html'}")
            self._told.add("")
        else:
            self._complaints.seek(0)
            lines = self._complaints.read().decode(errors="replace").split("\n")
            reasons = [line.strip() for line in lines if line.strip()]
            status = f"its process ended with status {self._process.returncode}"
            self._tell((reasons or [status])[-1].removeprefix("thyroid: "))
        self._process = None
        self._complaints.close()

    def _tell(self, reason: str) -> None:
        """Say each reason only once; the search continues without the report."""
        if reason not in self._told:
            self._told.add(reason)
            say(f"the report could not be rebuilt: {reason}")

    def __enter__(self) -> LiveReport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None or self._complaints is None:
            return
        self._process.terminate()  # not killed, so that it removes unfinished files
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._complaints.close()
