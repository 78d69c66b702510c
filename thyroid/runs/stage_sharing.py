"""The stages that a run needed, computed and found, and the time that sharing saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from thyroid.progress import duration, say
from thyroid.run_files.stages_json import NeededStage, write_stages
from thyroid.stage import Stage
from thyroid.storage.store import Store


def lineages(needs: Mapping[str, Iterable[Stage]]) -> dict[str, list[str]]:
    """Return, for each user, the keys of all stages that its final stages need."""
    return {
        user: list({stage.key: None for final in stages for stage in final.lineage()})
        for user, stages in needs.items()
    }


def tell_stages(run: Path, needs: Mapping[str, Iterable[str]], store: Store) -> None:
    """Write stages.json at the end of a run (see `keep_stages`) and say how much sharing saved."""
    stages = keep_stages(run, needs, store, {})
    say(_sentence(**totals(stages)))
    again = sum(stage.again for stage in stages)
    if again:
        were = "artifact of the store was" if again == 1 else "artifacts of the store were"
        say(
            f"{again} {were} damaged and computed again: the old files are in {store.place}/damaged"
        )


def keep_stages(
    run: Path, needs: Mapping[str, Iterable[str]], store: Store, known: dict[str, dict[str, Any]]
) -> list[NeededStage]:
    """Write stages.json: every stage that the run needed, its seconds, and who needed it.

    Parameters
    ----------
    needs : user, such as `trial 3` or `seed 0` -> keys of all stages that it needs
    store : has the stages; stages whose artifacts have been removed are left out
    known : manifests that were read before, by key; manifests read now are added
    """
    users: dict[str, list[str]] = {}
    for user, keys in needs.items():
        for key in keys:
            users.setdefault(key, []).append(user)

    def manifest_of(key: str) -> dict[str, Any] | None:
        manifest = known.get(key) or store.manifest(key)
        if manifest is not None:
            known[key] = manifest
        return manifest

    stages, damaged = [], store.damaged()
    for key, wanted_by in users.items():
        manifest = manifest_of(key)
        if manifest is None:
            continue
        split = manifest if manifest["kind"] == "split" else None
        if "split" in manifest["inputs"]:
            split = manifest_of(manifest["inputs"]["split"])
        config, found = manifest["config"], manifest.get("run") != store.run
        stages.append(
            NeededStage(
                key=key,
                kind=manifest["kind"],
                seconds=manifest.get("seconds", 0.0),
                inputs=tuple(manifest["inputs"].values()),
                seed=config.get("seed"),
                fold=_fold(split),
                first_epoch=config.get("first_epoch"),
                epochs=config.get("epochs"),
                phase=config.get("phase"),
                users=tuple(wanted_by),
                found=found,
                again=key[:16] in damaged and not found,
            )
        )
    write_stages(run, stages)
    return stages


def _fold(split: Mapping[str, Any] | None) -> int | None:
    """Return the fold in a split's manifest; None if there is a single split, or none."""
    config = {} if split is None else split["config"]
    return config.get("fold") if (config.get("folds") or 1) > 1 else None


def totals(stages: Sequence[NeededStage]) -> dict[str, float]:
    """Return stage-seconds: `needed` if every user computed its own stages; `computed` by this run;
    `found` in the store. The rest was shared among the run's own users.
    """
    return {
        "needed": sum(stage.seconds * stage.needs for stage in stages),
        "computed": sum(stage.seconds for stage in stages if not stage.found),
        "found": sum(stage.seconds for stage in stages if stage.found),
    }


def _sentence(needed: float, computed: float, found: float) -> str:
    text = f"stages took {duration(computed)}"
    if duration(needed) != duration(computed):
        text += f"; without sharing they would take {duration(needed)}"
    return text + (f"; {duration(found)} were in the store" if found else "")
