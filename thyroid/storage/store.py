"""Content-addressed artifacts in a folder that several processes and machines may share.

An artifact is a folder of files named by its stage's key. It becomes visible all at once, by one
rename, with a manifest of checksums, which are verified when it is opened. When several processes
want to build the same key, one holds the claim; the others get `Busy` and wait without a claim.

STORE/artifacts/KE/KEY/   files and manifest.json, whose modification time is the last use
STORE/failures/KE/KEY     a sentence that says why the stage failed: it would fail again
STORE/claims/KEY          the lease of the process that builds the artifact
STORE/building/           unfinished artifacts
STORE/damaged/            artifacts that did not match their checksums
STORE/users/              one lease per running command
STORE/trash/              artifacts that are being removed
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
    """The artifacts in the folder `root`."""

    root: Path
    run: str = ""
    """Id of the run that builds artifacts; manifests record it."""

    poll_seconds: ClassVar[float] = 0.05
    """Time between two checks of an artifact that another process builds."""

    @property
    def place(self) -> str:
        """The store's location in messages."""
        return str(self.root)

    def __contains__(self, key: str) -> bool:
        """Check that the artifact exists and count this as a use. Its files are not verified."""
        while not self._use(key):
            if not self._returned(key):
                return False
        return True

    def open(self, key: str) -> Path | None:
        """Return the artifact's folder after checking every file against its checksum.

        A missing artifact gives None. So does a damaged one, which is moved to `damaged/` and is
        then computed again.
        """
        manifest = self.manifest(key)
        return None if manifest is None else self._verified(key, manifest["files"])

    def read(self, key: str, name: str) -> bytes | None:
        """Return one verified file of an artifact; None if missing or damaged, as in `open`."""
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
        """Return the artifact's stage, compute time in seconds, run and checksums.

        A missing or damaged artifact gives None, as in `open`. The call counts as a use: `thyroid
        store` prunes artifacts that have not been used for long.
        """
        while True:
            manifest = self._manifest(key)
            if manifest is not None and self._use(key):
                return manifest
            if not self._returned(key):
                return None

    def intact(self, key: str) -> bool:
        """Verify the artifact without counting this as a use."""
        manifest = self._manifest(key)
        return manifest is not None and self._verified(key, manifest["files"]) is not None

    def _use(self, key: str) -> bool:
        """Set the artifact's last use to now; False if it is missing, or being pruned."""
        path = self.artifact(key) / MANIFEST
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        except OSError:  # the store may be read-only
            return path.is_file()
        return True

    def _returned(self, key: str) -> bool:
        """Wait while a prune decides about a missing artifact; True if it may be there now."""
        withdrawn, pruner = self.withdrawn(key), lease.Watch(self.claim("prune"))
        if not withdrawn.exists():
            return (self.artifact(key) / MANIFEST).exists()
        while withdrawn.exists() and pruner.alive():
            time.sleep(0.001)
        return not withdrawn.exists()

    def _manifest(self, key: str) -> dict[str, Any] | None:
        path = self.artifact(key) / MANIFEST
        try:
            manifest = parse_manifest(path.read_bytes(), key)
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
        """Claim `key` and yield a folder to fill; it becomes the artifact when the block ends.

        Yields None if the artifact exists already. If the block raises, nothing becomes visible.

        Parameters
        ----------
        key : the stage's key, hexadecimal
        about : entries of the manifest (kind, configuration, keys of inputs)

        Raises
        ------
        Busy
            When another process builds the artifact: see `watch`.
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
        """Hold the claim on a key within the block; yields False if another process holds it."""
        claim = self.claim(key)
        with contextlib.ExitStack() as stack:
            with cannot_write(self.root):
                claim.parent.mkdir(parents=True, exist_ok=True)
                mine = stack.enter_context(lease.held(claim))
            yield mine

    @contextlib.contextmanager
    def scratch(self, key: str) -> Iterator[Path]:
        """Yield an empty folder, which is deleted after the block unless it was published."""
        folder = self.root / "building" / f"{key[:16]}-{uuid.uuid4().hex[:8]}"
        try:
            with cannot_write(self.root):
                folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def watch(self, key: str) -> Watch:
        """Return an object to poll while another process builds the artifact."""
        return Watch(lambda: key in self, lease.Watch(self.claim(key)).alive)

    def wait(self, key: str) -> None:
        """Wait until the artifact exists or its claim is free."""
        watch = self.watch(key)
        while watch.busy():
            time.sleep(self.poll_seconds)

    def fail(self, key: str, reason: str) -> None:
        """Record that the stage fails: the same key would fail in every run."""
        path = self._failure(key)
        with cannot_write(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, reason)

    def failure(self, key: str) -> str | None:
        """Return why the stage fails; None if no failure is recorded."""
        try:
            return self._failure(key).read_text()
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Protect artifacts that are used within the block from pruning.

        The lease's name holds the start time, because its modification time is renewed.
        """
        users = self.root / "users"
        with contextlib.ExitStack() as stack:
            with cannot_write(self.root):
                users.mkdir(parents=True, exist_ok=True)
                began = f"{self.now()}-{uuid.uuid4().hex}"
                stack.enter_context(lease.held(users / began, retake=True))
            yield

    def now(self) -> int:
        """Return the time in ns by the file system's clock, which may not be this machine's."""
        probe = self.root / f".{uuid.uuid4().hex}"
        probe.touch()
        try:
            return probe.stat().st_mtime_ns
        finally:
            probe.unlink()

    def artifact(self, key: str) -> Path:
        """Return the artifact's path, whether or not it exists."""
        return self.root / "artifacts" / key[:2] / key

    def withdrawn(self, key: str) -> Path:
        """Return the folder that holds the manifest while a prune checks for recent use."""
        return self.root / "trash" / key

    def _failure(self, key: str) -> Path:
        return self.root / "failures" / key[:2] / key

    def claim(self, key: str) -> Path:
        """Return the path of the builder's lease."""
        return self.root / "claims" / key

    def publish(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Move a filled folder to the artifact's place, with its manifest."""
        key = manifest["key"]
        target = self.artifact(key)
        with cannot_write(self.root):
            write_durably(folder / MANIFEST, json.dumps(manifest))
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(folder, target)
            except OSError:
                if key in self:  # a builder that was thought dead has finished: the same bits
                    return
                self.set_aside(target)  # an artifact without a manifest
                os.rename(folder, target)

    def damaged(self) -> set[str]:
        """Return the first 16 digits of the keys of artifacts that were found damaged."""
        with contextlib.suppress(FileNotFoundError):
            return {name[:16] for name in os.listdir(self.root / "damaged")}
        return set()

    def set_aside(self, folder: Path) -> None:
        """Move a damaged artifact to `damaged/`, so that it is computed again."""
        target = self.root / "damaged" / f"{folder.name[:16]}-{uuid.uuid4().hex[:8]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            os.rename(folder, target)


def checksums(folder: Path) -> dict[str, str]:
    """Map each file's path relative to the folder to its SHA-256."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def parse_manifest(content: bytes, key: str) -> dict[str, Any] | None:
    """Parse the manifest of `key`; None if it is damaged or names files outside its folder."""
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
    """Check that a regular file inside the folder has this checksum."""
    path = Path(os.path.realpath(folder / name))
    if not path.is_relative_to(os.path.realpath(folder)) or not path.is_file():
        return False
    try:
        return sha256_of(path) == digest
    except FileNotFoundError:  # removed at this moment
        return False


@dataclass(frozen=True)
class Watch:
    """Polls an artifact that another process builds."""

    made: Callable[[], bool]
    held: Callable[[], bool]

    def busy(self) -> bool:
        """Check again; False once the artifact exists, or its builder has ended."""
        return not self.made() and self.held()
