"""Prepares this machine for a Ray that starts on it: a place for its sockets, a token, open files.

A machine that Ray's own choices do not suit (a long TMPDIR, no home directory, a folder that is
another user's) is met by others, which are told; one that no choice suits is told, too.
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
"""Bytes that the path of a socket may have on Linux."""
IN_A_SESSION = "/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.12"
"""Path of a socket below the folder that Ray is given."""
SHARED_MEMORY = Path("/dev/shm")
LEAST_SPACE = 10**8
"""Bytes for logs and for what does not fit into shared memory."""
OWN = f"ray-of-{os.getuid()}"
"""Folder of this user's that is made where Ray's own cannot be used."""
OTHERS = (Path("/tmp"), Path("/var/tmp"), SHARED_MEMORY)
OPEN_FILES = 65_536
LEAST_OPEN_FILES = 1024
"""With fewer a Ray of many processes runs out of them; 256 were enough on two processors."""
OBJECTS_WITHOUT_SHARED_MEMORY = 10**9
"""Bytes for objects in files, where there is no shared memory."""
LOCAL = "127.0.0.1,localhost"


def prepare() -> dict[str, Any]:
    """Set what a Ray started here finds in the environment; its further arguments for `ray.init`.

    Raises
    ------
    InputError
        When this machine has no place for its sockets.
    """
    base = _base()
    os.environ["RAY_TMPDIR"] = str(base)
    _have_token()
    _raise_file_limit()
    for name in ("no_proxy", "NO_PROXY"):  # Ray's processes talk to each other
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
    """Return what this machine most likely lacks, and what to do, after Ray did not start."""
    base = Path(os.environ["RAY_TMPDIR"])
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    load = os.getloadavg()[0]
    if shutil.disk_usage(base / "ray").free < LEAST_SPACE:
        return f"the disk of {base} is full: free space there, or set RAY_TMPDIR to another folder"
    if free_memory() < 10**9:
        return f"{free_memory() / 1e9:.1f} GB of memory are free: end other programs"
    if load > 2 * cores():
        return (
            f"{load:.0f} processes share {cores()} processors and its parts wait for each other no "
            "longer than half a minute: run the same command again when there is less to do"
        )
    if limit != resource.RLIM_INFINITY and limit < LEAST_OPEN_FILES:
        return f"it may open {limit} files: raise the limit (`ulimit -n {LEAST_OPEN_FILES}`)"
    return f"{base}/ray/session_latest/logs has the reason; run the same command again"


def _base() -> Path:
    """Return the folder of Ray's sessions: Ray's own choice where that works, else a short one."""
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
        f"you may write, whose path has at most {LONGEST_SOCKET - len(IN_A_SESSION)} bytes."
    )


def _refusal(base: Path) -> str | None:
    """Return why Ray's sessions cannot lie in a folder; None if they can."""
    if len(os.fsencode(base.absolute())) + len(IN_A_SESSION) > LONGEST_SOCKET:
        return "is too long for the path of a socket"
    folder = base / "ray"
    try:
        if base.name == OWN:
            base.mkdir(mode=0o700, exist_ok=True)
            if not _mine(base):
                return "is another user's"
        new = not folder.exists()
        folder.mkdir(exist_ok=True)
        if new:
            folder.chmod(0o777)  # as Ray makes it, for all users of the machine
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
    """Give a token by the environment where Ray cannot keep its own in the home directory."""
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
            token.unlink()  # Ray writes it
    except (OSError, RuntimeError):  # no such folder, not ours, read-only; or no home at all
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _raise_file_limit() -> None:
    """Let Ray's processes open as many files as this user may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
