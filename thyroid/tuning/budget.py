"""The budget of a search: seconds, and GPU-hours."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from thyroid.execution.in_process import Runner
from thyroid.run_files.usage_json import SearchBudget
from thyroid.runs.usage import UsageRecord
from thyroid.stage import EpochMetrics, Stage


class BudgetUsedUp(Exception):
    """The budget was used up before all requested stages were computed."""


class Budget:
    """Tells when a search has reached one of its limits.

    Parameters
    ----------
    seconds : limit from now on; each command has its own; None: no limit
    gpu_hours : limit of the whole search, interrupted commands included; None: no limit
    usage : counts the GPU-hours, and keeps the budget in usage.json
    """

    def __init__(self, seconds: float | None, gpu_hours: float | None, usage: UsageRecord) -> None:
        self._began = time.monotonic()
        self._seconds, self._gpu_hours, self._usage = seconds, gpu_hours, usage
        hours = None if seconds is None else seconds / 3600
        self._budget = SearchBudget(time_hours=hours, gpu_hours=gpu_hours)
        usage.budget = self._budget

    def over(self) -> bool:
        """Return True once a limit is reached; usage.json says which one."""
        if self._budget.ended is None:
            taken = time.monotonic() - self._began
            if self._gpu_hours is not None and self._usage.used("search") >= self._gpu_hours:
                self._budget = replace(self._budget, ended="gpu_hours")
            elif self._seconds is not None and taken >= self._seconds:
                self._budget = replace(self._budget, ended="time_hours")
            self._usage.budget = self._budget
        return self._budget.ended is not None

    def spent(self) -> str:
        """Return a text such as `0.42 of 2 GPU-hours`; empty without a limit of GPU-hours."""
        if self._gpu_hours is None:
            return ""
        return f"{self._usage.used('search'):.2f} of {self._gpu_hours:g} GPU-hours"

    def limited(self, runner: Runner) -> Runner:
        """Return a runner that raises `BudgetUsedUp` at the first metrics beyond a limit."""

        def run(wanted: Sequence[Stage]) -> Iterator[EpochMetrics]:
            with contextlib.closing(runner(wanted)) as metrics:  # type: ignore[type-var]
                for epoch in metrics:
                    yield epoch
                    if self.over():
                        raise BudgetUsedUp

        return run
