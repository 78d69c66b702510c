"""The run folder: who may write it, and the config.json that it begins with."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from thyroid import __version__, machine
from thyroid.configuration import dotted_fields, to_json
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.files import cannot_write, remove_at_once, replace_text
from thyroid.run_files import rows_json
from thyroid.run_files.config_json import (
    FILE,
    RECIPE,
    began_with,
    not_understood,
    read_config,
    settings,
)
from thyroid.runs.experiment import Experiment
from thyroid.runs.run_place import owned_run, require_place, require_store
from thyroid.runs.tensorboard import FOLDER as TENSORBOARD
from thyroid.storage.open_store import open_store
from thyroid.storage.store import Store

DATA = ("dataset", "test_set")
SETTINGS = (
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
    about: Mapping[str, Any] | None = None,
    connected: AbstractContextManager[None] | None = None,
) -> Iterator[Store]:
    """Own the run folder, and use its store: at `place`, or within.

    Parameters
    ----------
    connected : entered when folder and store are known to be usable, before anything is written:
        Ray takes a while to start

    Raises
    ------
    InputError
        When another command owns the folder, it holds another run, or it cannot be written.
    """
    with locked(run), contextlib.ExitStack() as stack:
        require_same(run, experiment, command, about)
        require_store(place or run / "store")
        stack.enter_context(connected or contextlib.nullcontext())
        if not (run / FILE).exists():
            write_config(run, experiment, command, about)
        store = _own_store(run, place)
        with store.in_use():
            yield store


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Own the run folder: two commands that write one run would mix their results.

    Raises
    ------
    InputError
        When another command owns it, or it cannot be written.
    """
    require_place(run)
    with owned_run(run):
        yield


def require_same(
    run: Path, experiment: Experiment, command: str, about: Mapping[str, Any] | None = None
) -> None:
    """Refuse a folder that holds another run than this command would continue.

    The experiment's recipe is what the run starts from: a search's own, before it is searched. A
    run may go on with more seeds or trials than before.

    Raises
    ------
    InputError
        When data, command, space or recipe differ.
    """
    recipe = began_with(run)
    if recipe is None:
        return
    before = read_config(run)
    try:
        used = [(before[name] or {}).get("digest") for name in DATA]
        old = {"command": before["command"]} | dotted_fields(to_json(recipe))
        old |= {_option(name): settings(before).get(name) for name in SETTINGS}
    except (KeyError, AttributeError):
        raise not_understood(run) from None
    if used != [None if data is None else data.digest for data in _data(experiment)]:
        raise InputError(f"{run} holds a run on other data: choose another run folder.")
    new = {"command": command} | dotted_fields(to_json(experiment.recipe))
    new |= {_option(name): (about or {}).get(name) for name in SETTINGS}
    for name, value in new.items():
        if value != old[name]:
            raise InputError(
                f"{run} holds another run, whose {name} was {old[name]} and not {value}: "
                "choose another run folder."
            )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def write_config(
    run: Path, experiment: Experiment, command: str, about: Mapping[str, Any] | None = None
) -> None:
    """Write config.json and recipe.json; results of another recipe or other seeds are removed.

    Parameters
    ----------
    about : settings of a search or a comparison
    """
    try:
        before = read_config(run)
    except InputError:
        before = {}
    recipe, seeds = to_json(experiment.recipe), list(experiment.seeds)
    config = {
        "id": before.get("id", uuid.uuid4().hex),
        "command": command,
        "thyroid": __version__,
        **dict(zip(DATA, map(_about, _data(experiment)), strict=True)),
        "recipe": recipe,
        "seeds": seeds,
        "searched": experiment.searched,
        "search": about if command != "compare" else None,
        "comparison": about if command == "compare" else None,
        "machine": machine.describe(),
    }
    if (before.get("recipe"), before.get("seeds")) != (recipe, seeds):
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
    for name, content in ((FILE, config), (RECIPE, recipe)):
        replace_text(run / name, json.dumps(content, indent=2) + "\n")


def _own_store(run: Path, place: Path | None) -> Store:
    """The store that a run works with; what it makes there bears the id in its config.json."""
    return open_store(place or run / "store", read_config(run).get("id", ""))


def _data(experiment: Experiment) -> list[Dataset | None]:
    """As `DATA` names them."""
    return [experiment.dataset, experiment.test_set]


def _about(dataset: Dataset | None) -> dict[str, Any] | None:
    if dataset is None:
        return None
    return {
        "folder": str(dataset.folder.absolute()),
        **dataclasses.asdict(dataset.info),
        "digest": dataset.digest,
        "images": len(dataset.images),
        "patients": len(set(dataset.patients)),
    }
