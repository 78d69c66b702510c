"""The run folder: which command may write it, and the config.json that it begins with."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from thyroid import __version__, machine
from thyroid.configuration import dotted_fields, to_json
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.files import cannot_write, remove_at_once
from thyroid.run_files import rows_json
from thyroid.run_files.config_json import (
    FILE,
    ComparisonSettings,
    RecordedDataset,
    RunConfig,
    SearchSettings,
    read_config,
    recipe_of,
    write_config,
)
from thyroid.run_files.json_file import text_of
from thyroid.runs.experiment import Experiment
from thyroid.runs.preflight import tell_small_test_part
from thyroid.runs.run_place import owned_run, require_place, require_store
from thyroid.runs.tensorboard import FOLDER as TENSORBOARD
from thyroid.storage.open_store import open_store
from thyroid.storage.store import Store

Settings = SearchSettings | ComparisonSettings
KEPT = (
    "space",
    "space_sha256",
    "objectives",
    "first_folds",
    "seeds",
    "seed",
    "grace_epochs",
    "reduction_factor",
    "storage",
)
"""Settings of a search or a comparison that must stay the same when it continues."""


@contextlib.contextmanager
def at_work(
    run: Path,
    experiment: Experiment,
    command: str,
    place: Path | None,
    settings: Settings | None = None,
    connected: AbstractContextManager[None] | None = None,
) -> Iterator[Store]:
    """Own the run folder within the block, and yield its store: at `place`, or in the folder.

    Parameters
    ----------
    connected : starts Ray; entered after folder and store were checked, before anything is written

    Raises
    ------
    InputError
        When another command owns the folder, it holds another run, or it cannot be written.
    """
    with locked(run), contextlib.ExitStack() as stack:
        require_same(run, experiment, command, settings)
        require_store(place or run / "store")
        stack.enter_context(connected or contextlib.nullcontext())
        if not (run / FILE).exists():
            tell_small_test_part(experiment)
            describe(run, experiment, command, settings)
        store = _own_store(run, place)
        with store.in_use():
            yield store


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Own the run folder within the block: two commands that write one run would mix their results.

    Raises
    ------
    InputError
        When another command owns the folder, or it cannot be written.
    """
    require_place(run)
    with owned_run(run):
        yield


def require_same(
    run: Path, experiment: Experiment, command: str, settings: Settings | None = None
) -> None:
    """Refuse a folder that holds another run than the one that this command would continue.

    The experiment's recipe is the one that the run starts from, before any search. A run may
    continue with more seeds or trials than before.

    Raises
    ------
    InputError
        When data, command, space or recipe differ.
    """
    if not (run / FILE).exists():
        return
    before = read_config(run)
    used, given = (before.dataset, before.test_set), (experiment.dataset, experiment.test_set)
    if list(map(_digest, used)) != list(map(_digest, given)):
        raise InputError(f"{run} holds a run on other data: choose another run folder.")
    old = {"command": before.command} | dotted_fields(to_json(recipe_of(run, before.base)))
    new = {"command": command} | dotted_fields(to_json(experiment.recipe))
    old, new = old | _kept(before.settings), new | _kept(settings)
    for name, value in new.items():
        if value != old[name]:
            raise InputError(
                f"{run} holds another run, with {name} {old[name]} instead of {value}: choose "
                "another run folder."
            )


def _digest(data: RecordedDataset | Dataset | None) -> str | None:
    return None if data is None else data.digest


def _kept(settings: Settings | None) -> dict[str, Any]:
    """The options that `KEPT` names, and their values."""
    plain = {} if settings is None else json.loads(text_of(settings))
    return {f"--{name.replace('_', '-')}": plain.get(name) for name in KEPT}


def describe(
    run: Path, experiment: Experiment, command: str, settings: Settings | None = None
) -> None:
    """Write config.json and recipe.json; remove results of another recipe or other seeds."""
    before = None
    with contextlib.suppress(InputError):
        before = read_config(run)
    config = RunConfig(
        id=(before and before.id) or uuid.uuid4().hex,
        command=command,
        thyroid=__version__,
        dataset=recorded(experiment.dataset),
        test_set=None if experiment.test_set is None else recorded(experiment.test_set),
        recipe=to_json(experiment.recipe),
        seeds=tuple(experiment.seeds),
        searched=experiment.searched,
        search=settings if isinstance(settings, SearchSettings) else None,
        comparison=settings if isinstance(settings, ComparisonSettings) else None,
        machine=machine.describe(),
    )
    if before is None or (before.recipe, before.seeds) != (config.recipe, config.seeds):
        with cannot_write(run):
            for folder in (
                "predictions",
                "model",
                "synthetic",
                "cases",
                rows_json.FOLDER,
                TENSORBOARD,
            ):
                remove_at_once(run / folder)
            for file in ("metrics.jsonl", rows_json.FILE):
                (run / file).unlink(missing_ok=True)
    write_config(run, config)


def recorded(dataset: Dataset) -> RecordedDataset:
    """Return the record of a data set for config.json."""
    return RecordedDataset(
        folder=str(dataset.folder.absolute()),
        **vars(dataset.info),
        digest=dataset.digest,
        images=len(dataset.images),
        patients=len(set(dataset.patients)),
    )


def _own_store(run: Path, place: Path | None) -> Store:
    """Return the run's store; artifacts that the run makes there have the id in its config.json."""
    return open_store(place or run / "store", read_config(run).id)
