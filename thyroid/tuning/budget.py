"""What a search may use."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from thyroid.execution.in_process import Runner
from thyroid.run_files.usage_json import SearchBudget
from thyroid.runs.usage import UsageRecord
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
        self._seconds, self._gpu_hours, self._usage = seconds, gpu_hours, usage
        hours = None if seconds is None else seconds / 3600
        self._told = SearchBudget(time_hours=hours, gpu_hours=gpu_hours)
        usage.budget = self._told

    def over(self) -> bool:
        """Whether something of it is used up; the usage then says what, and it stays so."""
        if self._told.ended is None:
            taken = time.monotonic() - self._began
            if self._gpu_hours is not None and self._usage.used("search") >= self._gpu_hours:
                self._told = replace(self._told, ended="gpu_hours")
            elif self._seconds is not None and taken >= self._seconds:
                self._told = replace(self._told, ended="time_hours")
            self._usage.budget = self._told
        return self._told.ended is not None

    def spent(self) -> str:
        """Such as `0.42 of 2 GPU-hours`; empty without such a limit."""
        if self._gpu_hours is None:
            return ""
        return f"{self._usage.used('search'):.2f} of {self._gpu_hours:g} GPU-hours"

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
