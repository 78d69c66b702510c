"""The Optuna study behind a search: Ray Tune's OptunaSearch, made to survive being killed.

The study is the truth. Every trial ends there as complete, pruned or failed; one that was running
when its process died is run again under its number, with its parameters.
"""

from __future__ import annotations

import fcntl
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from ray.tune.search.optuna import OptunaSearch
from sqlalchemy.exc import SQLAlchemyError

from thyroid.configuration import from_json
from thyroid.errors import InputError
from thyroid.recipe import Recipe
from thyroid.run_files.config_json import read_config
from thyroid.tuning.asha import AshaScheduler, Report, report_of
from thyroid.tuning.search_config import OBJECTIVES

STUDY = "thyroid"

OUTCOME = (
    *OBJECTIVES,
    "epoch",
    "seconds",
    "computed",
    "reused_stages",
    "computed_stages",
    "stages",
    "reason",
)
"""What of a trial's last result is kept with it."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A trial before it is one."""

    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    recipe: str
    """As JSON."""


Propose = Callable[[int], Proposal]


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


def open_study(
    place: Path | str, objectives: Sequence[str] = ("macro_f1",), name: str | None = None
) -> optuna.Study:
    """The study in a journal file or at a database's URL, new or old.

    Parameters
    ----------
    objectives : names of `OBJECTIVES`
    name : of the study, of which a database holds many; None in a journal of its own

    Raises
    ------
    InputError
        When the file is no Optuna journal, or no database answers.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [OBJECTIVES[objective] for objective in objectives]
    try:
        if isinstance(place, Path):
            _mend(place)
        return optuna.create_study(
            study_name=name or STUDY,
            storage=_storage(place),
            directions=directions,
            sampler=optuna.samplers.RandomSampler(),  # never asked: see `Proposal`
            load_if_exists=True,
        )
    except (ValueError, KeyError, TypeError) as damaged:
        raise InputError(
            f"{place} is no Optuna journal ({damaged}): move it away or choose another folder."
        ) from None


def study_name(run_id: str) -> str:
    """Of a run's study in a database."""
    return f"{STUDY}-{run_id[:12]}"


def find_study(run: Path) -> optuna.Study:
    """The study of a run, whose journal or database is left as it is.

    Raises
    ------
    InputError
        When the folder holds no search, or its config.json is damaged.
    """
    config = read_config(run)
    try:
        storage = config["search"].get("storage")
        name = study_name(config["id"])
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{run} holds no search: name a run of `thyroid search`.") from None
    return read_study(run / "study.journal") if storage is None else read_study(storage, name)


def read_study(place: Path | str, name: str = STUDY) -> optuna.Study:
    """A study that may be another command's, which is left as it is.

    Raises
    ------
    InputError
        When there is none.
    """
    if isinstance(place, Path) and not place.is_file():
        raise InputError(f"{place} is no study: name a run of `thyroid search`.")
    try:
        return optuna.load_study(study_name=name, storage=_storage(place))
    except (ValueError, KeyError, TypeError) as damaged:
        raise InputError(f"{place} holds no study {name} ({damaged}).") from None


def _storage(place: Path | str) -> RDBStorage | JournalStorage:
    if isinstance(place, Path):
        return JournalStorage(JournalFileBackend(str(place), lock_obj=_lock(place)))
    return database(place)


def database(url: str) -> RDBStorage:
    """Where studies are kept in a database.

    Raises
    ------
    InputError
        When none answers at the URL.
    """
    try:
        return RDBStorage(url)
    except (SQLAlchemyError, ImportError) as refusal:
        reason = str(refusal).splitlines()[0]
        raise InputError(
            f"No Optuna study can be kept at {url} ({reason}): give a URL such as "
            "sqlite:///studies.db, and install the database's driver."
        ) from None


def _lock(journal: Path) -> _KernelLock:
    return _KernelLock(journal.with_name(f".{journal.name}.lock"))


def _mend(journal: Path) -> None:
    """Cut off a last line that a full disk or a power cut has left unfinished."""
    if not journal.exists():
        return
    lock = _lock(journal)
    lock.acquire()
    try:
        content = journal.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(journal, content.rfind(b"\n") + 1)
    finally:
        lock.release()


class StudySearch(OptunaSearch):  # type: ignore[misc]  # ray ships no types
    """OptunaSearch over a persistent study.

    Differs from it in five ways: a trial enters the study with all its parameters and its recipe,
    in one step, so that none is there by half; trials that a dead process left running come first;
    trials that the scheduler stopped are told as pruned and not as complete, and those that
    failed as failed; trials that ended for any other reason (a time budget, a full disk) stay
    running in the study, and the same command takes them up again; what each trial reported is
    kept with it, for a scheduler that comes later.

    Parameters
    ----------
    propose : a trial's parameters and recipe, from its number
    study : from `open_study`
    objectives : of the study
    rungs : the scheduler
    """

    def __init__(
        self, propose: Propose, study: optuna.Study, objectives: Sequence[str], asha: AshaScheduler
    ) -> None:
        self._resumed = [t for t in study.get_trials(deepcopy=False) if not t.state.is_finished()]
        self._opened = study
        super().__init__(space=lambda _: {}, metric=objectives[0], mode="max")
        self._propose = propose
        self._objectives = objectives
        self._asha = asha
        self._reports: dict[str, dict[int, Report]] = {}

    def _setup_study(self, mode: str) -> None:
        self._ot_study = self._opened

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """What the driver of a new trial gets: its number, and its recipe as JSON."""
        trial = self._resumed.pop(0) if self._resumed else self._new()
        self._ot_trials[trial_id] = Trial(self._ot_study, trial._trial_id)
        self._reports[trial_id] = {}
        return {"recipe": trial.user_attrs["recipe"], "number": trial.number}

    def _new(self) -> FrozenTrial:
        study = self._ot_study
        proposal = self._propose(len(study.get_trials(deepcopy=False)))
        running = create_trial(
            state=TrialState.RUNNING,
            params=proposal.params,
            distributions=proposal.distributions,
            user_attrs={"recipe": proposal.recipe},
        )
        trial_id = study._storage.create_new_trial(study._study_id, running)
        created: FrozenTrial = study._storage.get_trial(trial_id)
        return created

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study has it all."""
        Path(checkpoint_path).touch()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep an intermediate value; Optuna does so where there is one objective."""
        report = report_of(result)
        if report is None:
            return
        self._reports[trial_id][report.epoch] = report
        if len(self._objectives) == 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a resumed trial reports its first epochs again
                self._ot_trials[trial_id].report(report.value, report.epoch)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Close the trial in the study, unless it was interrupted."""
        if result and trial_id in self._ot_trials:
            self.on_trial_result(trial_id, result)  # Tune shows the last one here only
        trial = self._ot_trials.pop(trial_id, None)
        reports = self._reports.pop(trial_id, {})
        if trial is None or error or not result:  # told before, or its driver died
            return
        failed = result.get("state") == "failed"
        ended = failed or (bool(reports) and result["epoch"] == result["epochs"])
        pruned = not ended and trial_id in self._asha.stopped
        if not (ended or pruned):
            return
        if pruned:
            result["reason"] = f"stopped after epoch {result['epoch']}"
        trial.set_user_attr("outcome", kept(result, reports.values()))
        if failed:
            self._ot_study.tell(trial, state=TrialState.FAIL)
        elif pruned:
            self._ot_study.tell(trial, state=TrialState.PRUNED)
        else:
            self._ot_study.tell(trial, [result[name] for name in self._objectives])


def kept(result: Mapping[str, Any], reports: Iterable[Report]) -> dict[str, Any]:
    """What the study keeps of a trial's last result."""
    came_to = {name: result[name] for name in OUTCOME if name in result}
    return came_to | {"reports": [asdict(report) for report in reports]}


def recipe_of(trial: FrozenTrial) -> Recipe:
    """What it was proposed to train."""
    return from_json(Recipe, json.loads(trial.user_attrs["recipe"]))


def outcome(trial: FrozenTrial) -> dict[str, Any]:
    """What a finished trial came to: `OUTCOME` and its `reports`, as plain data."""
    came_to: dict[str, Any] = trial.user_attrs.get("outcome", {})
    return came_to


def reports(trial: FrozenTrial) -> list[Report]:
    """What a finished trial reached, by epoch."""
    return [Report(**report) for report in outcome(trial).get("reports", [])]


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Complete, pruned and failed trials, by number."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
