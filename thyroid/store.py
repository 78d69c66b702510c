"""Content-addressed artifacts in a folder that several processes and machines may share.

An artifact is a folder of files named by its stage's key. It becomes visible all at once, by one
rename, with a manifest of checksums; it is verified when it is opened. Of several processes that
want to build one key, one holds the claim and the others wait.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thyroid.errors import InputError
from thyroid.files import cannot_write, sha256_of

LEASE_SECONDS = 60.0
"""A claim that its builder has not renewed for this long, while we watched, is dead."""

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Store:
    """The artifacts below `root`."""

    root: Path

    @classmethod
    def at(cls, place: Path) -> Store:
        """The store in a folder; `Path` writes `s3://bucket` as `s3:/bucket`.

        Raises
        ------
        InputError
            When the place is no folder of a file system.
        """
        if re.match(r"[a-z0-9]+:/", str(place)):
            raise InputError(f"{place} is no folder: a store lies on a disk, shared or not.")
        return cls(place.absolute())

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
            intact = manifest["key"] == key and all(
                sha256_of(folder / name) == digest for name, digest in manifest["files"].items()
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
                with cannot_write(self.root):
                    folder.mkdir(parents=True)
                yield folder
                with cannot_write(self.root):
                    self._commit(key, folder, about)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _commit(self, key: str, folder: Path, about: dict[str, Any]) -> None:
        files = {
            path.relative_to(folder).as_posix(): sha256_of(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        _write_durably(folder / MANIFEST, json.dumps({"key": key, **about, "files": files}))
        target = self._artifact(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(folder, target)
        except OSError:
            if key in self:  # a builder that was taken for dead has finished: same key, same bits
                return
            self._set_aside(target)  # what is there has lost its manifest
            os.rename(folder, target)

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
        with cannot_write(self.root):
            claim.parent.mkdir(parents=True, exist_ok=True)
        mine = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
        watched, since = None, time.monotonic()
        while True:
            if key in self:
                yield False
                return
            with cannot_write(self.root):
                if _take(claim, mine):
                    break
            # Dead is what did not move by our own clock: machines' clocks are not compared
            holder = _look(claim)
            if holder != watched:
                watched, since = holder, time.monotonic()
            elif holder and (_died_here(holder[0]) or time.monotonic() - since > LEASE_SECONDS):
                _bury(claim, holder[0])
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


def _take(claim: Path, mine: str) -> bool:
    """Create the claim; whole or not at all, for others read it."""
    written = claim.with_name(f"{claim.name}.{uuid.uuid4().hex}")
    written.write_text(mine)
    try:
        os.link(written, claim)
    except FileExistsError:
        return False
    finally:
        written.unlink()
    return True


def _look(claim: Path) -> tuple[str, int] | None:
    """Who holds the claim, and when it was last renewed."""
    try:
        return claim.read_text(), claim.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _died_here(holder: str) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    host, pid, _ = holder.split()
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _bury(claim: Path, dead: str) -> None:
    """Remove a dead holder's claim; if another has taken its place meanwhile, put that back."""
    grave = claim.with_name(f"{claim.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(claim, grave)
        if grave.read_text() != dead:
            with contextlib.suppress(FileExistsError):
                os.link(grave, claim)
        grave.unlink()


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


def _write_durably(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
