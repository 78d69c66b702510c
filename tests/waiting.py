"""Waiting for a condition instead of sleeping."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any


def wait_until(
    condition: Callable[[], Any],
    process: subprocess.Popen[Any] | None = None,
    seconds: float = 120.0,
) -> Any:
    """Return the first true value of the condition; fail if time is up or the process ends."""
    deadline = time.monotonic() + seconds
    while not (met := condition()):
        if process is not None and process.poll() is not None:
            errors = process.stderr.read() if process.stderr else ""
            raise AssertionError(f"The process ended too early: {errors}")
        assert time.monotonic() < deadline, "the condition was never met"
        time.sleep(0.02)
    return met
