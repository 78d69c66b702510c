"""Early stopping: asynchronous successive halving at the ends of segments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from thyroid.tuning.trial_result import Report, TrialResult


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """The first rung is at `grace_epochs`, each further rung at `factor` times as many epochs."""

    grace_epochs: int
    factor: float

    def rung(self, epoch: int) -> int:
        """Return the number of the highest rung at or below an epoch; -1 below the first."""
        rung = -1
        while self.grace_epochs * self.factor ** (rung + 1) <= epoch:
            rung += 1
        return rung


class AshaScheduler(FIFOScheduler):  # type: ignore[misc]  # ray ships no types
    """ASHA (Li 2020): a trial at a rung continues if it is among the best 1 / `rungs.factor` there.

    It is compared with the trials that reached the rung before it. Ray's ASHA compares trials; this
    one compares trainings, because many trials share one, and only within one part of the schedule.
    Macro-F1 jumps when cross images are added, when frozen layers begin to learn and when the
    learning rate decays: a trial that mixes cross images from the start would look better than one
    that gets them later, and a short trial better than a long one.
    """

    def __init__(self, rungs: Rungs) -> None:
        super().__init__()
        self._rungs = rungs
        self._reached: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
        self._last: dict[str, int] = {}
        self.stopped: set[str] = set()
        """Tune's ids of the stopped trials."""

    def passes(self, trial: str, report: Report) -> bool:
        """Return True if the trial continues; keep its value for later comparisons."""
        rung = self._rungs.rung(report.epoch)
        if rung <= self._last.get(trial, -1):
            return True
        self._last[trial] = rung
        reached = self._reached[report.part, rung]
        others = [value for key, value in reached.items() if key != report.training]
        reached[report.training] = report.value
        if not others:
            return True
        return bool(report.value >= np.quantile(others, 1 - 1 / self._rungs.factor))

    def replay(self, trial: str, reports: Iterable[Report]) -> None:
        """Add the values of a trial that an earlier command ran."""
        for report in reports:
            self.passes(trial, report)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Tell Tune, after each report, whether the trial continues."""
        report = TrialResult.read(result).report
        if report is None or self.passes(trial.trial_id, report):
            return str(TrialScheduler.CONTINUE)
        self.stopped.add(trial.trial_id)
        return str(TrialScheduler.STOP)
