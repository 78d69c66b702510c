"""Content-addressed artifacts in a folder that several processes and machines may share.

An artifact is a folder of files named by its stage's key. It becomes visible all at once, by one
rename, with a manifest of checksums; it is verified when it is opened. Of several processes that
want to build one key, one holds the claim and the others wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thyroid.errors import InputError

LEASE_SECONDS = 30.0
"""A claim that its builder has not renewed for this long is dead."""

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Store:
    """The artifacts below `root`."""

    root: Path

    def __contains__(self, key: str) -> bool:
        """Whether the artifact is there; its files are verified by `open`, not here."""
        return (self._artifact(key) / MANIFEST).is_file()

    def open(self, key: str) -> Path | None:
        """The artifact's folder after checking every file against its checksum.

        A damaged artifact is moved out of the way and None returned, as for a missing one, so
        that it is computed again.
        """
        folder = self._artifact(key)
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            intact = all(
                _sha256(folder / name) == digest for name, digest in manifest["files"].items()
            )
        except FileNotFoundError as missing:
            if Path(str(missing.filename)).name == MANIFEST:
                return None
            intact = False
        except (ValueError, KeyError, TypeError):
            intact = False
        if intact:
            return folder
        self._set_aside(folder)
        return None

    @contextlib.contextmanager
    def building(self, key: str, about: dict[str, Any]) -> Iterator[Path | None]:
        """Claim `key` and give a folder to fill; it becomes the artifact when the block ends.

        Gives None when the artifact is there already, or came to be while another process that
        held the claim was waited for. When the block raises, nothing becomes visible.

        Parameters
        ----------
        key : the stage's key, hexadecimal
        about : what the manifest says of the artifact (kind, configuration, keys of inputs)

        Raises
        ------
        InputError
            When the store cannot be written.
        """
        with self._claimed(key) as claimed:
            if not claimed:
                yield None
                return
            folder = self.root / "building" / f"{key[:16]}-{uuid.uuid4().hex[:8]}"
            try:
                with writable(self.root):
                    folder.mkdir(parents=True)
                yield folder
                with writable(self.root):
                    self._commit(key, folder, about)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _commit(self, key: str, folder: Path, about: dict[str, Any]) -> None:
        files = {p.name: _sha256(p) for p in sorted(folder.iterdir())}
        _write_durably(folder / MANIFEST, json.dumps({"key": key, **about, "files": files}))
        target = self._artifact(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(folder, target)
        except OSError:
            # A builder that was taken for dead may have finished: same key, same bits.
            if key not in self:
                raise

    def _artifact(self, key: str) -> Path:
        return self.root / "artifacts" / key[:2] / key

    def _set_aside(self, folder: Path) -> None:
        grave = self.root / "damaged" / f"{folder.name[:16]}-{uuid.uuid4().hex[:8]}"
        grave.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            os.rename(folder, grave)

    @contextlib.contextmanager
    def _claimed(self, key: str) -> Iterator[bool]:
        """Hold the claim on `key`, waiting for another holder; False once the artifact exists."""
        claim = self.root / "claims" / key
        with writable(self.root):
            claim.parent.mkdir(parents=True, exist_ok=True)
        mine = uuid.uuid4().hex
        while True:
            if key in self:
                yield False
                return
            if _take(claim, mine):
                break
            time.sleep(0.05)
        if key in self:  # it was finished between the look and the claim
            _release(claim, mine)
            yield False
            return
        done = threading.Event()
        heartbeat = threading.Thread(target=_renew, args=(claim, mine, done), daemon=True)
        heartbeat.start()
        try:
            yield True
        finally:
            done.set()
            heartbeat.join()
            _release(claim, mine)


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn the system's refusal to write into a sentence."""
    try:
        yield
    except OSError as refusal:
        raise InputError(
            f"Cannot write below {folder}: {refusal.strerror or refusal}; "
            "free space there or choose another folder."
        ) from refusal


def _take(claim: Path, mine: str) -> bool:
    """Create the claim, or take over one whose holder has stopped renewing it."""
    try:
        with claim.open("x") as file:
            file.write(mine)
        return True
    except FileExistsError:
        pass
    try:
        age = time.time() - claim.stat().st_mtime
    except FileNotFoundError:
        return False  # just released; the caller tries again
    if age > LEASE_SECONDS:
        # Renaming decides between several that found it dead: only one rename succeeds.
        with contextlib.suppress(FileNotFoundError):
            grave = claim.with_name(f"{claim.name}.{mine}")
            os.rename(claim, grave)
            grave.unlink()
    return False


def _release(claim: Path, mine: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if claim.read_text() == mine:
            claim.unlink()


def _renew(claim: Path, mine: str, done: threading.Event) -> None:
    while not done.wait(LEASE_SECONDS / 6):
        try:
            if claim.read_text() != mine:
                return
            os.utime(claim)
        except OSError:
            return


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_durably(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
