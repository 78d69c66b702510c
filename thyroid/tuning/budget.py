"""What a search may use."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from thyroid.execution.in_process import Runner
from thyroid.runs.usage import GPU_HOURS, UsageRecord
from thyroid.stage import EpochMetrics, Stage


class Cut(Exception):
    """The budget was used up before all that was wanted was there."""


class Budget:
    """Seconds from now on, and GPU-hours of the whole search; None: no limit.

    GPU-hours count on when the search is interrupted and the same command run again, seconds begin
    anew. `usage` counts them.
    """

    def __init__(self, seconds: float | None, gpu_hours: float | None, usage: UsageRecord) -> None:
        self._began = time.monotonic()
        self._seconds, self._gpu_hours, self._ledger = seconds, gpu_hours, usage
        hours = None if seconds is None else seconds / 3600
        self._told: dict[str, Any] = {"time_hours": hours, GPU_HOURS: gpu_hours, "ended": None}
        usage.budget = self._told

    def over(self) -> bool:
        """Whether something of it is used up; the usage then says what, and it stays so."""
        if self._told["ended"] is None:
            taken = time.monotonic() - self._began
            if self._seconds is not None and taken >= self._seconds:
                self._told["ended"] = "time_hours"
            if self._gpu_hours is not None and self._ledger.used("search") >= self._gpu_hours:
                self._told["ended"] = GPU_HOURS
        return self._told["ended"] is not None

    def spent(self) -> str:
        """Such as `0.42 of 2 GPU-hours`; empty without such a limit."""
        if self._gpu_hours is None:
            return ""
        return f"{self._ledger.used('search'):.2f} of {self._gpu_hours:g} GPU-hours"

    def limited(self, runner: Runner) -> Runner:
        """The runner, ended at the first metrics after the budget is.

        It raises `Cut` where it was.
        """

        def run(wanted: Sequence[Stage]) -> Iterator[EpochMetrics]:
            with contextlib.closing(runner(wanted)) as metrics:  # type: ignore[type-var]
                for epoch in metrics:
                    yield epoch
                    if self.over():
                        raise Cut

        return run
