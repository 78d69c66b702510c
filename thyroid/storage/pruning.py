"""Making room in a store, without taking away what somebody at work may need.

A command at work holds a lease whose name says since when (`Store.in_use`), and each use of an
artifact renews its time: what was used since the oldest living command began, stays. A command may
begin at any moment, so an artifact is removed in steps. Its key is claimed, so that nobody builds
it. Its manifest is taken away, after which nobody can open it; who opened it before has renewed its
time, and had a lease before that. So another look, at the time and at the leases, is sure: either
the rest of the artifact is taken away, or its manifest put back, for which `Store` waits.
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
    """Which artifacts may go; without any, none."""

    max_size: int | None = None
    """Bytes that the artifacts may take: those longest unused go until they do."""
    older_than: float | None = None
    """Seconds since the last use; failures that old are forgotten, too."""
    keep: frozenset[str] | None = None
    """Keys of artifacts that stay. Alone: all others go."""

    def want(self, key: str, unused: float, total: int) -> bool:
        """Whether an artifact shall go that was not used for `unused` seconds.

        `total` bytes are what it takes and all that were used later, and those that stayed.
        """
        if self.keep is not None and key in self.keep:
            return False
        if self.max_size is None and self.older_than is None:
            return self.keep is not None
        too_old = self.older_than is not None and unused > self.older_than
        return too_old or (self.max_size is not None and total > self.max_size)


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What has gone, or would go."""

    artifacts: Sequence[Artifact]
    failures: Sequence[Failure]
    scraps: Sequence[Scrap]
    spared: Sequence[Artifact]
    """Those that the criteria want gone but somebody at work may need."""
    left: int
    """Number of artifacts that stay, the spared ones among them."""
    left_size: int
    """Their bytes."""


def prune(store: Store, criteria: Criteria, advance: Advance, *, dry_run: bool = False) -> Pruned:
    """Remove what the criteria want gone, the longest unused first, and what is left over.

    Parameters
    ----------
    store : where
    criteria : which artifacts and failures
    advance : advance(done, total) as artifacts are looked at
    dry_run : only say what would go

    Raises
    ------
    InputError
        When another process prunes this store, or it cannot be written.
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
            if criteria.want(artifact.key, (found.now - artifact.used) / 1e9, total):
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
    """Of several that prune a store, one does: what lies in the trash is nobody else's."""
    claim = store.claim("prune")
    before = read_lease(claim, store.now())
    if before is not None and not before.lives:
        lease.bury(claim, (before.holder, before.renewed))
    with store.claimed("prune") as mine:
        if not mine:
            raise InputError(f"{store.root} is being pruned already: wait until that has ended.")
        yield


def _remove(store: Store, artifact: Artifact, now: int) -> bool:
    """Remove an artifact, unless it was used after it was listed or somebody may need it."""
    doubt, grave = store.doubt(artifact.key), _grave(store, artifact.folder)
    with store.claimed(artifact.key) as mine:
        before = read_artifact(artifact.folder)
        if not mine or before is None or before.used != artifact.used:
            return False
        doubt.mkdir(parents=True)
        try:
            os.rename(artifact.folder / MANIFEST, doubt / MANIFEST)
            used = (doubt / MANIFEST).stat().st_mtime_ns
            if used == artifact.used and used < oldest(commands(store, now)):
                os.rename(artifact.folder, doubt / "rest")
        except FileNotFoundError:  # damaged, and set aside by who opened it
            pass
        finally:
            gone = (doubt / "rest").exists()
            if not gone:
                with contextlib.suppress(FileNotFoundError, FileExistsError):
                    os.link(doubt / MANIFEST, artifact.folder / MANIFEST)
            os.rename(doubt, grave)
    shutil.rmtree(grave, ignore_errors=True)
    return gone


def _clear(store: Store, scrap: Scrap, now: int) -> None:
    """Remove something left over."""
    if scrap.what == "lease":
        dead = read_lease(scrap.path, now)
        if dead is not None and not dead.lives:
            lease.bury(scrap.path, (dead.holder, dead.renewed))
        return
    grave = _grave(store, scrap.path)
    grave.parent.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        if scrap.path.parent.parent == store.root / "artifacts":
            mine = stack.enter_context(store.claimed(scrap.path.name))
            if not mine or read_artifact(scrap.path) is not None:
                return
        with contextlib.suppress(FileNotFoundError):
            os.rename(scrap.path, grave)
    shutil.rmtree(grave, ignore_errors=True)


def _grave(store: Store, folder: Path) -> Path:
    """Where something is put that is being removed."""
    return store.root / "trash" / f"{folder.name[:16]}-{uuid.uuid4().hex[:8]}"
