"""Sending data sets and weights files to the machines that read them.

A machine that has the command's file under the same path reads it there. Any other machine gets
the file once through Ray's object store, when it first needs the file, and keeps it in a cache.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from thyroid.data.dataset import FILES, Dataset
from thyroid.errors import InputError, StorageError, Vanished
from thyroid.execution.in_process import Datasets
from thyroid.files import cannot_write, sha256_of
from thyroid.stage import Stage
from thyroid.storage.cache import cache_folder

Content = dict[str, npt.NDArray[np.uint8]]
"""Bytes by file name; the name of a single file is empty."""

Transfers = Mapping[str, Any]
"""References to the `Content` of data sets and files that machines lacked, by digest."""


class Absent(Exception):
    """A machine lacks the data set or file that a stage reads, and no transfer has it."""


def packed(path: Path, digest: str) -> Content:
    """Read a data set or file to be sent.

    Raises
    ------
    StorageError
        When the data set or file is gone or was changed.
    """
    if _digest(path) != digest:
        raise StorageError(
            f"{path} is gone or was changed while it was in use: choose another run folder."
        )
    files = {"": path} if path.is_file() else {name: path / name for name in FILES}
    return {name: np.fromfile(file, np.uint8) for name, file in files.items()}


def here(stage: Stage, path: Path, transfers: Transfers) -> Datasets:
    """Return the place on this machine of the data that a stage reads; unpack them if they were
    sent.

    Parameters
    ----------
    path : the data set or file on the machine that runs the command

    Raises
    ------
    Absent
        When the data set or file is neither here nor in `transfers`.
    Vanished
        When the sent content was lost.
    """
    digest = stage.dataset
    if _digest(path) == digest:
        return {digest: path}
    kept = cache_folder("datasets") / digest
    if _intact(kept, digest):
        return {digest: kept}
    if digest not in transfers:
        raise Absent(digest)
    with cannot_write(kept), kept.with_name(f".{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # only one process of a machine unpacks
        if not _intact(kept, digest):
            try:
                content: Content = ray.get(transfers[digest])
            except ray.exceptions.RayError as lost:
                raise Vanished(f"The data set could not be sent to this machine: {lost}") from None
            _unpack(content, kept)
    return {digest: kept}


def _digest(path: Path) -> str | None:
    """Return the digest of a data set or file; None if it does not exist."""
    try:
        return sha256_of(path) if path.is_file() else Dataset.open(path, verify=False).digest
    except (InputError, OSError):
        return None


def _intact(kept: Path, digest: str) -> bool:
    """Return True if the cache holds the data set or file undamaged."""
    if _digest(kept) != digest:
        return False
    return kept.is_file() or _verified(kept, (kept / FILES[-1]).stat().st_mtime_ns)


@cache
def _verified(kept: Path, written: int) -> bool:
    """Verify a data set's counts once per process, and again only if they were written anew."""
    try:
        Dataset.open(kept)
    except InputError:
        return False
    return True


def _unpack(content: Content, target: Path) -> None:
    """Write all files, or none if one fails."""
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        for name, written in content.items():
            file = unfinished / name if name else unfinished
            file.parent.mkdir(parents=True, exist_ok=True)
            written.tofile(file)
        shutil.rmtree(target, ignore_errors=True)  # a damaged copy
        os.replace(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
