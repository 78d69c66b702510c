"""Stores the files that an import has read so far, so that a killed import can continue.

.NAME.importing/   beside the data set NAME, for its owner alone
    lock           held while an import works here
    readings       one encrypted entry per file read, in the order of the listing
    dataset/       the data set while it is written, last of all

A reading names patients and institutions, and holds the digests of files from which the data set's
key is derived. Entries are therefore encrypted (AES-GCM). Their key is derived from the names,
sizes and times of the files, labels.csv and the content of the first files. So nobody can decrypt
an entry without the source folder, and after a change of source, files or settings earlier entries
do not decrypt.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from thyroid import __version__
from thyroid.data.labels import Listing
from thyroid.data.reader import ABSENT, UNREADABLE, read_bytes
from thyroid.data.record import ImageRecord, Reading, Rejection, pack, unpack
from thyroid.data.scintigram import UnusableFile
from thyroid.errors import InputError
from thyroid.files import locked

READING_VERSION = 5
"""Raise it whenever the same file gives another record or another matrix."""
DECODERS = ("numpy", "pillow", "pydicom", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")
OPENED = 16  # files whose content enters the key: names, sizes and times can be guessed
LENGTH = 4  # bytes that give the length of an entry
NONCE = 12  # bytes, random for each entry


def working_folder(dataset: Path) -> Path:
    """Return the folder in which an import into `dataset` keeps what it has read."""
    return dataset.with_name(f".{dataset.name}.importing")


class Unfinished:
    """The readings of the first files of the listing; `results` are in that order."""

    def __init__(self, file: BinaryIO, key: bytes) -> None:
        self.results: list[ImageRecord | Rejection] = []
        self._image_at: list[int] = []  # offset of each image's entry
        self._file = file
        self._cipher = AESGCM(key)
        end = 0
        while (reading := self._next()) is not None and not _may_pass(reading):
            self._keep(reading, end)
            end = file.tell()
        file.seek(end)
        file.truncate()

    def append(self, reading: Reading) -> None:
        """Write the reading of the next file of the listing."""
        start, nonce = self._file.tell(), os.urandom(NONCE)
        entry = nonce + self._cipher.encrypt(nonce, pack(reading), None)
        self._file.write(len(entry).to_bytes(LENGTH, "big") + entry)
        self._file.flush()
        self._keep(reading, start)

    def matrix(self, position: int) -> npt.NDArray[np.uint16]:
        """Return the matrix of the image at this position among all images, (size, size)."""
        self._file.seek(self._image_at[position])
        reading = self._next()
        if not isinstance(reading, tuple):
            raise OSError(f"{self._file.name} was changed meanwhile")
        return reading[1]

    def _keep(self, reading: Reading, start: int) -> None:
        if isinstance(reading, tuple):
            self._image_at.append(start)
            self.results.append(reading[0])
        else:
            self.results.append(reading)

    def _next(self) -> Reading | None:
        """Read an entry; None at the end, or if a kill or a power cut left it incomplete."""
        length = int.from_bytes(self._file.read(LENGTH), "big")
        try:
            entry = self._file.read(length)
            return unpack(self._cipher.decrypt(entry[:NONCE], entry[NONCE:], None))
        except (InvalidTag, ValueError, MemoryError):  # too short, or a damaged length
            return None


@contextlib.contextmanager
def unfinished_import(
    dataset: Path, listing: Listing, *, size: int, pixel_mm: float
) -> Iterator[Unfinished]:
    """Open the readings of an earlier import with the same source and settings, or start anew.

    The working folder is removed when the block ends or raises an InputError or OSError, and stays
    when the block is interrupted.

    Raises
    ------
    InputError : another import into `dataset` is at work.
    """
    folder = working_folder(dataset)
    folder.mkdir(mode=0o700, parents=False, exist_ok=True)
    works = f"another import into {dataset} is at work; wait for it or choose another folder"
    with locked(folder / "lock", works):
        for left in filter(Path.is_dir, folder.iterdir()):  # left by a kill during the last step
            shutil.rmtree(left)
        readings = folder / "readings"
        try:
            readings.touch(mode=0o600)
            with readings.open("r+b") as file:
                yield Unfinished(file, _key(listing, size, pixel_mm))
        except (InputError, OSError):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)  # NFS keeps the open lock under another name


def remove_remains(dataset: Path) -> None:
    """Remove the working folder of an import that was killed after its data set was in place."""
    folder = working_folder(dataset)
    if not (dataset.is_dir() and folder.is_dir()):
        return
    with contextlib.suppress(OSError, InputError), locked(folder / "lock", "an import is at work"):
        shutil.rmtree(folder, ignore_errors=True)


def _may_pass(reading: Reading) -> bool:
    """Return whether the fault may be temporary, as when a disk is not connected."""
    return isinstance(reading, Rejection) and reading.reason.startswith((ABSENT, UNREADABLE))


def _key(listing: Listing, size: int, pixel_mm: float) -> bytes:
    """Derive the key from everything that an import reads: it takes the source folder."""
    versions = [READING_VERSION, __version__, *map(version, DECODERS)]
    digest = hashlib.sha256(json.dumps([versions, size, pixel_mm]).encode())
    digest.update(hashlib.sha256(listing.labels).digest())
    for file in listing.files:
        length = changed = -1
        with contextlib.suppress(OSError, ValueError):
            status = os.stat(file.path)
            length, changed = status.st_size, status.st_mtime_ns
        digest.update(json.dumps([file.name, length, changed]).encode())
    for file in listing.files[:OPENED]:
        with contextlib.suppress(UnusableFile):
            digest.update(hashlib.sha256(read_bytes(file.path)).digest())
    return digest.digest()
