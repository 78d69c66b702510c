"""Atomic writes, locks and new folders; errors of the system become sentences."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from thyroid.errors import InputError, StorageError

_ADVICE = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free space there or choose another folder"
    ),
    errno.ENOENT: "choose another folder, or run the same command again if it was removed",
}
"""Advice by the system's error; for any other error: choose another folder."""


@contextlib.contextmanager
def cannot_write(target: Path) -> Iterator[None]:
    """Turn a full disk, a read-only file system and similar errors into a sentence.

    Raises
    ------
    StorageError
        When the block raises an OSError.
    """
    try:
        yield
    except OSError as refusal:
        advice = _ADVICE.get(refusal.errno or 0, "choose another folder")
        raise StorageError(
            f"Cannot write {target}: {refusal.strerror or refusal}; {advice}."
        ) from refusal


def write_durably(path: Path, text: str) -> None:
    """Write a text file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(text.encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())


def replace_text(path: Path, text: str) -> None:
    """Write a text file atomically, even if the power fails.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with cannot_write(path):
        try:
            write_durably(unfinished, text)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def replace_file(source: Path, path: Path) -> None:
    """Copy a file atomically: readers of `path` find the old content or the new."""
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        shutil.copyfile(source, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(file: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file within the block; the system releases it when the process ends.

    Raises
    ------
    InputError
        With the sentence `refusal`, when another process holds the lock.
    StorageError
        When the file cannot be written.
    """
    with cannot_write(file):
        lock = file.open("w")
    with lock:
        if not _taken(file, lock.fileno()):
            raise InputError(refusal)
        yield


def _taken(file: Path, lock: int) -> bool:
    """Take a lock; False if another process has it, or had it and has just removed the file."""
    with cannot_write(file):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(file.stat(), os.fstat(lock))
        except (BlockingIOError, FileNotFoundError):
            return False


@contextlib.contextmanager
def owned_folder(folder: Path, refusal: str) -> Iterator[None]:
    """Create and own a folder within the block; remove it afterwards if nothing was written to it.

    Raises
    ------
    InputError
        With the sentence `refusal`, when another process owns it.
    StorageError
        When it cannot be made or written.
    """
    lock = folder / ".lock"
    with cannot_write(folder):
        new = _missing(folder)
        folder.mkdir(parents=True, exist_ok=True)
    with locked(lock, refusal):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if new and os.listdir(folder) == [lock.name]:
                    lock.unlink()
                    _remove(new)


def require_writable(folder: Path) -> None:
    """Check a folder, which need not exist yet, before hours are spent on its content.

    Raises
    ------
    StorageError
        When it cannot be made or written.
    """
    with cannot_write(folder):
        new = _missing(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        finally:
            _remove(new)


def _missing(folder: Path) -> list[Path]:
    """Return the folder and those above it that do not exist, the lowest first."""
    above = (folder, *folder.absolute().parents)
    return list(itertools.takewhile(lambda each: not each.exists(), above))


def _remove(folders: list[Path]) -> None:
    """Remove folders as long as they are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def remove_at_once(folder: Path) -> None:
    """Remove a folder atomically, if it exists."""
    going = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(going)
    shutil.rmtree(going, ignore_errors=True)


def require_new_folder(folder: Path) -> None:
    """Refuse a target that exists or cannot be made, before hours are spent on its content.

    Raises
    ------
    InputError
        When the name is taken.
    StorageError
        When nothing can be written there.
    """
    with cannot_write(folder):
        exists = folder.exists() or folder.is_symlink()
    if exists:
        raise InputError(f"{folder} exists already; choose another folder or remove it first")
    require_writable(folder.parent)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill; it gets its name when the block ends, and is deleted on an error.

    Raises
    ------
    InputError
        When the name is taken.
    StorageError
        When the folder cannot be written.
    """
    require_new_folder(folder)
    with cannot_write(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
        unfinished.mkdir()
        try:
            yield unfinished
            for path in filter(Path.is_file, unfinished.iterdir()):
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
