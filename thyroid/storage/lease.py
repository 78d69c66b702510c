"""A lease: a file that its holder renews as long as the holder is alive.

The file has three words: machine, process, and a unique number. A holder counts as dead when its
process ran on this machine and has ended, or when an observer has seen no renewal for
`LEASE_SECONDS` by the observer's own clock. The clocks of machines are not compared.
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
"""A holder counts as dead if an observer saw no renewal of its file for this long."""


@contextlib.contextmanager
def held(path: Path, *, retake: bool = False) -> Iterator[bool]:
    """Hold the lease in `path` within the block; yields False if another process holds it.

    With `retake`, a lease that was removed while its holder was alive (the machine slept, or the
    file server stalled) is taken again. Use it only for names that nobody else takes.
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
    """Return a name for the scope of process ids: host name, boot and pid namespace.

    The host name alone is not enough: cloned machines and containers may share it.
    """
    words = [socket.gethostname()]
    with contextlib.suppress(OSError):  # some systems lack these files
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        words.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return "/".join(words)


class Watch:
    """Observes the lease in `path` to find out whether its holder is alive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[str, int] | None = None
        self._since = time.monotonic()

    def alive(self) -> bool:
        """Check again; the lease of a dead holder is removed."""
        holder = look(self._path)
        if holder is None:
            return False
        if holder != self._seen:
            self._seen, self._since = holder, time.monotonic()
        silent = time.monotonic() - self._since
        if died_here(holder[0]) or silent > LEASE_SECONDS:
            remove_dead(self._path, holder)
            return False
        return True


def _take(path: Path, mine: str) -> bool:
    """Create the file atomically, because others read it."""
    written = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        written.write_text(mine)
        os.link(written, path)
    except FileExistsError:  # NFS also raises it for a repeated link whose response was lost
        return written.stat().st_nlink == 2
    finally:
        written.unlink(missing_ok=True)
    return True


def look(path: Path) -> tuple[str, int] | None:
    """Return the lease's holder and the time of its last renewal in ns."""
    try:
        return path.read_text(), path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def died_here(holder: str) -> bool:
    """Check whether the holder was a process of this machine that has ended."""
    named = holder.split()
    if len(named) != 3 or named[0] != here():  # an empty file after a power cut, or another machine
        return False
    pid = named[1]
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def remove_dead(path: Path, dead: tuple[str, int]) -> None:
    """Remove a dead holder's file, as `look` returned it.

    If the lease was renewed in the meantime, or taken by another holder, it is put back.
    """
    moved = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, moved)
        if look(moved) != dead:
            with contextlib.suppress(FileExistsError):
                os.link(moved, path)
        moved.unlink()


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
        except FileNotFoundError:  # removed, or about to be put back
            if retake:
                with contextlib.suppress(OSError):
                    _take(path, mine)
        except OSError:  # the file server fails: try again before the lease expires
            continue
