"""Early stopping: asynchronous successive halving at the ends of segments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a trial has reached at the end of a segment."""

    epoch: int
    value: float
    """Higher is better."""
    part: str
    """Of the schedule, such as `single` or `mixed-decay`: values are compared within one."""
    training: str
    """Key of the segment (of every seed's): trials that share it are one training."""


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """Where the rungs are: at `grace_epochs`, then at `factor` times as many, and so on."""

    grace_epochs: int
    factor: float

    def rung(self, epoch: int) -> int:
        """Number of the highest rung at or below an epoch; -1 below the first."""
        rung = -1
        while self.grace_epochs * self.factor ** (rung + 1) <= epoch:
            rung += 1
        return rung


class AshaScheduler(FIFOScheduler):  # type: ignore[misc]  # ray ships no types
    """ASHA (Li 2020): who reaches a rung goes on if it is among the best of those that did before,
    one in `rungs.factor` of them.

    Differs from Ray's in what it compares: trainings rather than trials, since many trials share
    one; and only within one part of the schedule, since macro-F1 jumps when cross images come and
    when the learning rate decays: a trial that mixes them from the start would look better than
    one that is about to see them, and a short one better than a long one.
    """

    def __init__(self, rungs: Rungs) -> None:
        super().__init__()
        self._rungs = rungs
        self._reached: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
        self._last: dict[str, int] = {}
        self.stopped: set[str] = set()
        """Ids of the trials that were."""

    def passes(self, trial: str, report: Report) -> bool:
        """Whether the trial goes on; the value is kept for those that come after."""
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
        """Know what a trial of an earlier command reached."""
        for report in reports:
            self.passes(trial, report)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Tune's question after each report."""
        report = report_of(result)
        if report is None or self.passes(trial.trial_id, report):
            return str(TrialScheduler.CONTINUE)
        self.stopped.add(trial.trial_id)
        return str(TrialScheduler.STOP)


def report_of(result: dict[str, Any]) -> Report | None:
    """What a trial's result says, unless it failed."""
    if "training" not in result:
        return None
    return Report(
        epoch=result["epoch"],
        value=result["macro_f1"],
        part=result["part"],
        training=result["training"],
    )
