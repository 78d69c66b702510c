"""A run folder in a bucket: commands work in a copy of it on this machine, which goes up as it
changes.

What a crash leaves behind in the copy is not believed: the bucket has the truth, at most some
seconds old, and the store has the stages.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from thyroid.errors import InputError, StorageError
from thyroid.files import cannot_write, locked
from thyroid.storage.bucket import Bucket, Lease, Watch, bucket_url
from thyroid.storage.cache import cache_folder

PUSH_EVERY_S = 5.0
LEASE = "working"
"""Name, in the bucket, of what says who works on the run."""
NOT_MIRRORED = ("store", "tune")
"""The run's artifacts, which are in the bucket as such, and what Ray Tune scribbles."""


def from_buckets(command: Callable[..., None], *, alone: bool) -> Callable[..., None]:
    """A command that also takes the URL of a bucket as its run; the store is there, too.

    Parameters
    ----------
    alone : whether it fills the run, where no other may be at work; else it reads one
    """

    @functools.wraps(command)
    def mirrored(*args: object, **options: object) -> None:
        call = inspect.signature(command).bind(*args, **options)
        url = bucket_url(call.arguments["run"])
        if url is None:
            command(*args, **options)
            return
        if "store" in call.signature.parameters and call.arguments.get("store") is None:
            call.arguments["store"] = call.arguments["run"] / "store"
        with at_hand(url, alone=alone) as folder:
            call.arguments["run"] = folder
            command(*call.args, **call.kwargs)
        print(f"run: {url}")

    return mirrored


@contextlib.contextmanager
def at_hand(url: str, *, alone: bool) -> Iterator[Path]:
    """A copy of the run at a URL, whose changes go up within the block and at its end.

    Raises
    ------
    InputError
        When another command works on the run, or there is none to read.
    StorageError
        When the bucket cannot be used.
    """
    name = f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    folder, bucket = cache_folder("runs") / name, Bucket(url)
    with contextlib.ExitStack() as stack:
        works = f"Another thyroid command of this machine works on {url}."
        stack.enter_context(locked(folder.with_name(f".{name}.lock"), works))
        if alone:
            _own(bucket, stack)
        mirror = _Mirror(bucket, folder)
        mirror.pull()
        if not alone and not any(folder.iterdir()):
            raise InputError(f"There is no run at {url}.")
        stack.enter_context(mirror.kept_up())
        yield folder


def _own(bucket: Bucket, stack: contextlib.ExitStack) -> None:
    """Hold the run's lease; wait until that of a dead command is over."""
    while not stack.enter_context(Lease(bucket, LEASE).held()):
        watch, seen = Watch(bucket, LEASE), bucket.get(LEASE)
        while watch.alive():
            if bucket.get(LEASE) not in (seen, None):
                raise InputError(
                    f"Another thyroid command works in {bucket.url}: wait for it or choose "
                    "another run."
                )
            time.sleep(1)


class _Mirror:
    """What lies below a URL, and its copy."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self._bucket, self._folder = bucket, folder
        self._there: dict[str, tuple[int, int]] = {}
        """What the bucket has: name -> time and size of the copy."""

    def pull(self) -> None:
        """Make the copy."""
        with cannot_write(self._folder):
            if self._folder.exists():
                shutil.rmtree(self._folder)
            self._folder.mkdir()
            for name in self._bucket.names_without(NOT_MIRRORED):
                path = self._folder / name
                if name != LEASE and path.resolve().is_relative_to(self._folder.resolve()):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._bucket.fetch(name, path)
        self._there = self._here()

    @contextlib.contextmanager
    def kept_up(self) -> Iterator[None]:
        """Push every few seconds within the block, and at its end."""
        over = threading.Event()
        pushing = threading.Thread(target=self._push_often, args=(over,), daemon=True)
        pushing.start()
        try:
            yield
        except BaseException:
            self._end(pushing, over)
            with contextlib.suppress(StorageError):  # what ended the block is to be told
                self.push()
            raise
        self._end(pushing, over)
        self.push()

    def push(self) -> None:
        """Have the bucket hold what the copy holds."""
        now = self._here()
        for name in now:
            if now[name] != self._there.get(name):
                with contextlib.suppress(FileNotFoundError):  # removed in this moment
                    self._bucket.put(name, (self._folder / name).read_bytes())
                    self._there[name] = now[name]
        for name in self._there.keys() - now.keys():
            self._bucket.delete(name)
            del self._there[name]

    def _push_often(self, over: threading.Event) -> None:
        while not over.wait(PUSH_EVERY_S):
            with contextlib.suppress(StorageError, OSError):  # the last one tells
                self.push()

    def _end(self, pushing: threading.Thread, over: threading.Event) -> None:
        over.set()
        pushing.join()

    def _here(self) -> dict[str, tuple[int, int]]:
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
