"""A run folder in a bucket: commands work in a local copy, whose changes are uploaded.

The bucket has the valid state, at most some seconds old, and the store has the stages; a copy that
a crash left behind is therefore replaced by a new download.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from thyroid.errors import InputError, StorageError
from thyroid.files import cannot_write, locked
from thyroid.storage.bucket import Bucket, Lease, Watch
from thyroid.storage.cache import cache_folder

PUSH_EVERY_S = 5.0
LEASE = "working"
"""Name, in the bucket, of the lease of the command that fills the run."""
NOT_MIRRORED = ("store", "tune")
"""The run's store, which has its own place in the bucket, and Ray Tune's own files."""


@contextlib.contextmanager
def local_copy(url: str, *, alone: bool) -> Iterator[Path]:
    """Yield a copy of the run at a URL, and upload its changes during and after the block.

    Raises
    ------
    InputError
        When another command works on the run, or there is no run to read.
    StorageError
        When the bucket cannot be used.
    """
    name = f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    folder, bucket = cache_folder("runs") / name, Bucket(url)
    with contextlib.ExitStack() as stack:
        works = f"Another thyroid command on this machine is using {url}."
        stack.enter_context(locked(folder.with_name(f".{name}.lock"), works))
        if alone:
            _hold_lease(bucket, stack)
        mirror = _Mirror(bucket, folder)
        mirror.pull()
        if not alone and not any(folder.iterdir()):
            raise InputError(f"There is no run at {url}.")
        stack.enter_context(mirror.kept_up())
        yield folder


def _hold_lease(bucket: Bucket, stack: contextlib.ExitStack) -> None:
    """Hold the run's lease; wait until the lease of a dead command expires."""
    while not stack.enter_context(Lease(bucket, LEASE).held()):
        watch, seen = Watch(bucket, LEASE), bucket.get(LEASE)
        while watch.alive():
            if bucket.get(LEASE) not in (seen, None):
                raise InputError(
                    f"Another thyroid command is using {bucket.url}: wait until it ends, or choose "
                    "another run."
                )
            time.sleep(1)


class _Mirror:
    """The objects below a URL and their copy in a folder."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self._bucket, self._folder = bucket, folder
        self._uploaded: dict[str, tuple[int, int]] = {}
        """Name of each object -> modification time and size of its copy."""

    def pull(self) -> None:
        """Download all objects."""
        with cannot_write(self._folder):
            if self._folder.exists():
                shutil.rmtree(self._folder)
            self._folder.mkdir()
            for name in self._bucket.names_without(NOT_MIRRORED):
                path = self._folder / name
                if name != LEASE and path.resolve().is_relative_to(self._folder.resolve()):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._bucket.fetch(name, path)
        self._uploaded = self._local()

    @contextlib.contextmanager
    def kept_up(self) -> Iterator[None]:
        """Push every few seconds during the block, and once after it."""
        over = threading.Event()
        pushing = threading.Thread(target=self._push_often, args=(over,), daemon=True)
        pushing.start()
        try:
            yield
        except BaseException:
            self._end(pushing, over)
            with contextlib.suppress(StorageError):  # the block's own error matters more
                self.push()
            raise
        self._end(pushing, over)
        self.push()

    def push(self) -> None:
        """Upload changed files, and delete the objects of removed ones."""
        now = self._local()
        for name in now:
            if now[name] != self._uploaded.get(name):
                with contextlib.suppress(FileNotFoundError):  # removed at this moment
                    self._bucket.put(name, (self._folder / name).read_bytes())
                    self._uploaded[name] = now[name]
        for name in self._uploaded.keys() - now.keys():
            self._bucket.delete(name)
            del self._uploaded[name]

    def _push_often(self, over: threading.Event) -> None:
        while not over.wait(PUSH_EVERY_S):
            with contextlib.suppress(StorageError, OSError):  # the last push raises
                self.push()

    def _end(self, pushing: threading.Thread, over: threading.Event) -> None:
        over.set()
        pushing.join()

    def _local(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in self._folder.rglob("*"):
            parts = path.relative_to(self._folder).parts
            if parts[0] in NOT_MIRRORED or any(part.startswith(".") for part in parts):
                continue
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    stat = path.stat()
                    found["/".join(parts)] = (stat.st_mtime_ns, stat.st_size)
        return found
