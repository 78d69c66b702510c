"""A file that says who is at work on something, renewed while they live.

Dead is who ran on this machine and runs no more, or whose file did not move for a lease by our own
clock while we watched: machines' clocks are not compared.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

LEASE_SECONDS = 60.0
"""A holder whose file did not move for so long, while we watched, is dead."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lease in `path` within the block; False where somebody else holds it."""
    mine = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
    if not _take(path, mine):
        yield False
        return
    done = threading.Event()
    heartbeat = threading.Thread(target=_renew, args=(path, mine, done), daemon=True)
    heartbeat.start()
    try:
        yield True
    finally:
        done.set()
        heartbeat.join()
        _release(path, mine)


class Watch:
    """Whether the lease in `path` is still held by somebody who lives, as far as we have seen."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[str, int] | None = None
        self._since = time.monotonic()

    def alive(self) -> bool:
        """Look again; the lease of a dead holder is removed."""
        holder = look(self._path)
        if holder is None:
            return False
        if holder != self._seen:
            self._seen, self._since = holder, time.monotonic()
        silent = time.monotonic() - self._since
        if died_here(holder[0]) or silent > LEASE_SECONDS:
            bury(self._path, holder[0])
            return False
        return True


def _take(path: Path, mine: str) -> bool:
    """Create the file; whole or not at all, for others read it."""
    written = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    written.write_text(mine)
    try:
        os.link(written, path)
    except FileExistsError:
        return False
    finally:
        written.unlink()
    return True


def look(path: Path) -> tuple[str, int] | None:
    """Who holds the lease, and when it was last renewed."""
    try:
        return path.read_text(), path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def died_here(holder: str) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    named = holder.split()
    if len(named) != 3 or named[0] != socket.gethostname():  # empty after a power cut, or elsewhere
        return False
    pid = named[1]
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def bury(path: Path, dead: str) -> None:
    """Remove a dead holder's file; if another has taken its place meanwhile, put that back."""
    grave = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, grave)
        if grave.read_text() != dead:
            with contextlib.suppress(FileExistsError):
                os.link(grave, path)
        grave.unlink()


def _release(path: Path, mine: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == mine:
            path.unlink()


def _renew(path: Path, mine: str, done: threading.Event) -> None:
    while not done.wait(LEASE_SECONDS / 6):
        try:
            if path.read_text() != mine:
                return
            os.utime(path)
        except FileNotFoundError:
            return
        except OSError:  # a file server that stumbles: once more, before the lease is over
            continue
