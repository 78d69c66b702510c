"""The Optuna study behind a search: Ray Tune's OptunaSearch, made to survive being killed.

The journal is the truth. Every trial ends there as complete, pruned or failed; one that was running
when its process died is run again under its number, with its parameters.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState
from ray.tune.schedulers import TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from thyroid.errors import InputError

OBJECTIVE = "macro_f1"
"""Mean over seeds of the validation macro-F1 at the last epoch."""

STUDY = "thyroid"

Suggest = Callable[[Trial], dict[str, Any]]


class _KernelLock(JournalFileOpenLock):
    """A lock that ends with its process; Optuna's own outlives a killed one by 30 s."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def acquire(self) -> bool:
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        os.close(self._descriptor)


def open_study(journal: Path) -> optuna.Study:
    """The study in a journal file, new or old.

    Raises
    ------
    InputError
        When the file is no Optuna journal.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        lock = _KernelLock(journal.with_name(f".{journal.name}.lock"))
        storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
        return optuna.create_study(
            study_name=STUDY, storage=storage, direction="maximize", load_if_exists=True
        )
    except (ValueError, KeyError, TypeError) as damaged:
        raise InputError(
            f"{journal} is no Optuna journal ({damaged}): move it away or choose another folder."
        ) from None


class StudySearch(OptunaSearch):  # type: ignore[misc]  # ray ships no types
    """OptunaSearch over a journal.

    Differs from it in four ways: the sampler is seeded by (seed, trial number), so that a search
    that was interrupted proposes what it would have proposed; trials that a dead process left
    running come first; trials that the scheduler stopped are told as pruned and not as complete;
    trials without a finite result are told as failed, with the reason.

    Parameters
    ----------
    suggest : define-by-run function of an Optuna trial, giving the trial's configuration
    study : from `open_study`
    seed : of the sampler
    """

    def __init__(self, suggest: Suggest, study: optuna.Study, seed: int) -> None:
        self._resumed = [t for t in study.get_trials(deepcopy=False) if not t.state.is_finished()]
        self._opened = study
        super().__init__(space=suggest, metric=OBJECTIVE, mode="max")
        self._sampler_seed = seed

    def _setup_study(self, mode: str) -> None:
        self._ot_study = self._opened

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The configuration of a new trial, with its number under `number`."""
        if self._resumed:
            trial = Trial(self._ot_study, self._resumed.pop(0)._trial_id)
        else:
            number = len(self._ot_study.get_trials(deepcopy=False))
            self._ot_study.sampler = sampler(self._sampler_seed, number)
            trial = self._ot_study.ask()
        self._ot_trials[trial_id] = trial
        proposal = self._suggest_from_define_by_run_func(self._space, trial)
        trial.set_user_attr("recipe", proposal["recipe"])
        return {**proposal, "number": trial.number}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal has it all."""
        Path(checkpoint_path).touch()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep an intermediate value in the journal."""
        if math.isfinite(result[OBJECTIVE]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a resumed trial reports its first epochs again
                self._ot_trials[trial_id].report(result[OBJECTIVE], result["epoch"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Close the trial in the journal."""
        result = result or {}
        if OBJECTIVE in result:  # Tune shows the last one here only
            self.on_trial_result(trial_id, result)
        trial = self._ot_trials.pop(trial_id)
        value = result.get(OBJECTIVE, math.nan)
        for name in ("epochs", "seconds", "reused_stages", "computed_stages", "reason"):
            if name in result:
                trial.set_user_attr(name, result[name])
        if error or not math.isfinite(value):
            if "reason" not in result:
                trial.set_user_attr("reason", "the trial's process ended with an error")
            self._ot_study.tell(trial, state=TrialState.FAIL)
        elif result["epoch"] < result["epochs"]:
            trial.set_user_attr("reason", f"stopped after epoch {result['epoch']}")
            self._ot_study.tell(trial, state=TrialState.PRUNED)
        else:
            self._ot_study.tell(trial, value)


def sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """TPE whose random numbers depend on the trial's number, not on what came before."""
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    return optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "big"))


def replay(study: optuna.Study, scheduler: TrialScheduler) -> None:
    """Show a new scheduler the trials that ended before, in their order."""
    for trial in finished(study):
        stub = SimpleNamespace(trial_id=f"finished-{trial.number}")
        scheduler.on_trial_add(None, stub)
        for epoch, value in sorted(trial.intermediate_values.items()):
            if math.isfinite(value):
                scheduler.on_trial_result(None, stub, {OBJECTIVE: value, "epoch": epoch})


def close(study: optuna.Study, reason: str) -> None:
    """End every trial that is still running, so that none stays half told."""
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            running = Trial(study, trial._trial_id)
            running.set_user_attr("reason", reason)
            began = bool(trial.intermediate_values)
            study.tell(running, state=TrialState.PRUNED if began else TrialState.FAIL)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Complete, pruned and failed trials, by number."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
