"""The run folder: what a command leaves behind, and the final evaluation that fills it.

RUN/config.json        reproduces the run
RUN/recipe.json        the recipe that was trained
RUN/split.csv          image_id, part
RUN/metrics.jsonl      what the stages of the recipe's runs yielded: a line per seed and epoch
RUN/predictions/       {validation,test}-seedS.csv, and in without-synthetic/ the same of the twin
RUN/synthetic/         quality.json and examples/ of the first seed, where images were synthesised
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

import pandas as pd
import torch

from thyroid import __version__, machine, pipeline, progress
from thyroid.data import quality as data_quality
from thyroid.data.dataset import Dataset
from thyroid.data.splits import Split, make_split
from thyroid.errors import InputError
from thyroid.execute import Runner, opened, reread
from thyroid.files import cannot_write, replace_text
from thyroid.network_input import sum_pixels
from thyroid.networks.registry import build
from thyroid.pipeline import SyntheticShare
from thyroid.recipe import MixingConfig, Recipe, from_json, to_json
from thyroid.stage import Stage
from thyroid.stages import prediction, quality, synthesis
from thyroid.stages.batches import synthetic_weights
from thyroid.stages.checkpoint import MODEL, WEIGHTS
from thyroid.stages.split import FILE as SPLIT_FILE
from thyroid.stages.synthesis import combinations
from thyroid.store import Store

GENERATORS = ("dcgan", "srgan", "synthesis")
EXAMPLES = 6
"""Synthetic images of each combination of findings that the run folder keeps."""


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Own the run folder: two commands that write one run would mix their results.

    Raises
    ------
    InputError
        When another command owns it, or it cannot be written.
    """
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is a file: name a folder.")
    with cannot_write(run):
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


def preflight(dataset: Dataset, recipe: Recipe) -> None:
    """Find what cannot work before anything is written.

    Raises
    ------
    InputError
        When the data have a fault that makes every result untrue, or cannot be split so, the input
        size does not divide theirs, there is no such network, or what shall be synthesised cannot.
    """
    for flag in data_quality.check(dataset):
        if flag.severity == "error":
            raise InputError(f"{dataset.folder} cannot be trained on: {flag.sentence}")
    parts = make_split(dataset, recipe.split)
    sum_pixels(torch.from_numpy(dataset.counts[:1].astype("float32")), recipe.input.size)
    if recipe.mixing.synthetic:
        pipeline.dcgan(recipe, dataset.digest, 0)
        _require_drawable(dataset, parts, recipe)
    with torch.random.fork_rng():
        build(recipe.network, len(dataset.info.classes))


def _require_drawable(dataset: Dataset, parts: Split, recipe: Recipe) -> None:
    """Whether the images that would be made are those that would be drawn."""
    each, mixing = recipe.synthesis, recipe.mixing
    made = [
        ";".join(findings)
        for findings in combinations(dataset, parts.train, each.crosses)
        if (each.images_per_cross if len(findings) > 1 else each.images_per_class)
    ]
    share = SyntheticShare(
        share=1.0,
        class_exponent=mixing.class_exponent,
        cross_share=mixing.cross_share,
        judge_weight=mixing.judge_weight,
    )
    synthetic_weights(dataset.images.iloc[parts.train], pd.DataFrame({"findings": made}), share)


def require_same(
    run: Path, dataset: Dataset, recipe: Recipe, command: str, search: dict[str, Any] | None
) -> None:
    """Refuse a folder that holds another run than this command would continue.

    `recipe` is what the run starts from: a search's own recipe, before it is searched. A run may
    go on with more seeds or trials than before.

    Raises
    ------
    InputError
        When data, command, space or recipe differ.
    """
    path = run / "config.json"
    if not path.exists():
        return
    settings = ("space", "space_sha256", "seeds", "seed", "grace_epochs", "reduction_factor")
    try:
        before = json.loads(path.read_text())
        same_data = before["dataset"]["digest"] == dataset.digest
        old_search = before["search"] or {}
        old_recipe = from_json(Recipe, old_search.get("base", before["recipe"]))
        old = {"command": before["command"]} | _flat(to_json(old_recipe))
        old |= {f"--{name}": old_search.get(name) for name in settings}
    except (ValueError, KeyError, TypeError, InputError):
        raise InputError(
            f"{path} cannot be understood: it is damaged, or of another version of thyroid; "
            "choose another run folder."
        ) from None
    if not same_data:
        raise InputError(f"{run} holds a run on other data: choose another run folder.")
    new = {"command": command} | _flat(to_json(recipe))
    new |= {f"--{name}": (search or {}).get(name) for name in settings}
    for name, value in new.items():
        if value != old[name]:
            raise InputError(
                f"{run} holds another run, whose {name} was {old[name]} and not {value}: "
                "choose another run folder."
            )


def _flat(plain: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in plain.items():
        within = _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else None
        flat |= {f"{prefix}{name}": value} if within is None else within
    return flat


def write_config(
    run: Path,
    dataset: Dataset,
    recipe: Recipe,
    seeds: Sequence[int],
    command: str,
    search: dict[str, Any] | None,
) -> None:
    """Write config.json and recipe.json; results of another recipe or other seeds are removed."""
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
    try:
        before = json.loads((run / "config.json").read_text())
    except (OSError, ValueError):
        before = {}
    if (before.get("recipe"), before.get("seeds")) != (config["recipe"], config["seeds"]):
        with cannot_write(run):
            for folder in ("predictions", "model", "synthetic"):
                shutil.rmtree(run / folder, ignore_errors=True)
            (run / "metrics.jsonl").unlink(missing_ok=True)
    _write_json(run / "config.json", config)
    _write_json(run / "recipe.json", to_json(recipe))


def final_stages(dataset: Dataset, recipe: Recipe, seeds: Sequence[int]) -> list[Stage]:
    """What the final evaluation needs. Nothing else ever reads the test part.

    A recipe with synthetic images has a twin without them, of as many steps, so that what they
    are worth is measured; and the first seed's images are compared with real ones.
    """
    stages = _predictions(dataset, recipe, seeds)
    if recipe.mixing.synthetic:
        stages += _predictions(dataset, without_synthetic(recipe), seeds)
        stages.append(pipeline.quality(recipe, dataset.digest, seeds[0]))
    return stages


def without_synthetic(recipe: Recipe) -> Recipe:
    """The same recipe on real images alone."""
    return dataclasses.replace(recipe, mixing=MixingConfig())


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
    total = _epochs(wanted)
    with progress.bar("training", "epochs") as advance:
        done = 0
        for metrics in runner(wanted):
            if "epoch" in metrics:
                done += 1
                advance(done, total)

    with cannot_write(run):
        _write_metrics(run, dataset, recipe, seeds, store)
        predicted = _predictions(dataset, recipe, seeds)
        _copy_predictions(predicted, store, run / "predictions")
        parts, model = predicted[0].inputs["split"], predicted[0].inputs["model"]
        shutil.copyfile(opened(parts, store) / SPLIT_FILE, run / SPLIT_FILE)
        (run / "model").mkdir(exist_ok=True)
        for name in (WEIGHTS, MODEL):
            shutil.copyfile(opened(model, store) / name, run / "model" / name)
        if recipe.mixing.synthetic:
            twins = _predictions(dataset, without_synthetic(recipe), seeds)
            _copy_predictions(twins, store, run / "predictions" / "without-synthetic")
            _copy_synthetic(run, wanted[-1], store)


def _predictions(dataset: Dataset, recipe: Recipe, seeds: Sequence[int]) -> list[Stage]:
    """Of every seed, for validation and, where there is one, test part."""
    parts = ["validation"]
    if recipe.split.test > 0 or recipe.split.leave_out_centre is not None:
        parts.append("test")
    return [pipeline.prediction(recipe, dataset.digest, s, part) for s in seeds for part in parts]


def _epochs(wanted: Sequence[Stage]) -> int:
    """Epochs of all the stages that `wanted` need."""
    stages = {stage.key: stage for final in wanted for stage in final.lineage()}
    return sum(getattr(stage.config, "epochs", 0) for stage in stages.values())


def _write_metrics(
    run: Path, dataset: Dataset, recipe: Recipe, seeds: Sequence[int], store: Store
) -> None:
    """Write metrics.jsonl: of each seed's generators and classifier, but not of its judge."""
    with (run / "metrics.jsonl").open("w") as file:
        for seed in seeds:
            stages = pipeline.classifier(recipe, dataset.digest, seed)
            if recipe.mixing.synthetic:
                made = pipeline.synthesis(recipe, dataset.digest, seed)
                stages = [s for s in made.lineage() if s.kind in GENERATORS] + stages
            for stage in stages:
                for metrics in reread(opened(stage, store)):
                    file.write(json.dumps(metrics) + "\n")


def _copy_predictions(stages: Sequence[Stage], store: Store, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        name = f"{stage.config.part}-seed{stage.inputs['model'].config.seed}.csv"
        shutil.copyfile(opened(stage, store) / prediction.FILE, folder / name)


def _copy_synthetic(run: Path, measured: Stage, store: Store) -> None:
    """The quality table, and some of the images that it is about."""
    folder = run / "synthetic"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(opened(measured, store) / quality.FILE, folder / quality.FILE)
    made = opened(measured.inputs["synthetic"], store)
    synthesis.write_examples(made, folder / "examples", EXAMPLES)


def _write_json(path: Path, content: Any) -> None:
    replace_text(path, json.dumps(content, indent=2) + "\n")
