"""Artifacts of a chosen age, and functions that inspect a store without using its artifacts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from thyroid.storage.inventory import take_inventory
from thyroid.storage.pruning import Criteria, Pruned, prune
from thyroid.storage.store import MANIFEST, Store

KEYS = [f"{number:02x}" * 32 for number in range(8)]
DAY = 86400.0
ALL = Criteria(max_size=1, older_than=1e-9, keep=frozenset())
"""Criteria that every artifact matches."""


def put(store: Store, key: str, *, kind: str = "classifier", days: float = 0.0) -> Path:
    """Build an artifact of a thousand bytes that was last used `days` days ago."""
    with store.building(key, {"kind": kind}) as folder:
        assert folder is not None
        (folder / "file").write_bytes(bytes(1000))
    if days:
        age(store.artifact(key) / MANIFEST, days)
    return store.artifact(key)


def age(path: Path, days: float) -> None:
    os.utime(path, (time.time() - days * DAY,) * 2)


def pruned(store: Store, criteria: Criteria = ALL, *, dry_run: bool = False) -> Pruned:
    return prune(store, criteria, lambda done, total: None, dry_run=dry_run)


def left(store: Store) -> list[str]:
    """Return the keys of the artifacts, without using them."""
    return sorted(artifact.key for artifact in take_inventory(store).artifacts)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextlib.contextmanager
def command_elsewhere(store: Store) -> Iterator[subprocess.Popen[str]]:
    """Run another process, which uses the store until it is killed."""
    code = (
        "import sys; from pathlib import Path; from thyroid.storage.store import Store\n"
        "with Store(Path(sys.argv[1])).in_use(): print('at work', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        try:
            yield process
        finally:
            process.kill()
