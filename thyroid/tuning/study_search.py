"""The search algorithm that Ray Tune asks for trials: an Optuna study that survives being killed.

The study decides which trials exist. Every trial ends in it as complete, pruned or failed; a trial
that was running when its process died runs again with its number and its parameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from ray.tune.search import Searcher

from thyroid.tuning.asha import AshaScheduler
from thyroid.tuning.private_optuna import running_trial
from thyroid.tuning.trial_result import Report, TrialResult, stored

Propose = Callable[[int], FrozenTrial]
"""Makes a running trial from its number; its user attribute `recipe` is its recipe."""


class StudySearch(Searcher):  # type: ignore[misc]  # ray ships no types
    """A Tune search algorithm over a persistent Optuna study.

    It differs from Tune's OptunaSearch. A trial enters the study with all its parameters and its
    recipe in one step, so that a kill leaves no half-written trial. Trials that a dead process left
    running come first. The study records which trials were pruned or failed. Interrupted trials (a
    time budget, a full disk) stay running in the study. A trial's reports are stored with it, so
    that a later command's scheduler can replay them.

    Parameters
    ----------
    propose : makes a trial from its number
    study : from `open_study`
    objectives : names of the study's objectives
    asha : the scheduler, which knows the trials that it stopped
    """

    def __init__(
        self, propose: Propose, study: optuna.Study, objectives: Sequence[str], asha: AshaScheduler
    ) -> None:
        super().__init__(metric=objectives[0], mode="max")
        self._propose, self._study = propose, study
        self._objectives, self._asha = objectives, asha
        self._left = [t for t in study.get_trials(deepcopy=False) if not t.state.is_finished()]
        self._running: dict[str, Trial] = {}
        self._reports: dict[str, dict[int, Report]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return the configuration of a trial's driver: its number, and its recipe as JSON."""
        if self._left:
            trial = self._left.pop(0)
        else:
            number = len(self._study.get_trials(deepcopy=False))
            self._study.add_trial(self._propose(number))
            trial = self._study.get_trials(deepcopy=False)[number]
        self._running[trial_id] = running_trial(self._study, trial)
        self._reports[trial_id] = {}
        return {"recipe": trial.user_attrs["recipe"], "number": trial.number}

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing, because Tune stores a copy that is never read."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing, because the study has everything."""
        Path(checkpoint_path).touch()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Store a report in the trial, and in Optuna if there is only one objective."""
        report = TrialResult.read(result).report
        if report is None:
            return
        self._reports[trial_id][report.epoch] = report
        if len(self._objectives) == 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a resumed trial reports its first epochs again
                self._running[trial_id].report(report.value, report.epoch)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Finish the trial in the study, unless it was interrupted."""
        if result and trial_id in self._running:
            self.on_trial_result(trial_id, result)  # Tune passes the last report only here
        trial = self._running.pop(trial_id, None)
        reports = self._reports.pop(trial_id, {})
        if trial is None or error or not result:  # it finished before, or its driver died
            return
        last = TrialResult.read(result)
        state = last.state(stopped=trial_id in self._asha.stopped)
        if state == "interrupted":
            return
        if state == "pruned":
            last = replace(last, reason=f"stopped after epoch {last.epoch}")
        kept = [asdict(report) for report in reports.values()]
        trial.set_user_attr("outcome", stored(last) | {"reports": kept})
        if state == "failed":
            self._study.tell(trial, state=TrialState.FAIL)
        elif state == "pruned":
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, [getattr(last, name) for name in self._objectives])
