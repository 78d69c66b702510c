"""Lists and verifies the contents of a store in a folder.

Links are not followed, and files whose names are not the store's are ignored.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from thyroid.errors import InputError
from thyroid.storage import lease
from thyroid.storage.bucket import bucket_url
from thyroid.storage.store import MANIFEST, Store

FOLDERS = ("artifacts", "failures", "claims", "building", "damaged", "users", "trash")

_FIRST_OF_KEY = re.compile(r"[0-9a-f]{2}")
_KEY = re.compile(r"[0-9a-f]{64}")
_SCRATCH = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}")
_TRASH = re.compile(rf"{_SCRATCH.pattern}|{_KEY.pattern}")
_CLAIM = re.compile(r"([0-9a-f]{64}|prune)(\.[0-9a-f]{32})*")
_USER = re.compile(r"[0-9]+-[0-9a-f]{32}(\.[0-9a-f]{32})*")

Advance = Callable[[int, int], None]
"""advance(done, total)."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """An artifact, as its manifest describes it."""

    folder: Path
    kind: str
    size: int
    """Size in bytes."""
    seconds: float
    """Compute time of the stage."""
    used: int
    """Time of the last use. All times here are ns by the clock of the store's file system."""

    @property
    def key(self) -> str:
        """The stage's key."""
        return self.folder.name


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A stage that failed, and the reason."""

    path: Path
    reason: str
    since: int


@dataclass(frozen=True, kw_only=True)
class Command:
    """A running command that uses the store."""

    machine: str
    process: str
    began: int


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A claim or a command's lease, as it was found."""

    path: Path
    holder: str
    renewed: int
    alive: bool


@dataclass(frozen=True, kw_only=True)
class Scrap:
    """A folder or file that is not an artifact, or is not one any more."""

    path: Path
    what: str
    """unfinished, damaged, half removed, or lease."""
    size: int
    """Size in bytes."""
    left_over: bool = True
    """False while a living process works on it."""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The contents of a store."""

    now: int
    artifacts: Sequence[Artifact]
    failures: Sequence[Failure]
    scraps: Sequence[Scrap]
    commands: Sequence[Command]


def existing(place: Path) -> Store:
    """Return the store in a folder.

    Raises
    ------
    InputError
        When there is no store, one of its folders is a link, or it is in a bucket.
    """
    url = bucket_url(place)
    if url is not None:
        raise InputError(
            f"{url} is in a bucket: remove old artifacts there by a lifecycle rule of the bucket; "
            "they are computed again when needed."
        )
    store = Store(place.absolute())
    if not (place / "artifacts").is_dir() and not (place / "claims").is_dir():
        hint = f": name {place / 'store'}" if (place / "store").is_dir() else ""
        raise InputError(f"{place} is not a store of artifacts{hint}.")
    for name in FOLDERS:
        if (place / name).is_symlink():
            raise InputError(f"{place / name} is a link: nothing outside {place} is touched.")
    return store


def take_inventory(store: Store) -> Inventory:
    """List the store's contents. Nothing is changed, and this counts as no use."""
    try:
        now = store.now()
    except OSError:  # the store is read-only
        now = time.time_ns()
    folders = [(folder, read_artifact(folder)) for folder in _by_key(store.root / "artifacts")]
    names = {"building": _SCRATCH, "damaged": _SCRATCH, "trash": _TRASH}
    scratch = {name: list(_entries(store.root / name, names[name])) for name in names}
    # Every user of what is listed above took a lease before that, so leases are read last
    leases = [*_leases(store, "claims", _CLAIM, now), *_leases(store, "users", _USER, now)]
    living = [held.path.name for held in leases if held.alive]
    at_work = commands(store, now)

    scraps = []
    for path in scratch["building"]:
        claim = any(name.startswith(path.name[:16]) for name in living)
        left_over = not claim and _time(path) < oldest(at_work)
        scraps.append(Scrap(path=path, what="unfinished", size=_size(path), left_over=left_over))
    for path, artifact in folders:
        if artifact is None and path.exists():
            left_over = path.name not in living
            scraps.append(Scrap(path=path, what="damaged", size=_size(path), left_over=left_over))
    for name, what in (("damaged", "damaged"), ("trash", "half removed")):
        scraps += [Scrap(path=path, what=what, size=_size(path)) for path in scratch[name]]
    scraps += [Scrap(path=held.path, what="lease", size=0) for held in leases if not held.alive]
    return Inventory(
        now=now,
        artifacts=[artifact for _, artifact in folders if artifact is not None],
        failures=sorted(_failures(store), key=lambda failure: failure.since),
        scraps=scraps,
        commands=at_work,
    )


def verify(store: Store, advance: Advance) -> tuple[int, list[str]]:
    """Verify every artifact's checksums without counting this as a use; set damaged ones aside.

    Returns
    -------
    number of artifacts, and a name for each damaged one
    """
    folders = list(_by_key(store.root / "artifacts"))
    before = _set_aside(store)
    damaged = []
    for done, folder in enumerate(folders, start=1):
        artifact = read_artifact(folder)
        if not store.intact(folder.name):
            if not (folder / MANIFEST).exists():
                with store.claimed(folder.name) as mine:  # no process builds or prunes it now
                    if mine and folder.name not in store:
                        store.set_aside(folder)
            new = _set_aside(store) - before
            if any(name.startswith(f"{folder.name[:16]}-") for name in new):  # else it was pruned
                kind = "unknown" if artifact is None else artifact.kind
                damaged.append(f"{kind} {folder.name[:12]}")
        advance(done, len(folders))
    return len(folders), damaged


def read_artifact(folder: Path) -> Artifact | None:
    """Read an artifact's manifest; None if it is missing or damaged."""
    path = folder / MANIFEST
    if path.is_symlink():
        return None
    try:
        manifest = json.loads(path.read_text())
        if manifest["key"] != folder.name or not isinstance(manifest["files"], dict):
            return None
        return Artifact(
            folder=folder,
            kind=str(manifest.get("kind", "unknown")),
            size=_size(folder),
            seconds=float(manifest["seconds"]),
            used=path.stat().st_mtime_ns,
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def commands(store: Store, now: int) -> list[Command]:
    """Return the running commands, the oldest first."""
    found = []
    for held in _leases(store, "users", _USER, now):
        began = held.path.name.partition("-")[0]
        place, process = [*held.holder.split(), "unknown", "unknown"][:2]
        machine = place.partition("/")[0]
        if held.alive:
            found.append(Command(machine=machine, process=process, began=int(began)))
    return sorted(found, key=lambda command: command.began)


def oldest(at_work: Sequence[Command]) -> float:
    """Return when the oldest command began: what was used since then may be needed."""
    return min((command.began for command in at_work), default=math.inf)


def read_lease(path: Path, now: int) -> Lease | None:
    """Read a lease and find out whether its holder is alive; None if there is no lease.

    Renewals and `now` come from the same clock, so one look is enough; `lease.Watch` needs a minute
    to see that a holder on another machine is dead.
    """
    seen = lease.look(path)
    if seen is None:
        return None
    holder, renewed = seen
    alive = now - renewed <= lease.LEASE_SECONDS * 1e9
    if len(holder.split()) == 3 and lease.died_here(holder):
        alive = False
    return Lease(path=path, holder=holder, renewed=renewed, alive=alive)


def _leases(store: Store, folder: str, names: re.Pattern[str], now: int) -> Iterator[Lease]:
    for path in _entries(store.root / folder, names, files=True):
        held = read_lease(path, now)
        if held is not None:
            yield held


def _set_aside(store: Store) -> set[str]:
    """Return the names of the artifacts in `damaged/`."""
    return {path.name for path in _entries(store.root / "damaged", _SCRATCH)}


def _failures(store: Store) -> Iterator[Failure]:
    for path in _by_key(store.root / "failures", files=True):
        with contextlib.suppress(FileNotFoundError):
            yield Failure(path=path, reason=path.read_text().strip(), since=_time(path))


def _by_key(folder: Path, *, files: bool = False) -> Iterator[Path]:
    """Yield the folders, or the files, at KE/KEY."""
    for first in _entries(folder, _FIRST_OF_KEY):
        yield from _entries(first, _KEY, files=files)


def _entries(folder: Path, names: re.Pattern[str], *, files: bool = False) -> Iterator[Path]:
    """Yield the folders, or the files, with such names; links are left out."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        is_one = entry.is_file if files else entry.is_dir
        if names.fullmatch(entry.name) and is_one(follow_symlinks=False):
            yield Path(entry.path)


def _time(path: Path) -> int:
    """Return the modification time; 0 if the path is gone."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _size(folder: Path) -> int:
    total = 0
    for inside, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(inside, name)).st_size
    return total
