"""A file that says who is at work on something, renewed while they live.

The file has three words: machine, process, and a number of this lease alone. Dead is who ran on
this machine and runs no more, or whose file did not move for a lease by our own clock while we
watched: machines' clocks are not compared.
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
def held(path: Path, *, retake: bool = False) -> Iterator[bool]:
    """Hold the lease in `path` within the block; False where somebody else holds it.

    With `retake`, a lease that was buried while its holder lived (their machine slept, or the file
    server stalled) is taken again: where nobody else takes one of this name.
    """
    mine = f"{here()} {os.getpid()} {uuid.uuid4().hex}"
    done = threading.Event()
    heartbeat = threading.Thread(target=_renew, args=(path, mine, done, retake), daemon=True)
    try:
        taken = _take(path, mine)
        if taken:
            heartbeat.start()
        yield taken
    finally:
        done.set()
        if heartbeat.is_alive():
            heartbeat.join()
        _release(path, mine)


def here() -> str:
    """Where a process id means one process: the machine's name, its boot, the ids' namespace.

    Cloned machines and containers may share a name.
    """
    words = [socket.gethostname()]
    with contextlib.suppress(OSError):  # not every system has these
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        words.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return "/".join(words)


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
            bury(self._path, holder)
            return False
        return True


def _take(path: Path, mine: str) -> bool:
    """Create the file; whole or not at all, for others read it."""
    written = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        written.write_text(mine)
        os.link(written, path)
    except FileExistsError:  # also when NFS repeats a link whose answer was lost
        return written.stat().st_nlink == 2
    finally:
        written.unlink(missing_ok=True)
    return True


def look(path: Path) -> tuple[str, int] | None:
    """Who holds the lease, and when it was last renewed."""
    try:
        return path.read_text(), path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def died_here(holder: str) -> bool:
    """Whether the holder was a process that we would see, and is no more."""
    named = holder.split()
    if len(named) != 3 or named[0] != here():  # empty after a power cut, or elsewhere
        return False
    pid = named[1]
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def bury(path: Path, dead: tuple[str, int]) -> None:
    """Remove a dead holder's file, as `look` saw it.

    If it was renewed meanwhile, or another has taken its place, that is put back.
    """
    grave = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, grave)
        if look(grave) != dead:
            with contextlib.suppress(FileExistsError):
                os.link(grave, path)
        grave.unlink()


def _release(path: Path, mine: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == mine:
            path.unlink()


def _renew(path: Path, mine: str, done: threading.Event, retake: bool) -> None:
    while not done.wait(LEASE_SECONDS / 6):
        try:
            if path.read_text() != mine:
                return
            os.utime(path)
        except FileNotFoundError:  # buried, or about to be put back
            if retake:
                with contextlib.suppress(OSError):
                    _take(path, mine)
        except OSError:  # a file server that stumbles: once more, before the lease is over
            continue
