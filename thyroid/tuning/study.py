"""Opening and reading the Optuna study of a search, in a journal file or a database."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from thyroid.configuration import from_json
from thyroid.errors import InputError
from thyroid.recipe import Recipe
from thyroid.run_files.config_json import read_config
from thyroid.tuning.journal import ReadOnlyJournal, mend
from thyroid.tuning.search_config import OBJECTIVES
from thyroid.tuning.trial_result import Report

STUDY = "thyroid"

WARM_STARTED_FROM = "warm_started_from"
"""User attribute of a trial from another run: that run, and the trial's number in it."""


class _KernelLock(JournalFileOpenLock):
    """A lock that ends with its process; Optuna's own lock remains for 30 s after a kill."""

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
    """Open the study in a journal file or at a database's URL, or create it.

    Parameters
    ----------
    objectives : names of `OBJECTIVES`
    name : name of the study in a database, which may hold several; None in a journal

    Raises
    ------
    InputError
        When the file is not an Optuna journal, or no database answers.
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
            sampler=optuna.samplers.RandomSampler(),  # unused: see `detached_trial`
            load_if_exists=True,
        )
    except (ValueError, KeyError, TypeError) as damaged:
        raise InputError(
            f"{place} is not an Optuna journal ({damaged}): move it away or choose another folder."
        ) from None


def study_name(run_id: str) -> str:
    """Return the name of a run's study in a database."""
    return f"{STUDY}-{run_id[:12]}"


def find_study(run: Path) -> optuna.Study:
    """Load the study of a run without changing its journal or database.

    Raises
    ------
    InputError
        When the folder holds no search, or its config.json is damaged.
    """
    config = read_config(run)
    if config.search is None:
        raise InputError(f"{run} holds no search: name a run of `thyroid search`.")
    storage = config.search.storage
    if storage is None:
        return read_study(run / "study.journal")
    return read_study(storage, study_name(config.id))


def read_study(place: Path | str, name: str = STUDY) -> optuna.Study:
    """Load a study, which another command may be using, without changing it.

    Raises
    ------
    InputError
        When there is no study.
    """
    if isinstance(place, Path) and not place.is_file():
        raise InputError(f"{place} is not a study: name a run of `thyroid search`.")
    try:
        if isinstance(place, Path):
            reading = JournalStorage(ReadOnlyJournal(place))
            return optuna.load_study(study_name=name, storage=reading)
        return optuna.load_study(study_name=name, storage=database(place))
    except (ValueError, KeyError, TypeError) as damaged:
        raise InputError(f"{place} holds no study {name} ({damaged}).") from None


def _storage(place: Path | str) -> RDBStorage | JournalStorage:
    if isinstance(place, Path):
        return JournalStorage(JournalFileBackend(str(place), lock_obj=_lock(place)))
    return database(place)


def database(url: str) -> RDBStorage:
    """Connect to a database of studies.

    Raises
    ------
    InputError
        When no database answers at the URL.
    """
    try:
        return RDBStorage(url)
    except (SQLAlchemyError, ImportError) as refusal:
        reason = str(refusal).splitlines()[0]
        raise InputError(
            f"No Optuna study can be stored at {url} ({reason}): give a URL such as "
            "sqlite:///studies.db, and install the database's driver."
        ) from None


def _lock(journal: Path) -> _KernelLock:
    return _KernelLock(journal.with_name(f".{journal.name}.lock"))


def _mend(journal: Path) -> None:
    """Remove from a journal what a full disk, a file server or a power cut left there."""
    if not journal.exists():
        return
    lock = _lock(journal)
    lock.acquire()
    try:
        mend(journal)
    finally:
        lock.release()


def recipe_of(trial: FrozenTrial) -> Recipe:
    """Return the recipe that a trial trains."""
    return from_json(Recipe, json.loads(trial.user_attrs["recipe"]))


def reports(trial: FrozenTrial) -> list[Report]:
    """Return a finished trial's reports, by epoch."""
    return [Report(**report) for report in trial.user_attrs.get("outcome", {}).get("reports", [])]


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete, pruned and failed trials, by number."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]


def own_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the finished trials that this search ran itself."""
    return [trial for trial in finished(study) if WARM_STARTED_FROM not in trial.user_attrs]
