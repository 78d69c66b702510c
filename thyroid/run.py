"""The run folder: what a command leaves behind, and the final evaluation that fills it.

RUN/config.json        reproduces the run
RUN/recipe.json        the recipe that was trained
RUN/split.csv          image_id, part
RUN/metrics.jsonl      a line per epoch and seed
RUN/predictions/       {validation,test}-seedS.csv
RUN/model/             weights and card of the first seed
RUN/trials.csv         searches only
RUN/store/             artifacts, unless they are kept elsewhere
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from thyroid import __version__, machine, pipeline, progress
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.execute import Runner, opened, reread
from thyroid.pipeline import Stage
from thyroid.recipe import Recipe, from_json, to_json
from thyroid.stages.split import FILE as SPLIT_FILE
from thyroid.store import Store, writable

PREDICTIONS = "predictions.csv"


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Own the run folder: two commands that write one run would mix their results.

    Raises
    ------
    InputError
        When another command owns it, or it cannot be written.
    """
    with writable(run):
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"Another thyroid command works in {run}: wait for it or choose another folder."
            ) from None
        yield


def begin(run: Path, dataset: Dataset, command: str, search: dict[str, Any] | None) -> None:
    """Check that the folder is new or holds the same run, begun before.

    Raises
    ------
    InputError
        When the folder holds a run of other data, or of another command.
    """
    path = run / "config.json"
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text())
        same = before["dataset"]["digest"] == dataset.digest
        asked = (before["command"], (before["search"] or {}).get("space"))
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged: remove {run} or choose another folder.") from None
    if not same:
        raise InputError(
            f"{run} holds a run on other data than {dataset.folder} holds now: "
            "choose another run folder."
        )
    if asked != (command, (search or {}).get("space")):
        raise InputError(
            f"{run} holds a `thyroid {asked[0]}`{f' of {asked[1]}' if asked[1] else ''}: "
            "choose another run folder."
        )


def write_config(
    run: Path,
    dataset: Dataset,
    recipe: Recipe,
    seeds: Sequence[int],
    command: str,
    search: dict[str, Any] | None,
) -> None:
    """Write config.json and recipe.json."""
    info = dataclasses.asdict(dataset.info)
    config = {
        "command": command,
        "thyroid": __version__,
        "dataset": {
            "folder": str(dataset.folder.absolute()),
            **info,
            "digest": dataset.digest,
            "images": len(dataset.images),
            "patients": len(set(dataset.patients)),
        },
        "recipe": to_json(recipe),
        "seeds": list(seeds),
        "search": search,
        "machine": machine.describe(),
    }
    _write_json(run / "config.json", config)
    _write_json(run / "recipe.json", to_json(recipe))


def final_stages(dataset: Dataset, recipe: Recipe, seeds: Sequence[int]) -> list[Stage]:
    """What the final evaluation needs. Nothing else ever reads the test part."""
    parts = ["validation"]
    if recipe.split.test > 0 or recipe.split.leave_out_centre is not None:
        parts.append("test")
    return [pipeline.prediction(recipe, dataset.digest, s, part) for s in seeds for part in parts]


def evaluate(
    run: Path,
    dataset: Dataset,
    recipe: Recipe,
    seeds: Sequence[int],
    store: Store,
    runner: Runner,
) -> None:
    """Train `recipe` with every seed, predict validation and test, and fill the run folder.

    Raises
    ------
    InputError
        When data, recipe or folder cannot be used.
    StageFailed
        When training cannot finish.
    """
    wanted = final_stages(dataset, recipe, seeds)
    total = recipe.schedule.epochs * len(seeds)
    with progress.bar("training", "epochs") as advance:
        done = 0
        for metrics in runner(wanted):
            done += "epoch" in metrics
            advance(done, total)

    with writable(run):
        (run / "predictions").mkdir(exist_ok=True)
        with (run / "metrics.jsonl").open("w") as file:
            for seed in seeds:
                for segment in pipeline.classifier(recipe, dataset.digest, seed):
                    for metrics in reread(opened(segment, store)):
                        file.write(json.dumps(metrics) + "\n")
        for stage in wanted:
            name = f"{stage.config.part}-seed{stage.inputs['model'].config.seed}.csv"
            shutil.copyfile(opened(stage, store) / PREDICTIONS, run / "predictions" / name)
        parts, model = wanted[0].inputs["split"], wanted[0].inputs["model"]
        shutil.copyfile(opened(parts, store) / SPLIT_FILE, run / SPLIT_FILE)
        (run / "model").mkdir(exist_ok=True)
        for name in ("model.safetensors", "model.json"):
            shutil.copyfile(opened(model, store) / name, run / "model" / name)


def read_recipe(path: Path) -> Recipe:
    """A recipe from a JSON file such as RUN/recipe.json.

    Raises
    ------
    InputError
        When the file is missing or holds something else.
    """
    try:
        return from_json(Recipe, json.loads(path.read_text()))
    except OSError as missing:
        raise InputError(f"Cannot read recipe {path}: {missing.strerror}.") from None
    except (ValueError, TypeError, AttributeError) as wrong:
        raise InputError(
            f"{path} is no recipe ({wrong}): see RUN/recipe.json of any run."
        ) from None


def _write_json(path: Path, content: Any) -> None:
    with writable(path.parent):
        unfinished = path.with_suffix(".json.new")
        unfinished.write_text(json.dumps(content, indent=2) + "\n")
        unfinished.replace(path)
