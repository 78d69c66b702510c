"""What a store holds, and whether it is intact.

Links are not followed, and what is not named as the store names things is not seen.
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

PARTS = ("artifacts", "failures", "claims", "building", "damaged", "users", "trash")

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
    """An artifact as its manifest has it."""

    folder: Path
    kind: str
    size: int
    """In bytes."""
    seconds: float
    """That the stage took."""
    used: int
    """When it was last used, in ns by the store's clock, as are all times here."""

    @property
    def key(self) -> str:
        """Of the stage that it is of."""
        return self.folder.name


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a stage cannot finish."""

    path: Path
    reason: str
    since: int


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command at work in the store."""

    machine: str
    process: str
    began: int


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A claim, or a command's lease."""

    path: Path
    holder: str
    renewed: int
    lives: bool


@dataclass(frozen=True, kw_only=True)
class Scrap:
    """Something that is no artifact, or none any more."""

    path: Path
    what: str
    """unfinished, damaged, half removed, or lease."""
    size: int
    """In bytes."""
    left_over: bool = True
    """Whether nobody who lives is at it."""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What a store holds."""

    now: int
    artifacts: Sequence[Artifact]
    failures: Sequence[Failure]
    scraps: Sequence[Scrap]
    commands: Sequence[Command]


def existing(place: Path) -> Store:
    """The store in a folder.

    Raises
    ------
    InputError
        When there is none, or a part of it lies behind a link, or it is in a bucket.
    """
    url = bucket_url(place)
    if url is not None:
        raise InputError(
            f"{url} is in a bucket: a lifecycle rule of its own makes room there, and what is gone "
            "is computed again."
        )
    store = Store(place.absolute())
    if not (place / "artifacts").is_dir() and not (place / "claims").is_dir():
        hint = f": name {place / 'store'}" if (place / "store").is_dir() else ""
        raise InputError(f"{place} is no store of artifacts{hint}.")
    for part in PARTS:
        if (place / part).is_symlink():
            raise InputError(f"{place / part} is a link: nothing outside {place} is touched.")
    return store


def take_inventory(store: Store) -> Inventory:
    """What the store holds; nothing is changed, and no artifact used."""
    try:
        now = store.now()
    except OSError:  # it is for reading only
        now = time.time_ns()
    folders = [
        (folder, read_artifact(folder))
        for first in _entries(store.root / "artifacts", _FIRST_OF_KEY)
        for folder in _entries(first, _KEY)
    ]
    names = {"building": _SCRATCH, "damaged": _SCRATCH, "trash": _TRASH}
    scratch = {part: list(_entries(store.root / part, names[part])) for part in names}
    # Whoever used what is seen above held a lease before: leases are looked at last
    leases = [*_leases(store, "claims", _CLAIM, now), *_leases(store, "users", _USER, now)]
    living = [held.path.name for held in leases if held.lives]
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
    for part, what in (("damaged", "damaged"), ("trash", "half removed")):
        scraps += [Scrap(path=path, what=what, size=_size(path)) for path in scratch[part]]
    scraps += [Scrap(path=held.path, what="lease", size=0) for held in leases if not held.lives]
    return Inventory(
        now=now,
        artifacts=[artifact for _, artifact in folders if artifact is not None],
        failures=sorted(_failures(store), key=lambda failure: failure.since),
        scraps=scraps,
        commands=at_work,
    )


def verify(store: Store, advance: Advance) -> tuple[int, list[str]]:
    """Check every artifact against its checksums, which is no use of it.

    Returns how many there are, and the name of each damaged one, which has been set aside.
    """
    folders = [
        folder
        for first in _entries(store.root / "artifacts", _FIRST_OF_KEY)
        for folder in _entries(first, _KEY)
    ]
    before = _set_aside(store)
    damaged = []
    for done, folder in enumerate(folders, start=1):
        artifact = read_artifact(folder)
        if not store.intact(folder.name):
            if not (folder / MANIFEST).exists():
                with store.claimed(folder.name) as mine:  # nobody builds or prunes it now
                    if mine and folder.name not in store:
                        store.set_aside(folder)
            new = _set_aside(store) - before
            if any(name.startswith(f"{folder.name[:16]}-") for name in new):  # else it was pruned
                kind = "unknown" if artifact is None else artifact.kind
                damaged.append(f"{kind} {folder.name[:12]}")
        advance(done, len(folders))
    return len(folders), damaged


def read_artifact(folder: Path) -> Artifact | None:
    """What a manifest says; None without one that is whole."""
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
            seconds=float(manifest.get("seconds", 0.0)),  # older manifests do not say
            used=path.stat().st_mtime_ns,
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def commands(store: Store, now: int) -> list[Command]:
    """Those at work, the oldest first."""
    found = []
    for held in _leases(store, "users", _USER, now):
        began = held.path.name.partition("-")[0]
        place, process = [*held.holder.split(), "unknown", "unknown"][:2]
        machine = place.partition("/")[0]
        if held.lives:
            found.append(Command(machine=machine, process=process, began=int(began)))
    return sorted(found, key=lambda command: command.began)


def oldest(at_work: Sequence[Command]) -> float:
    """When the oldest command at work began: what was used since then may be needed."""
    return min((command.began for command in at_work), default=math.inf)


def read_lease(path: Path, now: int) -> Lease | None:
    """Who holds a lease, and whether they live.

    Renewals and `now` are times of the same clock, so one look is enough, where `lease.Watch`
    needs a minute to tell that a holder on another machine is dead.
    """
    seen = lease.look(path)
    if seen is None:
        return None
    holder, renewed = seen
    lives = now - renewed <= lease.LEASE_SECONDS * 1e9
    if len(holder.split()) == 3 and lease.died_here(holder):
        lives = False
    return Lease(path=path, holder=holder, renewed=renewed, lives=lives)


def _leases(store: Store, part: str, names: re.Pattern[str], now: int) -> Iterator[Lease]:
    for path in _entries(store.root / part, names, files=True):
        held = read_lease(path, now)
        if held is not None:
            yield held


def _set_aside(store: Store) -> set[str]:
    """Names of the damaged artifacts that were taken out of the way."""
    return {path.name for path in _entries(store.root / "damaged", _SCRATCH)}


def _failures(store: Store) -> Iterator[Failure]:
    for first in _entries(store.root / "failures", _FIRST_OF_KEY):
        for path in _entries(first, _KEY, files=True):
            with contextlib.suppress(FileNotFoundError):
                yield Failure(path=path, reason=path.read_text().strip(), since=_time(path))


def _entries(folder: Path, names: re.Pattern[str], *, files: bool = False) -> Iterator[Path]:
    """The folders, or files, of such names: no links."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        is_one = entry.is_file if files else entry.is_dir
        if names.fullmatch(entry.name) and is_one(follow_symlinks=False):
            yield Path(entry.path)


def _time(path: Path) -> int:
    """When it was last written; never, where it has gone."""
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
