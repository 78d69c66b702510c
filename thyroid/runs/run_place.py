"""Refuses folders that cannot hold a run or a store. Imports nothing heavy."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from thyroid.errors import InputError
from thyroid.files import cannot_write, owned_folder, require_writable
from thyroid.storage.bucket import bucket_url


def require_place(run: Path) -> None:
    """Refuse a run folder that is something else, is in use, or cannot be written.

    Raises
    ------
    InputError
        When it is a file, is in a data set, cannot be written, or another command is using it.
    """
    _require_no_file(run)
    for folder in (run, *run.absolute().parents):
        if (folder / "dataset.json").is_file() and (folder / "counts.npy").is_file():
            raise InputError(f"{folder} is a data set: name another folder for the run.")
    with owned_run(run):
        pass


def owned_run(run: Path) -> AbstractContextManager[None]:
    """Own a run folder within the block: two commands that write one run would mix their results.

    Raises
    ------
    InputError
        When another command owns the folder.
    StorageError
        When the folder cannot be made or written.
    """
    works = f"Another thyroid command is using {run}: wait until it ends, or choose another folder."
    return owned_folder(run, works)


def require_store(place: Path) -> None:
    """Refuse a store, a folder or a bucket, that cannot be written.

    Raises
    ------
    InputError
        When it is a file, or cannot be written.
    """
    if bucket_url(place) is None:
        _require_no_file(place)
        require_writable(place)
    else:
        from thyroid.storage.open_store import open_store

        with open_store(place).in_use():
            pass


def _require_no_file(folder: Path) -> None:
    with cannot_write(folder):
        if folder.is_symlink() and not folder.exists():
            raise InputError(f"{folder} is a broken link: name a folder.")
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: name a folder.")
