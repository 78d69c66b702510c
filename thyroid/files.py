"""Writing so that nothing is half there, and saying so when the system refuses."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from thyroid.errors import InputError, StorageError


@contextlib.contextmanager
def cannot_write(target: Path) -> Iterator[None]:
    """A full disk, a read-only file system and their like, as a sentence.

    Raises
    ------
    StorageError
        When the block raises an OSError.
    """
    try:
        yield
    except OSError as refusal:
        raise StorageError(
            f"Cannot write {target}: {refusal.strerror or refusal}; "
            "free space there or choose another folder."
        ) from refusal


def write_durably(path: Path, text: str) -> None:
    """Write a text file that is on the disk when this returns."""
    with path.open("wb") as file:
        file.write(text.encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())


def replace_text(path: Path, text: str) -> None:
    """Write a text file that is there whole or not at all, also after a power cut.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with cannot_write(path):
        try:
            write_durably(unfinished, text)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def replace_file(source: Path, path: Path) -> None:
    """Copy a file so that whoever reads `path` meanwhile finds the old one or the new one."""
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        shutil.copyfile(source, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(file: Path, refusal: str) -> Iterator[None]:
    """Own what a lock file stands for; the system lets go of it when the process ends.

    Raises
    ------
    InputError
        With the sentence `refusal`, when another process owns it.
    StorageError
        When the file cannot be written.
    """
    with cannot_write(file):
        lock = file.open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(refusal) from None
        yield


def remove_at_once(folder: Path) -> None:
    """Remove a folder, of which nobody sees a part meanwhile; one that is none is no matter."""
    going = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(going)
    shutil.rmtree(going, ignore_errors=True)


def require_new_folder(folder: Path) -> None:
    """Refuse a target that exists, before hours are spent on what to write there.

    Raises
    ------
    InputError
        When the name is taken.
    """
    with cannot_write(folder):
        exists = folder.exists() or folder.is_symlink()
    if exists:
        raise InputError(f"{folder} exists already; choose another folder or remove it first")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name when all is written and on the disk, and else is gone.

    Raises
    ------
    InputError
        When the name is taken.
    StorageError
        When it cannot be written.
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
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
