"""What an import has read, kept on disk until the data set is written: a killed one goes on there.

.NAME.importing/   beside the data set NAME, for its owner alone
    lock           held while an import works here
    results        what was learned of each file, a line each, in the order of files
    matrices       those of the images, one after the other
    dataset/       being written, last of all

Matrices hold no more than the data set will. Results name patients and institutions and hold the
digests of files, of which the data set's key is made: they are sealed with a key made of the files'
names, sizes and times, labels.csv and the content of the first files. So whoever lacks the source
folder reads nothing of them, and another source, changed files or other settings cannot take them
for their own.
"""

import base64
import binascii
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

from thyroid import __version__
from thyroid.data.labels import Listing
from thyroid.data.reader import ABSENT, UNREADABLE, read_bytes
from thyroid.data.record import ImageRecord, Reading, Rejection, as_matrix, packed, unpacked
from thyroid.data.scintigram import UnusableFile, image_id
from thyroid.errors import InputError
from thyroid.files import locked

READING_VERSION = 1
"""Raise it whenever the same file gives another record or another matrix."""
DECODERS = ("numpy", "pillow", "pydicom", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")
FILES = ("lock", "results", "matrices")
OPENED = 16  # of the files, whose content is part of the key: names and times can be guessed


def place(dataset: Path) -> Path:
    """Where an import into `dataset` keeps what it has read."""
    return dataset.with_name(f".{dataset.name}.importing")


class Unfinished:
    """What was read so far; `results` are those of the first files of the listing."""

    def __init__(self, folder: Path, secret: bytes, size: int) -> None:
        self.folder = folder
        self.results: list[ImageRecord | Rejection] = []
        self._size = size
        self._images = 0
        self._results = _opened(folder / "results")
        self._matrices = _opened(folder / "matrices")
        salt, key_id = self._results.read(16), self._results.read(32)
        self._key = _key(salt, secret)
        if key_id == _named(self._key):
            self._read_back()
        else:
            salt = os.urandom(16)
            self._key = _key(salt, secret)
            self._cut(0, 0)
            self._results.write(salt + _named(self._key))

    def append(self, reading: Reading) -> None:
        """Keep what the next file of the listing gave."""
        if isinstance(reading, tuple):
            result: ImageRecord | Rejection = reading[0]
            self._matrices.write(reading[1].astype("<u2").tobytes())
            self._images += 1
        else:
            result = reading
        self._results.write(_sealed(self._key, len(self.results), packed(result)))
        self._results.flush()
        self.results.append(result)

    def matrix(self, position: int) -> npt.NDArray[np.uint16]:
        """Of the image at this position among all images, (size, size)."""
        length = 2 * self._size**2
        self._matrices.seek(position * length)
        content = self._matrices.read(length)
        if len(content) < length:
            raise OSError(f"{self._matrices.name} was shortened meanwhile")
        return as_matrix(content, self._size)

    def close(self) -> None:
        """Leave the files to the next import."""
        with contextlib.suppress(OSError):  # a full disk: what is missing will be read again
            self._matrices.close()
        with contextlib.suppress(OSError):
            self._results.close()

    def _read_back(self) -> None:
        """All results up to the first that is not whole, which a kill or a power cut left so."""
        end = self._results.tell()
        for line in self._results:
            result = _opened_seal(self._key, len(self.results), line)
            if result is None or _may_pass(result):
                break
            if isinstance(result, ImageRecord):
                try:
                    whole = image_id(self.matrix(self._images)) == result.image_id
                except OSError:
                    whole = False
                if not whole:
                    break
                self._images += 1
            self.results.append(result)
            end += len(line)
        self._cut(end, self._images * 2 * self._size**2)

    def _cut(self, results: int, matrices: int) -> None:
        for file, length in ((self._results, results), (self._matrices, matrices)):
            file.truncate(length)
            file.seek(length)


@contextlib.contextmanager
def unfinished_import(
    dataset: Path, listing: Listing, *, size: int, pixel_mm: float
) -> Iterator[Unfinished]:
    """What an earlier import of the same left, or nothing yet.

    It is gone when the block ends or is refused, and stays when the block is interrupted.

    Raises
    ------
    InputError : another import into `dataset` is at work.
    """
    folder = place(dataset)
    folder.mkdir(mode=0o700, parents=False, exist_ok=True)
    works = f"another import into {dataset} is at work; wait for it or choose another folder"
    with locked(folder / "lock", works):
        for left in folder.iterdir():  # by a kill while the data set was written
            if left.name not in FILES and left.is_dir():
                shutil.rmtree(left)
        unfinished = None
        try:
            unfinished = Unfinished(folder, _secret(listing, size, pixel_mm), size)
            yield unfinished
        except (InputError, OSError):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            if unfinished is not None:
                unfinished.close()
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)  # NFS keeps the open lock under another name


def remove_remains(dataset: Path) -> None:
    """What an import left that was killed when its data set was in place already."""
    folder = place(dataset)
    if not (dataset.is_dir() and folder.is_dir()):
        return
    with contextlib.suppress(OSError, InputError), locked(folder / "lock", "an import is at work"):
        shutil.rmtree(folder, ignore_errors=True)


def _may_pass(result: ImageRecord | Rejection) -> bool:
    """Whether the file may be read another time: its disk was away."""
    return isinstance(result, Rejection) and result.reason.startswith((ABSENT, UNREADABLE))


def _opened(path: Path) -> BinaryIO:
    path.touch(mode=0o600)
    return path.open("r+b")


def _secret(listing: Listing, size: int, pixel_mm: float) -> bytes:
    """What an import reads and how: known to those alone who have the source folder."""
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


def _key(salt: bytes, secret: bytes) -> bytes:
    return hashlib.sha256(salt + secret).digest()


def _named(key: bytes) -> bytes:
    """Which key it is, which does not tell the key."""
    return hashlib.sha256(b"name of " + key).digest()


def _sealed(key: bytes, number: int, content: bytes) -> bytes:
    """A line that only the key opens: content and checksum, xor SHAKE-256 of key and number."""
    checked = content + hashlib.sha256(content).digest()[:8]
    return base64.b64encode(_xor(checked, _pad(key, number, len(checked)))) + b"\n"


def _opened_seal(key: bytes, number: int, line: bytes) -> ImageRecord | Rejection | None:
    """None where the line is not whole."""
    try:
        sealed = base64.b64decode(line.removesuffix(b"\n"), validate=True)
    except binascii.Error:
        return None
    checked = _xor(sealed, _pad(key, number, len(sealed)))
    content, checksum = checked[:-8], checked[-8:]
    if not line.endswith(b"\n") or hashlib.sha256(content).digest()[:8] != checksum:
        return None
    return unpacked(content)


def _pad(key: bytes, number: int, length: int) -> bytes:
    return hashlib.shake_256(key + number.to_bytes(8, "big")).digest(length)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")
