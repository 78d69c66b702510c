"""Content-addressed artifacts in a folder that several processes and machines may share.

An artifact is a folder of files named by its stage's key. It becomes visible all at once, by one
rename, with a manifest of checksums; it is verified when it is opened. Of several processes that
want to build one key, one holds the claim; the others are told that it is busy, and wait without
holding anything.

STORE/artifacts/KE/KEY/   files and manifest.json, whose time is that of the last use
STORE/failures/KE/KEY     why the stage cannot finish, in a sentence: it would fail again
STORE/claims/KEY          who builds it
STORE/building/           what is not finished
STORE/damaged/            what did not match its checksums
STORE/users/              the commands at work, one lease each
STORE/trash/              what is being pruned
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from thyroid.files import cannot_write, replace_text, sha256_of, write_durably
from thyroid.storage import lease

MANIFEST = "manifest.json"


class Busy(Exception):
    """Another process is building the artifact."""


@dataclass(frozen=True)
class Store:
    """The artifacts below `root`."""

    root: Path
    run: str = ""
    """Id of the run that builds, which the manifests name."""

    poll_seconds: ClassVar[float] = 0.05
    """Between two looks at what another process builds."""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return str(self.root)

    def __contains__(self, key: str) -> bool:
        """Whether the artifact is there, which is a use; `open` verifies its files, not this."""
        while not self._use(key):
            if not self._in_doubt(key):
                return False
        return True

    def open(self, key: str) -> Path | None:
        """The artifact's folder after checking every file against its checksum.

        A damaged artifact is moved out of the way and None returned, as for a missing one, so
        that it is computed again.
        """
        manifest = self.manifest(key)
        return None if manifest is None else self._verified(key, manifest["files"])

    def read(self, key: str, name: str) -> bytes | None:
        """One file of an artifact, checked; None where it is missing or damaged, as for `open`."""
        manifest = self.manifest(key)
        if manifest is None:
            return None
        try:
            content = (self.artifact(key) / name).read_bytes()
        except FileNotFoundError:
            content = b""
        if hashlib.sha256(content).hexdigest() == manifest["files"].get(name):
            return content
        self.set_aside(self.artifact(key))
        return None

    def manifest(self, key: str) -> dict[str, Any] | None:
        """What is known of an artifact: of which stage it is, the seconds that it took, the run
        that made it, its files' checksums. None where it is missing or damaged, as for `open`.

        The manifest's time becomes now: `thyroid store` prunes what was not used for long.
        """
        while True:
            manifest = self._manifest(key)
            if manifest is not None and self._use(key):
                return manifest
            if not self._in_doubt(key):
                return None

    def intact(self, key: str) -> bool:
        """`open` for those who only check: this is no use."""
        manifest = self._manifest(key)
        return manifest is not None and self._verified(key, manifest["files"]) is not None

    def _use(self, key: str) -> bool:
        """The artifact's time becomes now; False where it is missing, or pruned in this moment."""
        path = self.artifact(key) / MANIFEST
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        except OSError:  # a store may be for reading only
            return path.is_file()
        return True

    def _in_doubt(self, key: str) -> bool:
        """Whether what was missing may be there now; waits while a prune makes up its mind."""
        doubt, pruner = self.doubt(key), lease.Watch(self.claim("prune"))
        if not doubt.exists():
            return (self.artifact(key) / MANIFEST).exists()
        while doubt.exists() and pruner.alive():
            time.sleep(0.001)
        return not doubt.exists()

    def _manifest(self, key: str) -> dict[str, Any] | None:
        path = self.artifact(key) / MANIFEST
        try:
            manifest = described(path.read_bytes(), key)
        except FileNotFoundError:
            return None
        if manifest is None:
            self.set_aside(self.artifact(key))
        return manifest

    def _verified(self, key: str, files: dict[str, str]) -> Path | None:
        folder = self.artifact(key)
        if all(_holds(folder, name, digest) for name, digest in files.items()):
            return folder
        self.set_aside(folder)
        return None

    @contextlib.contextmanager
    def building(self, key: str, about: dict[str, Any]) -> Iterator[Path | None]:
        """Claim `key` and give a folder to fill; it becomes the artifact when the block ends.

        Gives None when the artifact is there already. When the block raises, nothing becomes
        visible.

        Parameters
        ----------
        key : the stage's key, hexadecimal
        about : what the manifest says of the artifact (kind, configuration, keys of inputs)

        Raises
        ------
        Busy
            When another process builds it: see `watch`.
        InputError
            When the store cannot be written.
        """
        with self.claimed(key) as mine:
            if key in self:
                yield None
                return
            if not mine:
                raise Busy(key)
            began = time.monotonic()
            with self.scratch(key) as folder:
                yield folder
                about = {**about, "seconds": time.monotonic() - began, "run": self.run}
                self.publish(folder, {"key": key, **about, "files": checksums(folder)})

    @contextlib.contextmanager
    def claimed(self, key: str) -> Iterator[bool]:
        """Hold the claim on a key within the block; False where somebody else does."""
        claim = self.claim(key)
        with contextlib.ExitStack() as stack:
            with cannot_write(self.root):
                claim.parent.mkdir(parents=True, exist_ok=True)
                mine = stack.enter_context(lease.held(claim))
            yield mine

    @contextlib.contextmanager
    def scratch(self, key: str) -> Iterator[Path]:
        """A folder to fill, which is gone after the block unless it was published."""
        folder = self.root / "building" / f"{key[:16]}-{uuid.uuid4().hex[:8]}"
        try:
            with cannot_write(self.root):
                folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def watch(self, key: str) -> Watch:
        """To be asked again and again while another process builds the artifact."""
        return Watch(lambda: key in self, lease.Watch(self.claim(key)).alive)

    def wait(self, key: str) -> None:
        """Wait until nobody who lives builds the artifact: it is there, or may be claimed."""
        watch = self.watch(key)
        while watch.busy():
            time.sleep(self.poll_seconds)

    def fail(self, key: str, reason: str) -> None:
        """Keep that the stage cannot finish, whoever tries: the same key computes the same."""
        path = self._failure(key)
        with cannot_write(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, reason)

    def failure(self, key: str) -> str | None:
        """Why the stage cannot finish; None where that is not known."""
        try:
            return self._failure(key).read_text()
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Within the block, what is used in the store is not pruned.

        The lease's name says since when: its own time is renewed.
        """
        users = self.root / "users"
        with contextlib.ExitStack() as stack:
            with cannot_write(self.root):
                users.mkdir(parents=True, exist_ok=True)
                began = f"{self.now()}-{uuid.uuid4().hex}"
                stack.enter_context(lease.held(users / began, retake=True))
            yield

    def now(self) -> int:
        """The time in ns by the clock that stamps the store's files: not this machine's, maybe."""
        probe = self.root / f".{uuid.uuid4().hex}"
        probe.touch()
        try:
            return probe.stat().st_mtime_ns
        finally:
            probe.unlink()

    def artifact(self, key: str) -> Path:
        """Where the artifact lies, or would."""
        return self.root / "artifacts" / key[:2] / key

    def doubt(self, key: str) -> Path:
        """Where the manifest lies while a prune finds out whether the artifact is in use."""
        return self.root / "trash" / key

    def _failure(self, key: str) -> Path:
        return self.root / "failures" / key[:2] / key

    def claim(self, key: str) -> Path:
        """The lease of who builds it."""
        return self.root / "claims" / key

    def publish(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Make a filled folder the artifact that its manifest describes."""
        key = manifest["key"]
        target = self.artifact(key)
        with cannot_write(self.root):
            write_durably(folder / MANIFEST, json.dumps(manifest))
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(folder, target)
            except OSError:
                if key in self:  # a builder that was taken for dead has finished: the same bits
                    return
                self.set_aside(target)  # what is there has lost its manifest
                os.rename(folder, target)

    def damaged(self) -> set[str]:
        """First 16 digits of the keys of artifacts that were found damaged, and set aside."""
        with contextlib.suppress(FileNotFoundError):
            return {name[:16] for name in os.listdir(self.root / "damaged")}
        return set()

    def set_aside(self, folder: Path) -> None:
        """Take a damaged artifact out of the way, so that it is computed again."""
        grave = self.root / "damaged" / f"{folder.name[:16]}-{uuid.uuid4().hex[:8]}"
        grave.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            os.rename(folder, grave)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder, by its name there."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def described(content: str | bytes, key: str) -> dict[str, Any] | None:
    """A manifest that is the key's; None where it is damaged, or names files elsewhere."""
    try:
        manifest: dict[str, Any] = json.loads(content)
        files = manifest["files"]
        inside = isinstance(files, dict) and all(_inside(name) for name in files)
        return manifest if manifest["key"] == key and inside else None
    except (ValueError, KeyError, TypeError):
        return None


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts or "\0" in name
    return bool(path.parts) and not outside


def _holds(folder: Path, name: str, digest: str) -> bool:
    """Whether a file of such a checksum lies there: no link to elsewhere, and no pipe."""
    path = Path(os.path.realpath(folder / name))
    if not path.is_relative_to(os.path.realpath(folder)) or not path.is_file():
        return False
    try:
        return sha256_of(path) == digest
    except FileNotFoundError:  # it was removed in this moment
        return False


@dataclass(frozen=True)
class Watch:
    """Whether another process builds an artifact, as far as we have seen."""

    made: Callable[[], bool]
    held: Callable[[], bool]

    def busy(self) -> bool:
        """Look again: False once the artifact is there, or nobody who lives builds it."""
        return not self.made() and self.held()
