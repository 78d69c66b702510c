"""What is told of a search while it runs."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray import tune

from thyroid import progress
from thyroid.distribute.study import finished, outcome
from thyroid.distribute.trials import write_trials

WRITE_EVERY_S = 5.0
"""Between two writings of trials.csv, which grows with the trials."""


class Breakdown(tune.Stopper):  # type: ignore[misc]  # ray ships no types
    """Ends a search in which no trial can go on, before further ones are proposed."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tune's question after each report: whether the trial shall end here."""
        self.reason = self.reason or result.get("broken")
        return self.stop_all()

    def stop_all(self) -> bool:
        """Tune's question in between: whether everything shall."""
        return self.reason is not None


class Watcher(tune.Callback):  # type: ignore[misc]  # ray ships no types
    """Tells of every trial that ends: the person at the terminal, trials.csv, and the desk."""

    def __init__(
        self, run: Path, study: optuna.Study, left: int, advance: progress.Advance, desk: Any
    ) -> None:
        self._run, self._study, self._advance = run, study, advance
        self._desk = desk
        ended = finished(study)
        self._done = len(ended)
        self._total = len(ended) + left
        complete = [t for t in ended if t.state is TrialState.COMPLETE]
        values = [outcome(trial)["macro_f1"] for trial in complete]
        self._best = max(values, default=-math.inf)
        self._written = -math.inf
        self.breakdown = Breakdown()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial has ended, or was stopped."""
        self._desk.leave.remote(trial.trial_id)
        result = trial.last_result
        if self.breakdown.reason or not result:
            return
        self._done += 1
        if result.get("state") == "failed":
            came_to = f"failed: {result['reason']}"
        elif result["epoch"] < result["epochs"]:
            came_to = (
                f"stopped at epoch {result['epoch']} of {result['epochs']}, "
                f"macro-F1 {result['macro_f1']:.3f}"
            )
        else:
            self._best = max(self._best, result["macro_f1"])
            came_to = f"macro-F1 {result['macro_f1']:.3f}"
        best = f"best {self._best:.3f}" if math.isfinite(self._best) else "none complete yet"
        progress.say(f"trial {result['number']}: {came_to} ({best}, {self._done}/{self._total})")
        if time.monotonic() - self._written > WRITE_EVERY_S:
            self._written = time.monotonic()
            write_trials(self._run, self._study)
        self._advance(self._done, self._total)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial's driver died too often."""
        self._desk.leave.remote(trial.trial_id)
        self._done += 1
        progress.say(f"a trial's process ended with an error ({self._done}/{self._total})")
        self._advance(self._done, self._total)
