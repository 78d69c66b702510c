"""Follows a running search: updates the progress table, the run's files and the live report."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import ray
from optuna.trial import FrozenTrial
from ray import tune

from thyroid import progress
from thyroid.configuration import from_json
from thyroid.recipe import Recipe
from thyroid.runs.live_report import LiveReport
from thyroid.tuning.budget import Budget
from thyroid.tuning.progress_table import EndedTrial, ProgressTable, RunningTrial
from thyroid.tuning.study import outcome
from thyroid.tuning.trial_records import STATES

WRITE_EVERY_S = 5.0
"""At least, between two writings of the files, which grow with the trials."""
WRITE_SHARE = 0.02
"""Of the time, at most, that goes into writing them."""
ASK_EVERY_S = 1.0
"""Between two questions to the scheduler what is computed for which trial."""


class StopSearch(tune.Stopper):  # type: ignore[misc]  # ray ships no types
    """Ends a search in which no trial can go on, or may, before further ones are proposed."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.reason: str | None = None
        """Why no trial can go on."""
        self.cut = False
        """Whether the budget was over, and running trials end with it."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps a copy that nobody reads."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tune's question after each report: whether the trial shall end here."""
        self.reason = self.reason or result.get("broken")
        return self.reason is not None

    def stop_all(self) -> bool:
        """Tune's question in between: whether everything shall."""
        self.cut = self.cut or self._budget.over()
        return self.cut or self.reason is not None


class SearchCallback(tune.Callback):  # type: ignore[misc]  # ray ships no types
    """Follows the trials of one round.

    Parameters
    ----------
    table : what is shown
    scheduler : handle of the search's `SchedulerActor`
    write : writes trials.csv and stages.json
    report : what is rebuilt meanwhile
    budget : of the search
    """

    def __init__(
        self,
        table: ProgressTable,
        scheduler: Any,
        write: Callable[[], None],
        report: LiveReport | None,
        budget: Budget,
    ) -> None:
        self._table, self._scheduler, self._write, self._report = table, scheduler, write, report
        self._asked: Any = None
        self._ask_after = self._write_after = -math.inf
        self._stale = False
        self._budget = budget
        self.end = StopSearch(budget)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps a copy that nobody reads."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial's driver begins."""
        schedule = from_json(Recipe, json.loads(trial.config["recipe"])).schedule
        self._table.running[trial.trial_id] = RunningTrial(
            number=trial.config["number"], epochs=schedule.epochs
        )

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """A trial has reached a rung."""
        running = self._table.running.get(trial.trial_id)
        if running is not None and "macro_f1" in result:
            running.epoch, running.macro_f1 = result["epoch"], result["macro_f1"]
            running.reused = result["reused_stages"]
            running.computed = result["computed_stages"]

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial has ended, or was stopped."""
        self._scheduler.leave.remote(trial.trial_id)
        result = trial.last_result
        if self.end.reason or not result:
            return
        if self.end.cut and result["epoch"] < result["epochs"] and "state" not in result:
            self._table.running.pop(trial.trial_id, None)
            return
        state, reached = "complete", f"macro-F1 {result.get('macro_f1') or 0.0:.3f}"
        if result.get("state") == "failed":
            state, reached = "failed", f"failed: {result['reason']}"
        elif result["epoch"] < result["epochs"]:
            state = "pruned"
            reached = f"stopped at epoch {result['epoch']} of {result['epochs']}, {reached}"
        self._table.end(trial.trial_id, _ended(result["number"], state, result))
        progress.say(f"trial {result['number']}: {reached} ({self._table.standing})")
        self._stale = True

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial's driver died too often; the next round takes the trial up."""
        self._scheduler.leave.remote(trial.trial_id)
        self._table.running.pop(trial.trial_id, None)
        progress.say(f"a trial's process ended with an error ({self._table.standing})")

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Several times a second."""
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
        """Ask the scheduler what it has at work; its answer is taken when it is there."""
        if self._asked is None:
            if time.monotonic() >= self._ask_after:
                self._ask_after = time.monotonic() + ASK_EVERY_S
                self._asked = self._scheduler.at_work.remote()
            return
        answered, _ = ray.wait([self._asked], timeout=0)
        if not answered:
            return
        try:
            at_work = ray.get(self._asked)
        except ray.exceptions.RayError:  # the scheduler is being started again
            at_work = {}
        self._asked = None
        for name, running in list(self._table.running.items()):
            metrics = at_work.get(name, {})
            epoch = metrics.get("epoch", 0)
            running.at = f"{metrics.get('stage', '')} {epoch or ''}".strip()
            if metrics.get("own") and epoch > running.epoch:
                running.at = metrics["stage"]
                running.epoch, running.macro_f1 = epoch, metrics["validation_macro_f1"]


def ended(trial: FrozenTrial, *, own: bool) -> EndedTrial:
    """What the table is told of a trial that the study knows as finished."""
    return _ended(trial.number, STATES[trial.state], outcome(trial), own=own)


def _ended(number: int, state: str, result: dict[str, Any], *, own: bool = True) -> EndedTrial:
    return EndedTrial(
        number=number,
        state=state,
        macro_f1=result.get("macro_f1"),
        reused=result.get("reused_stages", 0),
        computed=result.get("computed_stages", 0),
        own=own,
    )
