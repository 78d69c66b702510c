"""Removes artifacts from a store, except those that a running command may need.

A running command holds a lease whose name is its start time (`Store.in_use`), and each use of an
artifact updates the artifact's last use. Artifacts used since the oldest running command began
stay. A command may begin at any moment, so an artifact is removed in steps. First, its key is
claimed, so that no process builds it. Second, its manifest is withdrawn, after which no process can
open it; whoever opened it before has taken a lease and updated the last use. Third, last use and
leases are read again, which is now conclusive: either the rest of the artifact is removed, or its
manifest is put back. `Store` waits for this decision.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from thyroid.errors import InputError
from thyroid.files import cannot_write
from thyroid.storage import lease
from thyroid.storage.inventory import (
    Advance,
    Artifact,
    Failure,
    Scrap,
    commands,
    oldest,
    read_artifact,
    read_lease,
    take_inventory,
)
from thyroid.storage.store import MANIFEST, Store


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """Says which artifacts to remove; without any criterion, none are removed."""

    max_size: int | None = None
    """Bytes that artifacts may take: those unused for longest are removed until the others fit."""
    older_than: float | None = None
    """Seconds since the last use. Failures of this age are removed, too."""
    keep: frozenset[str] | None = None
    """Keys of artifacts to keep. As the only criterion: all others are removed."""

    def matches(self, key: str, unused: float, total: int) -> bool:
        """Decide whether to remove an artifact that was not used for `unused` seconds.

        `total` is the size of this artifact, of all used later, and of those kept so far.
        """
        if self.keep is not None and key in self.keep:
            return False
        if self.max_size is None and self.older_than is None:
            return self.keep is not None
        too_old = self.older_than is not None and unused > self.older_than
        return too_old or (self.max_size is not None and total > self.max_size)


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """The outcome of a prune, or of a dry run."""

    artifacts: Sequence[Artifact]
    failures: Sequence[Failure]
    scraps: Sequence[Scrap]
    spared: Sequence[Artifact]
    """Artifacts that match the criteria but that a running command may need."""
    left: int
    """Number of artifacts that stay, including the spared ones."""
    left_size: int
    """Size of these in bytes."""


def prune(store: Store, criteria: Criteria, advance: Advance, *, dry_run: bool = False) -> Pruned:
    """Remove leftovers of dead processes, and the artifacts that match the criteria.

    The artifacts unused for longest are removed first.

    Parameters
    ----------
    advance : advance(done, total) is called for each artifact
    dry_run : remove nothing, only report

    Raises
    ------
    InputError
        When another process prunes this store, or the store cannot be written.
    """
    with contextlib.ExitStack() as stack:
        if not dry_run:
            stack.enter_context(cannot_write(store.root))
            stack.enter_context(_alone(store))
        found = take_inventory(store)
        began = oldest(found.commands)
        scraps = [scrap for scrap in found.scraps if scrap.left_over]
        failures = [
            failure
            for failure in found.failures
            if criteria.older_than is not None
            and (found.now - failure.since) / 1e9 > criteria.older_than
            and failure.since < began
        ]
        if not dry_run:
            for scrap in scraps:
                _clear(store, scrap, found.now)
            for failure in failures:
                failure.path.unlink(missing_ok=True)
        gone: list[Artifact] = []
        spared: list[Artifact] = []
        total = sum(artifact.size for artifact in found.artifacts)
        candidates = sorted(found.artifacts, key=lambda artifact: artifact.used)
        for done, artifact in enumerate(candidates, start=1):
            if criteria.matches(artifact.key, (found.now - artifact.used) / 1e9, total):
                if artifact.used < began and (dry_run or _remove(store, artifact, found.now)):
                    gone.append(artifact)
                    total -= artifact.size
                else:
                    spared.append(artifact)
            advance(done, len(candidates))
    return Pruned(
        artifacts=gone,
        failures=failures,
        scraps=scraps,
        spared=spared,
        left=len(candidates) - len(gone),
        left_size=total,
    )


@contextlib.contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Ensure that no other process prunes the store, so that `trash/` belongs to this one."""
    claim = store.claim("prune")
    before = read_lease(claim, store.now())
    if before is not None and not before.alive:
        lease.remove_dead(claim, (before.holder, before.renewed))
    with store.claimed("prune") as mine:
        if not mine:
            raise InputError(f"Another command is pruning {store.root}: wait until it has ended.")
        yield


def _remove(store: Store, artifact: Artifact, now: int) -> bool:
    """Remove an artifact unless it was used after it was listed or a command may need it."""
    withdrawn, trash = store.withdrawn(artifact.key), _trash(store, artifact.folder)
    with store.claimed(artifact.key) as mine:
        before = read_artifact(artifact.folder)
        if not mine or before is None or before.used != artifact.used:
            return False
        withdrawn.mkdir(parents=True)
        try:
            os.rename(artifact.folder / MANIFEST, withdrawn / MANIFEST)
            used = (withdrawn / MANIFEST).stat().st_mtime_ns
            if used == artifact.used and used < oldest(commands(store, now)):
                os.rename(artifact.folder, withdrawn / "rest")
        except FileNotFoundError:  # a process that opened it found it damaged and set it aside
            pass
        finally:
            gone = (withdrawn / "rest").exists()
            if not gone:
                with contextlib.suppress(FileNotFoundError, FileExistsError):
                    os.link(withdrawn / MANIFEST, artifact.folder / MANIFEST)
            os.rename(withdrawn, trash)
    shutil.rmtree(trash, ignore_errors=True)
    return gone


def _clear(store: Store, scrap: Scrap, now: int) -> None:
    """Remove one leftover."""
    if scrap.what == "lease":
        dead = read_lease(scrap.path, now)
        if dead is not None and not dead.alive:
            lease.remove_dead(scrap.path, (dead.holder, dead.renewed))
        return
    trash = _trash(store, scrap.path)
    trash.parent.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        if scrap.path.parent.parent == store.root / "artifacts":
            mine = stack.enter_context(store.claimed(scrap.path.name))
            if not mine or read_artifact(scrap.path) is not None:
                return
        with contextlib.suppress(FileNotFoundError):
            os.rename(scrap.path, trash)
    shutil.rmtree(trash, ignore_errors=True)


def _trash(store: Store, folder: Path) -> Path:
    """Return a new path in `trash/` for something that is being removed."""
    return store.root / "trash" / f"{folder.name[:16]}-{uuid.uuid4().hex[:8]}"
