"""RUN/stages.json: what a run computed, what it found, and who needed it; written and read here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thyroid.errors import InputError
from thyroid.files import replace_text
from thyroid.progress import duration, say
from thyroid.stage import Stage
from thyroid.storage.store import Store

FILE = "stages.json"


def lineages(needs: Mapping[str, Iterable[Stage]]) -> dict[str, list[str]]:
    """Keys of all stages that each user's final stages need."""
    return {
        user: list({stage.key: None for final in stages for stage in final.lineage()})
        for user, stages in needs.items()
    }


def write_stages(run: Path, needs: Mapping[str, Iterable[str]], store: Store) -> None:
    """`keep_stages` at the end of a run, and say what that comes to."""
    stages = keep_stages(run, needs, store, {})
    say(_sentence(**totals(stages)))
    again = sum(stage["again"] for stage in stages)
    if again:
        were = "artifact of the store was" if again == 1 else "artifacts of the store were"
        say(f"{again} {were} damaged and computed again: {store.place}/damaged has what was there")


def keep_stages(
    run: Path, needs: Mapping[str, Iterable[str]], store: Store, known: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Write stages.json: every stage that the run needed, its seconds, and who needed it.

    Without sharing, a stage would have been computed once for each user: see `totals`.

    Parameters
    ----------
    needs : user, such as `trial 3` or `seed 0`, to the keys of all stages that it needs
    store : where they are; what is there no longer is left out
    known : manifests that were read before, by key; those read now are added
    """
    users: dict[str, list[str]] = {}
    for user, keys in needs.items():
        for key in keys:
            users.setdefault(key, []).append(user)
    stages, damaged = [], store.damaged()
    for key, wanted_by in users.items():
        manifest = known.get(key) or store.manifest(key)
        if manifest is not None:
            known[key] = manifest
            stages.append(_row(key, manifest, wanted_by, store.run, key[:16] in damaged))
    text = json.dumps({"format_version": 1, "stages": stages}, indent=1)
    replace_text(run / FILE, text + "\n")
    return stages


def _row(
    key: str, manifest: Mapping[str, Any], users: list[str], run: str, damaged: bool
) -> dict[str, Any]:
    config, found = manifest["config"], manifest.get("run") != run
    return {
        "key": key,
        "kind": manifest["kind"],
        "seconds": manifest.get("seconds", 0.0),
        "inputs": list(manifest["inputs"].values()),
        **{name: config.get(name) for name in ("seed", "first_epoch", "epochs", "phase")},
        "users": users,
        "found": found,
        "again": damaged and not found,
    }


def totals(stages: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Of the rows of stages.json, stage-seconds: `needed` without sharing, `computed` by this run,
    `found` in the store; the rest was shared among the run's own users.
    """
    rows = list(stages)
    return {
        "needed": sum(row["seconds"] * len(row["users"]) for row in rows),
        "computed": sum(row["seconds"] for row in rows if not row["found"]),
        "found": sum(row["seconds"] for row in rows if row["found"]),
    }


def _sentence(needed: float, computed: float, found: float) -> str:
    text = f"computed {duration(computed)} of stages, where {duration(needed)} were needed"
    return text + (f"; {duration(found)} were in the store" if found else "")


@dataclass(frozen=True, kw_only=True)
class NeededStage:
    """One stage: computed by this run, or found in the store."""

    key: str
    kind: str
    seconds: float
    """Of its one computation."""
    inputs: tuple[str, ...]
    """Keys."""
    seed: int | None
    first_epoch: int | None
    epochs: int | None
    phase: str | None
    users: tuple[str, ...]
    """Such as `trial 3` or `seed 0`: at least one."""
    found: bool
    """Whether an earlier run had left it in the store."""

    @property
    def needs(self) -> int:
        """Number of users: so often it would have been computed without sharing."""
        return len(self.users)


def read_stages(path: Path) -> list[NeededStage] | None:
    """What stages.json lists; None where a run has none.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["stages"]
        stages = [_stage(row) for row in listed]
        sound = len({stage.key for stage in stages}) == len(stages)
    except (OSError, ValueError, TypeError, KeyError):
        sound = False
    if not sound:
        raise InputError(f"{path} is damaged: run the command that made it again.")
    return stages


def keys_needed(run: Path) -> frozenset[str]:
    """Of all stages that a run needs.

    Raises
    ------
    InputError
        When that is not known, or the file is damaged.
    """
    stages = read_stages(run / FILE)
    if stages is None:
        raise InputError(
            f"{run / FILE} is missing, so what the run needs is not known: run its command again."
        )
    return frozenset(stage.key for stage in stages)


def _stage(row: dict[str, Any]) -> NeededStage:
    """ValueError, TypeError or KeyError where the row is none of a stage."""
    stage = NeededStage(
        key=_text(row["key"]),
        kind=_text(row["kind"]),
        seconds=float(row["seconds"]),
        inputs=tuple(_text(key) for key in row["inputs"]),
        seed=_count(row["seed"]),
        first_epoch=_count(row["first_epoch"]),
        epochs=_count(row["epochs"]),
        phase=None if row["phase"] is None else _text(row["phase"]),
        users=tuple(_text(user) for user in row["users"]),
        found=row["found"] is True,
    )
    if not (math.isfinite(stage.seconds) and stage.seconds >= 0 and stage.needs >= 1):
        raise ValueError
    return stage


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _count(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or value < 0):
        raise ValueError
    return value
