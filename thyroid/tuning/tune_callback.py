"""Ray Tune's callbacks: update the progress table, the run's files and the live report."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Container
from typing import Any

import ray
from ray import tune

from thyroid import progress
from thyroid.configuration import from_json
from thyroid.recipe import Recipe
from thyroid.runs.live_report import LiveReport
from thyroid.tuning.budget import Budget
from thyroid.tuning.progress_table import ProgressTable, RunningTrial
from thyroid.tuning.trial_result import TrialResult

WRITE_EVERY_S = 5.0
"""Fewest seconds between two writings of the files, which grow with the number of trials."""
WRITE_SHARE = 0.02
"""Largest share of the time that may be spent on writing the files."""
ASK_EVERY_S = 1.0
"""Seconds between two requests to the scheduler for the stages that it computes."""


class StopSearch(tune.Stopper):  # type: ignore[misc]  # ray ships no types
    """Stops the search on a fault outside the recipe, or when the budget is used up."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.fault: str | None = None
        """A fault because of which no trial can continue."""

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune stores a copy that is never read."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tell Tune, after each report, whether the trial must end."""
        self.fault = self.fault or TrialResult.read(result).fault
        return self.fault is not None

    def stop_all(self) -> bool:
        """Tell Tune, between reports, whether all trials must end."""
        return self.fault is not None or self._budget.over()


class SearchCallback(tune.Callback):  # type: ignore[misc]  # ray ships no types
    """Follows the trials of one round.

    Parameters
    ----------
    table : shows the progress
    scheduler : handle of the search's `SchedulerActor`
    stopped : ids of the trials that early stopping has ended; it grows during the round
    write : writes trials.csv and stages.json
    report : the report, which is rebuilt while trials run
    budget : budget of the search
    """

    def __init__(
        self,
        table: ProgressTable,
        scheduler: Any,
        stopped: Container[str],
        write: Callable[[], None],
        report: LiveReport | None,
        budget: Budget,
    ) -> None:
        self._table, self._scheduler, self._stopped = table, scheduler, stopped
        self._write, self._report = write, report
        self._asked: Any = None
        self._ask_after = self._write_after = -math.inf
        self._stale = False
        self._budget = budget
        self.end = StopSearch(budget)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune stores a copy that is never read."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Show a trial whose driver has begun."""
        schedule = from_json(Recipe, json.loads(trial.config["recipe"])).schedule
        self._table.running[trial.trial_id] = RunningTrial(
            number=trial.config["number"], epochs=schedule.epochs
        )

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Show a trial's report."""
        running, reached = self._table.running.get(trial.trial_id), TrialResult.read(result)
        if running is not None and reached.macro_f1 is not None:
            running.epoch, running.macro_f1 = reached.epoch, reached.macro_f1
            running.reused, running.computed = reached.reused_stages, reached.computed_stages

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Count a trial that has ended, and print a line about it."""
        self._scheduler.unsubscribe.remote(trial.trial_id)
        if self.end.fault or not trial.last_result:
            return
        result = TrialResult.read(trial.last_result)
        state = result.state(stopped=trial.trial_id in self._stopped)
        if state == "interrupted":
            self._table.running.pop(trial.trial_id, None)
            return
        outcome = f"macro-F1 {result.macro_f1 or 0.0:.3f}"
        if state == "failed":
            outcome = f"failed: {result.reason}"
        elif state == "pruned":
            outcome = f"stopped at epoch {result.epoch} of {result.epochs}, {outcome}"
        self._table.end(trial.trial_id, result, state)
        progress.say(f"trial {result.number}: {outcome} ({self._table.standing})")
        self._stale = True

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Remove a trial whose driver died; the next round runs it again."""
        self._scheduler.unsubscribe.remote(trial.trial_id)
        self._table.running.pop(trial.trial_id, None)
        progress.say(f"a trial's process died; the trial starts again ({self._table.standing})")

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Refresh everything that is shown; Tune calls this several times a second."""
        self._ask()
        self._table.spent = self._budget.spent()
        due = self._report is not None and self._report.due()
        if due or (self._stale and time.monotonic() >= self._write_after):
            began = time.monotonic()
            self._write()
            self._stale, now = False, time.monotonic()
            self._write_after = now + max(WRITE_EVERY_S, (now - began) / WRITE_SHARE)
        if due and self._report is not None:
            self._report.start()
        self._table.tick()

    def _ask(self) -> None:
        """Ask the scheduler what it computes, without waiting for the answer."""
        if self._asked is None:
            if time.monotonic() >= self._ask_after:
                self._ask_after = time.monotonic() + ASK_EVERY_S
                self._asked = self._scheduler.running.remote()
            return
        answered, _ = ray.wait([self._asked], timeout=0)
        if not answered:
            return
        try:
            latest = ray.get(self._asked)
        except ray.exceptions.RayError:  # the scheduler is starting again
            latest = {}
        self._asked = None
        for name, running in list(self._table.running.items()):
            metrics = latest.get(name, {})
            epoch = metrics.get("epoch", 0)
            running.at = f"{metrics.get('stage', '')} {epoch or ''}".strip()
            if metrics.get("own") and epoch > running.epoch:
                running.at = metrics["stage"]
                running.epoch, running.macro_f1 = epoch, metrics["validation_macro_f1"]
