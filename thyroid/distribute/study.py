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
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from thyroid.errors import InputError

OBJECTIVE = "macro_f1"
"""Mean over seeds of the validation macro-F1 at the last epoch."""

STUDY = "thyroid"

MOST_EPOCHS = 10**6
"""No trial is longer."""

Suggest = Callable[[Trial], dict[str, Any]]


class _KernelLock(JournalFileOpenLock):
    """A lock that ends with its process; Optuna's own outlives a killed one by 30 s."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def acquire(self) -> bool:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor
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
    _mend(journal)
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


def _mend(journal: Path) -> None:
    """Cut off a last line that a full disk or a power cut has left unfinished."""
    if not journal.exists():
        return
    with journal.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


class Rungs(ASHAScheduler):  # type: ignore[misc]  # ray ships no types
    """ASHA that remembers whom it stopped: other trials that end early were interrupted."""

    def __init__(self, *, grace_epochs: int, reduction_factor: float) -> None:
        super().__init__(
            time_attr="epoch",
            metric=OBJECTIVE,
            mode="max",
            max_t=MOST_EPOCHS,  # trials end by themselves
            grace_period=grace_epochs,
            reduction_factor=reduction_factor,
        )
        self.stopped: set[str] = set()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            self.stopped.add(trial.trial_id)
        return decision


class StudySearch(OptunaSearch):  # type: ignore[misc]  # ray ships no types
    """OptunaSearch over a journal.

    Differs from it in four ways: the sampler is seeded by (seed, trial number), so that a search
    that was interrupted proposes what it would have proposed; trials that a dead process left
    running come first; trials that the scheduler stopped are told as pruned and not as complete,
    and those without a finite result as failed; trials that ended for any other reason (a time
    budget, a full disk) stay running in the journal, and the same command takes them up again.

    Parameters
    ----------
    suggest : define-by-run function of an Optuna trial, giving the trial's configuration
    study : from `open_study`
    seed : of the sampler
    rungs : the scheduler
    """

    def __init__(self, suggest: Suggest, study: optuna.Study, seed: int, rungs: Rungs) -> None:
        self._resumed = [t for t in study.get_trials(deepcopy=False) if not t.state.is_finished()]
        self._opened = study
        super().__init__(space=suggest, metric=OBJECTIVE, mode="max")
        self._sampler_seed = seed
        self._rungs = rungs

    def _setup_study(self, mode: str) -> None:
        self._ot_study = self._opened

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The configuration of a new trial, with its number under `number`."""
        orphan = self._resumed.pop(0) if self._resumed else None
        number = orphan.number if orphan else len(self._ot_study.get_trials(deepcopy=False))
        self._ot_study.sampler = sampler(self._sampler_seed, number)
        trial = Trial(self._ot_study, orphan._trial_id) if orphan else self._ot_study.ask()
        self._ot_trials[trial_id] = trial
        try:
            proposal = self._suggest_from_define_by_run_func(self._space, trial)
        except InputError as wrong:
            trial.set_user_attr("reason", str(wrong))
            self._ot_study.tell(trial, state=TrialState.FAIL)
            raise
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
        """Close the trial in the journal, unless it was interrupted."""
        result = result or {}
        value = result.get(OBJECTIVE)
        if value is not None:  # Tune shows the last one here only
            self.on_trial_result(trial_id, result)
        trial = self._ot_trials.pop(trial_id)
        if value is None or error:
            return
        pruned = trial_id in self._rungs.stopped and result["epoch"] < result["epochs"]
        if pruned:
            result["reason"] = f"stopped after epoch {result['epoch']}"
        elif math.isfinite(value) and result["epoch"] < result["epochs"]:
            return
        for name in ("seconds", "reused_stages", "computed_stages", "reason"):
            if name in result:
                trial.set_user_attr(name, result[name])
        if not math.isfinite(value):
            self._ot_study.tell(trial, state=TrialState.FAIL)
        elif pruned:
            self._ot_study.tell(trial, state=TrialState.PRUNED)
        else:
            self._ot_study.tell(trial, value)


class _Sampler(optuna.samplers.TPESampler):
    """TPE whose random numbers depend on the place alone, not on what was drawn before."""

    def __init__(self, place: str) -> None:
        super().__init__(seed=_seed(place))
        self._place = place

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """One parameter; of a trial that died between two, what it would have been."""
        own = optuna.samplers.TPESampler(seed=_seed(f"{self._place}/{param_name}"))
        return own.sample_independent(study, trial, param_name, param_distribution)


def sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """TPE whose random numbers depend on the seed, the trial's number and the parameter's name."""
    return _Sampler(f"{seed}/{number}")


def _seed(place: str) -> int:
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:4], "big")


def replay(study: optuna.Study, scheduler: TrialScheduler) -> None:
    """Show a new scheduler the trials that ended before, in their order."""
    for trial in finished(study):
        stub = SimpleNamespace(trial_id=f"finished-{trial.number}")
        scheduler.on_trial_add(None, stub)
        for epoch, value in sorted(trial.intermediate_values.items()):
            if math.isfinite(value):
                scheduler.on_trial_result(None, stub, {OBJECTIVE: value, "epoch": epoch})


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Complete, pruned and failed trials, by number."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
