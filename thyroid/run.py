"""The run folder: what a command leaves behind, and the final evaluation that fills it.

RUN/config.json        reproduces the run
RUN/recipe.json        the recipe that was trained
RUN/split.csv          image_id, part
RUN/metrics.jsonl      what the stages of the recipe's runs yielded: a line per seed and epoch
RUN/tensorboard/       the same, and trials.csv, as event files: see tensorboard.py
RUN/predictions/       {validation,test}-seedS.csv; in without-synthetic/ the same of the twin, in
                       before-cross/ of the networks at the end of their single phase
RUN/rows.json, rows/   comparisons only: what was compared, and each row's predictions/
RUN/synthetic/         quality.json and examples/ of the first seed, where images were synthesised
RUN/cases/             cases.json, images.npy, heat.npy: the first seed's errors, closely looked at
RUN/model/             weights and card of the first seed
RUN/trials.csv         searches only
RUN/stages.json        the stages that the run needed, their seconds, and who needed them
RUN/costs.json         node-hours and stage-hours: see ledger.py
RUN/store/             artifacts, unless they are kept elsewhere
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from thyroid import __version__, machine, pipeline
from thyroid.data import quality as data_quality
from thyroid.data.dataset import Dataset
from thyroid.data.splits import Split, make_split
from thyroid.errors import InputError
from thyroid.execute import Runner, bring_about, opened, reread
from thyroid.files import cannot_write, remove_at_once, replace_file, replace_text
from thyroid.network_input import sum_pixels
from thyroid.networks.registry import build, require_size
from thyroid.networks.resnet import freeze
from thyroid.recipe import MixingConfig, Recipe, flat, from_json, to_json
from thyroid.stage import Stage
from thyroid.stages import prediction, synthesis
from thyroid.stages.batches import synthetic_weights
from thyroid.stages.checkpoint import MODEL, WEIGHTS
from thyroid.stages.split import FILE as SPLIT_FILE
from thyroid.stages.synthesis import combinations
from thyroid.store import Store
from thyroid.tensorboard import FOLDER as TENSORBOARD
from thyroid.tensorboard import write_tensorboard

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


def preflight(dataset: Dataset, recipe: Recipe, test_set: Dataset | None = None) -> None:
    """Find what cannot work before anything is written.

    Raises
    ------
    InputError
        When the data have a fault that makes every result untrue, or cannot be split so, the input
        size does not divide theirs, there is no such network or phase, or what shall be synthesised
        cannot.
    """
    torch.set_num_threads(1)  # of a driver: stages take what they own
    for flag in data_quality.check(dataset):
        if flag.severity == "error":
            raise InputError(f"{dataset.folder} cannot be trained on: {flag.sentence}")
    if test_set is not None:
        _require_apart(dataset, test_set)
    parts = make_split(dataset, recipe.split)
    sum_pixels(torch.from_numpy(dataset.counts[:1].astype("float32")), recipe.input.size)
    require_size(recipe.network, recipe.input.size)
    with torch.random.fork_rng():
        network = build(recipe.network, len(dataset.info.classes))
    if recipe.cross.order == "retrain":
        freeze(network, recipe.cross.trainable)
    segments = pipeline.classifier(recipe, dataset.digest, 0)
    _require_phases(dataset, parts, recipe, segments)
    if recipe.synthetic:
        pipeline.dcgan(recipe, dataset.digest, 0)
        _require_drawable(dataset, parts, recipe, segments)


def _require_phases(
    dataset: Dataset, parts: Split, recipe: Recipe, segments: Sequence[Stage]
) -> None:
    """Whether each phase has images of its own to train on."""
    is_cross = dataset.images["findings"].iloc[parts.train].str.contains(";")
    phases = {segment.config.phase for segment in segments}
    if "single" in phases and is_cross.all():
        raise InputError(
            f"{dataset.folder} has no training image of a single finding: set cross.order to mixed."
        )
    adds = recipe.cross.synthetic + recipe.cross.superposed > 0
    named = adds and recipe.synthesis.crosses not in ("seen", "none")
    if "cross" in phases and not is_cross.any() and not named:
        raise InputError(
            f"{dataset.folder} has no training image of several findings: set cross.order to mixed."
        )


def _require_drawable(
    dataset: Dataset, parts: Split, recipe: Recipe, segments: Sequence[Stage]
) -> None:
    """Whether the images that would be made are those that would be drawn."""
    each = recipe.synthesis
    made = [
        ";".join(findings)
        for findings in combinations(dataset, parts.train, each.crosses)
        if (each.images_per_cross if len(findings) > 1 else each.images_per_class)
    ]
    pool = pd.DataFrame({"findings": made})
    for segment in segments:
        if segment.config.synthetic is not None:
            train = dataset.images.iloc[parts.train]
            synthetic_weights(train, pool, segment.config.synthetic)


def _require_apart(dataset: Dataset, test_set: Dataset) -> None:
    """Whether a test set that lies elsewhere is of the same kind, and of other patients."""
    for name in ("classes", "kind", "size", "pixel_mm"):
        own, other = getattr(dataset.info, name), getattr(test_set.info, name)
        if own != other:
            raise InputError(
                f"The test set {test_set.folder} has {name} {other}, and the training data have "
                f"{own}: import both in the same way."
            )
    for flag in data_quality.check(test_set):
        if flag.severity == "error":
            raise InputError(f"{test_set.folder} cannot be tested on: {flag.sentence}")
    seen = {hashlib.sha256(image.tobytes()).digest() for image in dataset.counts}
    same = sum(hashlib.sha256(image.tobytes()).digest() in seen for image in test_set.counts)
    patients = len(set(dataset.patients) & set(test_set.patients))
    if same or patients:
        raise InputError(
            f"The test set {test_set.folder} shares {same} images and {patients} patients with the "
            "training data: what is reached on them says nothing."
        )


def require_same(
    run: Path,
    dataset: Dataset,
    recipe: Recipe,
    command: str,
    search: dict[str, Any] | None,
    test_set: Dataset | None = None,
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
    settings = (
        "space",
        "space_sha256",
        "objectives",
        "seeds",
        "seed",
        "grace_epochs",
        "reduction_factor",
        "cost_aware",
        "storage",
    )
    try:
        before = json.loads(path.read_text())
        same_data = before["dataset"]["digest"] == dataset.digest
        tested = (before.get("test_set") or {}).get("digest")
        same_data = same_data and tested == (test_set.digest if test_set is not None else None)
        old_search = before["search"] or before.get("comparison") or {}
        old_recipe = from_json(Recipe, old_search.get("base", before["recipe"]))
        old = {"command": before["command"]} | flat(to_json(old_recipe))
        old |= {f"--{name}": old_search.get(name) for name in settings}
    except (ValueError, KeyError, TypeError, InputError):
        raise InputError(
            f"{path} cannot be understood: it is damaged, or of another version of thyroid; "
            "choose another run folder."
        ) from None
    if not same_data:
        raise InputError(f"{run} holds a run on other data: choose another run folder.")
    new = {"command": command} | flat(to_json(recipe))
    new |= {f"--{name}": (search or {}).get(name) for name in settings}
    for name, value in new.items():
        if value != old[name]:
            raise InputError(
                f"{run} holds another run, whose {name} was {old[name]} and not {value}: "
                "choose another run folder."
            )


def write_config(
    run: Path,
    dataset: Dataset,
    recipe: Recipe,
    seeds: Sequence[int],
    command: str,
    search: dict[str, Any] | None,
    test_set: Dataset | None = None,
    comparison: dict[str, Any] | None = None,
) -> None:
    """Write config.json and recipe.json; results of another recipe or other seeds are removed."""
    try:
        before = json.loads((run / "config.json").read_text())
    except (OSError, ValueError):
        before = {}
    config = {
        "id": before.get("id", uuid.uuid4().hex),
        "command": command,
        "thyroid": __version__,
        "dataset": _about(dataset),
        "test_set": None if test_set is None else _about(test_set),
        "recipe": to_json(recipe),
        "seeds": list(seeds),
        "search": search,
        "comparison": comparison,
        "machine": machine.describe(),
    }
    if (before.get("recipe"), before.get("seeds")) != (config["recipe"], config["seeds"]):
        with cannot_write(run):
            for folder in ("predictions", "model", "synthetic", "cases", "rows", TENSORBOARD):
                remove_at_once(run / folder)
            for file in ("metrics.jsonl", "rows.json"):
                (run / file).unlink(missing_ok=True)
    _write_json(run / "config.json", config)
    _write_json(run / "recipe.json", to_json(recipe))


def own_store(run: Path, place: Path | None) -> Store:
    """The store that a run works with; what it makes there bears the id in its config.json."""
    config = json.loads((run / "config.json").read_text())
    return Store.at(place or run / "store", config.get("id", ""))


def _about(dataset: Dataset) -> dict[str, Any]:
    return {
        "folder": str(dataset.folder.absolute()),
        **dataclasses.asdict(dataset.info),
        "digest": dataset.digest,
        "images": len(dataset.images),
        "patients": len(set(dataset.patients)),
    }


def final_stages(
    dataset: Dataset, recipe: Recipe, seeds: Sequence[int], test_set: Dataset | None = None
) -> list[Stage]:
    """What the final evaluation needs."""
    needs = final_needs(dataset, recipe, seeds, test_set)
    return [stage for stages in needs.values() for stage in stages]


def final_needs(
    dataset: Dataset, recipe: Recipe, seeds: Sequence[int], test_set: Dataset | None = None
) -> dict[str, list[Stage]]:
    """What the final evaluation needs, by what needs it.

    A recipe with synthetic images has a twin without them, of as many steps, so that what they
    are worth is measured; and the first seed's images are compared with real ones. Where there is
    a cross phase, the networks are tested before it, too, so that what they forget is measured.
    The first seed's errors are looked at closely.
    """
    needs: dict[str, list[Stage]] = {}
    for seed in seeds:
        own = predictions(dataset, recipe, [seed], test_set)
        if recipe.cross.order == "retrain":
            own += predictions(dataset, recipe, [seed], test_set, before_cross=True)
        needs[f"seed {seed}"] = own
        if recipe.synthetic:
            twin = predictions(dataset, without_synthetic(recipe), [seed], test_set)
            needs[f"seed {seed}, without synthetic images"] = twin
    if recipe.synthetic:
        needs[f"seed {seeds[0]}"].append(pipeline.quality(recipe, dataset.digest, seeds[0]))
    needs[f"seed {seeds[0]}"].append(_cases(dataset, recipe, seeds, test_set))
    return needs


def _cases(
    dataset: Dataset, recipe: Recipe, seeds: Sequence[int], test_set: Dataset | None
) -> Stage:
    """Of the first seed, on test images where there are some, else on validation images."""
    return pipeline.cases(predictions(dataset, recipe, seeds[:1], test_set)[-1])


def without_synthetic(recipe: Recipe) -> Recipe:
    """The same recipe on real images alone."""
    cross = dataclasses.replace(recipe.cross, synthetic=0.0)
    return dataclasses.replace(recipe, mixing=MixingConfig(), cross=cross)


def evaluate(
    run: Path,
    dataset: Dataset,
    recipe: Recipe,
    seeds: Sequence[int],
    store: Store,
    runner: Runner,
    test_set: Dataset | None = None,
) -> None:
    """Train `recipe` with every seed, predict validation and test, and fill the run folder.

    Raises
    ------
    InputError
        When data, recipe or folder cannot be used.
    StageFailed
        When training cannot finish.
    """
    bring_about(final_stages(dataset, recipe, seeds, test_set), runner)
    write_results(run, dataset, recipe, seeds, store, test_set)


def write_results(
    run: Path,
    dataset: Dataset,
    recipe: Recipe,
    seeds: Sequence[int],
    store: Store,
    test_set: Dataset | None,
) -> None:
    """Fill the run folder from the artifacts of `final_stages`."""
    folder = run / "predictions"
    with cannot_write(run):
        _write_metrics(run, dataset, recipe, seeds, store)
        predicted = predictions(dataset, recipe, seeds, test_set)
        copy_predictions(predicted, store, folder)
        parts, model = predicted[0].inputs["split"], predicted[0].inputs["model"]
        replace_file(opened(parts, store) / SPLIT_FILE, run / SPLIT_FILE)
        (run / "model").mkdir(exist_ok=True)
        for name in (WEIGHTS, MODEL):
            replace_file(opened(model, store) / name, run / "model" / name)
        looked_at = opened(_cases(dataset, recipe, seeds, test_set), store)
        (run / "cases").mkdir(exist_ok=True)
        from thyroid.stages import cases  # needs scipy, which is slow to import

        for name in (cases.IMAGES, cases.HEAT, cases.FILE):
            replace_file(looked_at / name, run / "cases" / name)
        if recipe.cross.order == "retrain":
            before = predictions(dataset, recipe, seeds, test_set, before_cross=True)
            copy_predictions(before, store, folder / "before-cross")
        if recipe.synthetic:
            twins = predictions(dataset, without_synthetic(recipe), seeds, test_set)
            copy_predictions(twins, store, folder / "without-synthetic")
            _copy_synthetic(run, pipeline.quality(recipe, dataset.digest, seeds[0]), store)


def predictions(
    dataset: Dataset,
    recipe: Recipe,
    seeds: Sequence[int],
    test_set: Dataset | None = None,
    *,
    before_cross: bool = False,
) -> list[Stage]:
    """Of every seed, for validation and, where there is one, test part: nothing else reads it."""
    parts = ["validation"]
    split = recipe.split
    if test_set is not None or split.test > 0 or split.leave_out_centre is not None:
        parts.append("test")
    return [
        pipeline.prediction(
            recipe,
            dataset.digest,
            seed,
            part,
            model=pipeline.before_cross(recipe, dataset.digest, seed) if before_cross else None,
            test_set=None if test_set is None else test_set.digest,
        )
        for seed in seeds
        for part in parts
    ]


def _write_metrics(
    run: Path, dataset: Dataset, recipe: Recipe, seeds: Sequence[int], store: Store
) -> None:
    """Write metrics.jsonl and tensorboard/: of each seed's generators and classifier, but not of
    its judge.
    """
    lines = []
    for seed in seeds:
        stages = pipeline.classifier(recipe, dataset.digest, seed)
        if recipe.synthetic:
            made = pipeline.synthesis(recipe, dataset.digest, seed)
            stages = [s for s in made.lineage() if s.kind in GENERATORS] + stages
        for stage in stages:
            lines += [json.dumps(metrics) + "\n" for metrics in reread(opened(stage, store))]
    replace_text(run / "metrics.jsonl", "".join(lines))
    write_tensorboard(run)


def copy_predictions(stages: Sequence[Stage], store: Store, folder: Path) -> None:
    """Write each as {validation,test}-seedS.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        part = "validation" if stage.config.part == "validation" else "test"
        name = f"{part}-seed{stage.inputs['model'].config.seed}.csv"
        replace_file(opened(stage, store) / prediction.FILE, folder / name)


def _copy_synthetic(run: Path, measured: Stage, store: Store) -> None:
    """The quality table, and some of the images that it is about."""
    from thyroid.stages import quality  # needs torchmetrics, which takes two seconds to import

    folder = run / "synthetic"
    remove_at_once(folder)
    folder.mkdir()
    replace_file(opened(measured, store) / quality.FILE, folder / quality.FILE)
    made = opened(measured.inputs["synthetic"], store)
    synthesis.write_examples(made, folder / "examples", EXAMPLES)


def _write_json(path: Path, content: Any) -> None:
    replace_text(path, json.dumps(content, indent=2) + "\n")
