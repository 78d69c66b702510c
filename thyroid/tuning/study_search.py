"""The search algorithm that Ray Tune asks for trials: an Optuna study that survives being killed.

The study is the truth. Every trial ends there as complete, pruned or failed; one that was running
when its process died runs again under its number, with its parameters.
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
"""Makes a running trial, with its recipe as the user attribute `recipe`, from its number."""


class StudySearch(Searcher):  # type: ignore[misc]  # ray ships no types
    """A Tune search algorithm over a persistent Optuna study.

    Differs from Tune's OptunaSearch: a trial enters the study with all its parameters and its
    recipe in one step, so that a kill leaves none half-written; trials that a dead process left
    running come first; the study hears which trials were pruned or failed; interrupted trials (a
    time budget, a full disk) stay running in the study; and a trial's reports are kept with it,
    so that a later command's scheduler can replay them.

    Parameters
    ----------
    propose : makes a trial from its number
    study : from `open_study`
    objectives : objectives of the study
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
        """Return nothing: Tune stores a copy that is never read."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the study has it all."""
        Path(checkpoint_path).touch()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep a report; Optuna takes them where there is one objective."""
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
            self.on_trial_result(trial_id, result)  # Tune passes the last one here only
        trial = self._running.pop(trial_id, None)
        reports = self._reports.pop(trial_id, {})
        if trial is None or error or not result:  # finished before, or its driver died
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
