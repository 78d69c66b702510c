"""Prepares this machine for a Ray that starts on it: a place for its sockets, a token, open files.

If Ray's defaults do not work on a machine (a long TMPDIR, no home directory, a folder of another
user), other choices are made and reported; if no choice works, an error says why.
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

from thyroid.errors import InputError
from thyroid.machine import cores, free_memory
from thyroid.progress import say

LONGEST_SOCKET = 107
"""Longest path of a socket on Linux, in bytes."""
IN_A_SESSION = "/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.12"
"""Longest path of a socket below the folder that Ray is given."""
SHARED_MEMORY = Path("/dev/shm")
LEAST_SPACE = 10**8
"""Bytes needed on the disk for logs and for objects that do not fit into shared memory."""
OWN = f"ray-of-{os.getuid()}"
"""Folder of this user that is made if Ray's own folder cannot be used."""
OTHERS = (Path("/tmp"), Path("/var/tmp"), SHARED_MEMORY)
OPEN_FILES = 65_536
LEAST_OPEN_FILES = 1024
"""With fewer open files, a Ray of many processes fails; 256 were enough on two processors."""
OBJECTS_WITHOUT_SHARED_MEMORY = 10**9
"""Bytes for objects in files, if there is no shared memory."""
LOCAL = "127.0.0.1,localhost"


def prepare() -> dict[str, Any]:
    """Set the environment for a Ray that is started here; return further arguments of `ray.init`.

    Raises
    ------
    InputError
        When this machine has no place for Ray's sockets.
    """
    base = _base()
    os.environ["RAY_TMPDIR"] = str(base)
    _have_token()
    _raise_file_limit()
    for name in ("no_proxy", "NO_PROXY"):  # Ray's processes must reach each other directly
        there = os.environ.get(name)
        if there != "*" and LOCAL not in (there or ""):
            os.environ[name] = f"{there},{LOCAL}" if there else LOCAL
    if os.access(SHARED_MEMORY, os.R_OK | os.W_OK | os.X_OK) and SHARED_MEMORY.is_dir():
        return {}
    return {
        "object_store_memory": OBJECTS_WITHOUT_SHARED_MEMORY,
        "_plasma_directory": str(base),
    }


def lacking() -> str:
    """Return the likely reason why Ray did not start on this machine, and what to do."""
    base = Path(os.environ["RAY_TMPDIR"])
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if shutil.disk_usage(base / "ray").free < LEAST_SPACE:
        return f"the disk of {base} is full: free space there, or set RAY_TMPDIR to another folder"
    if free_memory() < 10**9:
        return f"{free_memory() / 1e9:.1f} GB of memory are free: end other programs"
    if busy():
        return (
            f"{os.getloadavg()[0]:.0f} processes share {cores()} processors and Ray's parts wait "
            "for each other no longer than half a minute: run the same command again when the "
            "machine is less busy"
        )
    if limit != resource.RLIM_INFINITY and limit < LEAST_OPEN_FILES:
        return f"Ray may open only {limit} files: raise the limit (`ulimit -n {LEAST_OPEN_FILES}`)"
    return f"{base}/ray/session_latest/logs has the reason; run the same command again"


def busy() -> bool:
    """Return True if other programs make the machine so busy that Ray's start may time out."""
    return os.getloadavg()[0] > 2 * cores()


def _base() -> Path:
    """Return the folder of Ray's sessions: Ray's own choice if that works, else a short path."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if os.environ.get(name):
            own, called = Path(os.environ[name]), f"{name} {os.environ[name]}"
            break
    else:
        own = Path("/tmp")
        called = str(own)
    refusal = _refusal(own)
    if refusal is None:
        return own
    for place in (Path("/tmp"), *(above / OWN for above in OTHERS)):
        if _refusal(place) is None:
            say(f"Ray's files go to {place / 'ray'}: {called} {refusal}.")
            return place
    raise InputError(
        f"Ray finds no place for its sockets: {called} {refusal}; set RAY_TMPDIR to a folder that "
        f"you may write to and whose path has at most {LONGEST_SOCKET - len(IN_A_SESSION)} bytes."
    )


def _refusal(base: Path) -> str | None:
    """Return the reason why a folder cannot hold Ray's sessions; None if it can."""
    if len(os.fsencode(base.absolute())) + len(IN_A_SESSION) > LONGEST_SOCKET:
        return "is too long for the path of a socket"
    folder = base / "ray"
    try:
        if base.name == OWN:
            base.mkdir(mode=0o700, exist_ok=True)
            if not _mine(base):
                return "belongs to another user"
        new = not folder.exists()
        folder.mkdir(exist_ok=True)
        if new:
            folder.chmod(0o777)  # like Ray's own folder, for all users of the machine
        with tempfile.TemporaryDirectory(dir=folder) as probe, socket.socket(socket.AF_UNIX) as it:
            it.bind(f"{probe}/s")
        if shutil.disk_usage(folder).free < LEAST_SPACE:
            return "has no space left"
    except OSError as refused:
        return f"cannot be used ({refused.strerror or refused})"
    return None


def _mine(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _have_token() -> None:
    """Set a token in the environment if Ray cannot keep its own in the home directory."""
    set_already = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if set_already or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    try:
        token = Path.home() / ".ray" / "auth_token"
        token.parent.mkdir(parents=True, exist_ok=True)
        with token.open("a+") as file:
            file.seek(0)
            file.read(1)
        if not token.stat().st_size:
            token.unlink()  # Ray writes a missing token, but not an empty one
    except (OSError, RuntimeError):  # no such folder, another user's, read-only; or no home
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _raise_file_limit() -> None:
    """Let Ray's processes open as many files as this user is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
