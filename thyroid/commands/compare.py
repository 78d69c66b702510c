"""`thyroid compare`."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

from thyroid.commands.options import DatasetPath, Fields, RunPath, resolved, sources
from thyroid.commands.report import report
from thyroid.errors import InputError
from thyroid.recipe import to_json

if TYPE_CHECKING:
    from thyroid.comparison import Row
    from thyroid.data.dataset import Dataset
    from thyroid.execute import Runner
    from thyroid.space import Space
    from thyroid.stage import Stage
    from thyroid.store import Store


def compare(
    dataset: DatasetPath,
    run: RunPath,
    fields: Fields,
    *,
    recipe: str = "small",
    models: str = "small",
    ablations: bool = False,
    trials_per_model: int = 1,
    space: str = "baselines",
    seeds: int = 5,
    test_set: Path | None = None,
    store: Path | None = None,
    weights: Path | None = None,
    vgg19: Path | None = None,
    address: str | None = None,
    gpus_per_worker: float = 0.0,
) -> None:
    """Compare a recipe with other networks, and with itself less one of its parts.

    Args:
        dataset: a data set's folder.
        run: folder of the results, or s3://BUCKET/RUN; the same again resumes.
        fields: the recipe that is compared, the method; each field is an option.
        recipe: a preset (small, resnet18, paper) or a JSON file such as another run's recipe.json.
        models: networks trained on the same images with as many steps: small (those for two
            processors), published (torchvision's), none, or names such as lenet5,vgg_small.
        ablations: also compare the method with itself less one part at a time.
        trials_per_model: recipes tried for the method and for each network, on validation images;
            the given one stays unless the best other is better by more than a standard error.
        space: what is tried, a file of tune_spaces by its name or FILE.py; the recipe comes first.
        seeds: trainings of every row for the final comparison.
        test_set: a data set that is the test part, such as other centres' images; default: some
            patients of DATASET.
        store: folder of artifacts, or s3://BUCKET/STORE, which runs may share; default: RUN/store.
        weights: torchvision's weights of the method's network, from which its training starts.
        vgg19: torchvision's VGG-19 weights, for super-resolution; default: features of a
            classifier trained here.
        address: a Ray cluster's; default: Ray is started on this machine.
        gpus_per_worker: share of a GPU per worker, for instance 0.25 or 1.
    """
    from thyroid.comparison import ablation_rows, baseline_names, baseline_rows, method_row
    from thyroid.data.dataset import Dataset
    from thyroid.distribute.connection import connected, patience
    from thyroid.distribute.flights import on_ray
    from thyroid.distribute.tasks import require_room, resources_there
    from thyroid.execute import bring_about
    from thyroid.files import sha256_of
    from thyroid.ledger import Ledger
    from thyroid.progress import say
    from thyroid.run import (
        final_needs,
        locked,
        own_store,
        predictions,
        preflight,
        require_same,
        write_config,
        write_results,
    )
    from thyroid.savings import lineages, write_stages
    from thyroid.space import load_space, space_file
    from thyroid.speed import fastest
    from thyroid.store import Store

    if seeds < 1 or trials_per_model < 1:
        raise InputError("--seeds and --trials-per-model must be at least 1.")
    data = Dataset.open(dataset.absolute())
    base = resolved(fields, data, gpus_per_worker, run)
    given = sources(data, base, test_set=test_set, weights=weights, vgg19=vgg19)
    base, where, tested = given.recipe, given.where, given.test_set
    propose = load_space(space)
    rows = [method_row(base)]
    rows += [
        dataclasses.replace(row, recipe=fastest(row.recipe))
        for row in baseline_rows(base, baseline_names(models))
    ]
    for row in rows:
        preflight(data, row.recipe, tested)
    for row in ablation_rows(base) if ablations else []:
        preflight(data, row.recipe, tested)
    Store.at(store or run / "store")  # refused before anything is written
    about = {
        "models": models,
        "ablations": ablations,
        "trials_per_model": trials_per_model,
        "space": space,
        "space_sha256": sha256_of(space_file(space)),
        "base": to_json(base),
    }
    every = range(seeds)
    with connected(address), locked(run):
        require_room(base.execution, gpus_per_worker, patience(address))
        require_same(run, data, base, "compare", about, tested)
        if not (run / "config.json").exists():
            write_config(run, data, base, every, "compare", None, tested, about)
        artifacts = own_store(run, store)
        ledger = Ledger(run, resources_there)
        on_cluster = functools.partial(on_ray, artifacts, where, gpus_per_worker)
        with artifacts.in_use():
            needs: dict[str, list[Stage]] = {}
            if trials_per_model > 1:
                say(f"trying {trials_per_model} recipes for each of {len(rows)} networks")
                with ledger.counting("search") as meter:
                    runner = on_cluster(keep_going=True, meter=meter)
                    rows, needs = _tuned(rows, data, propose, trials_per_model, artifacts, runner)
            method = rows[0].recipe
            write_config(run, data, method, every, "compare", None, tested, about)
            rows += ablation_rows(method) if ablations else []
            say(f"training {len(rows)} recipes with {seeds} seeds each")
            needs |= final_needs(data, method, every, tested)
            for row in rows[1:]:
                for seed in every:
                    stages = predictions(data, row.recipe, [seed], tested)
                    needs[f"{row.name}, seed {seed}"] = stages
            wanted = [stage for stages in needs.values() for stage in stages]
            _write_rows(run, data, rows, every, trials_per_model, None)
            with ledger.counting("final") as meter:
                bring_about(wanted, on_cluster(meter=meter))
            write_results(run, data, method, every, artifacts, tested)
            _copy_rows(run, data, rows, every, artifacts, tested)
            _write_rows(run, data, rows, every, trials_per_model, artifacts)
            write_stages(run, lineages(needs), artifacts)
    report(run)


def _tuned(
    rows: list[Row], dataset: Dataset, space: Space, trials: int, store: Store, runner: Runner
) -> tuple[list[Row], dict[str, list[Stage]]]:
    """Each row with the recipe that the first seed's validation images choose (see `chosen`); and
    the stages that could be made of what was tried, by the proposal.
    """
    from thyroid import pipeline
    from thyroid.comparison import candidates, chosen
    from thyroid.evaluate.predictions import read_predictions
    from thyroid.execute import bring_about
    from thyroid.stages.prediction import FILE

    tried = [candidates(row.recipe, space, trials, seed=0) for row in rows]
    validated = [
        [pipeline.prediction(recipe, dataset.digest, 0, "validation") for recipe in recipes]
        for recipes in tried
    ]
    bring_about([stage for of_row in validated for stage in of_row], runner)
    tuned = []
    needs: dict[str, list[Stage]] = {}
    for row, recipes, stages in zip(rows, tried, validated, strict=True):
        folders = [store.open(stage.key) for stage in stages]  # None: it diverged
        classes = dataset.info.classes
        best = chosen([None if f is None else read_predictions(f / FILE, classes) for f in folders])
        if best is None:
            raise InputError(f"No recipe of {row.title} could be trained: lower its learning rate.")
        tuned.append(dataclasses.replace(row, recipe=recipes[best]))
        for number, (stage, folder) in enumerate(zip(stages, folders, strict=True)):
            if folder is not None and number != best:  # that one is trained with every seed
                needs[f"{row.name}, recipe {number}"] = [stage]
    return tuned, needs


def _copy_rows(
    run: Path,
    dataset: Dataset,
    rows: list[Row],
    seeds: range,
    store: Store,
    test_set: Dataset | None,
) -> None:
    import shutil

    from thyroid.files import cannot_write
    from thyroid.run import copy_predictions, predictions

    with cannot_write(run):
        shutil.rmtree(run / "rows", ignore_errors=True)
        for row in rows[1:]:
            folder = run / "rows" / row.name / "predictions"
            copy_predictions(predictions(dataset, row.recipe, seeds, test_set), store, folder)


def _write_rows(
    run: Path, dataset: Dataset, rows: list[Row], seeds: range, trials: int, store: Store | None
) -> None:
    """Write rows.json: what is compared, and, where the store has it, what it cost."""
    from thyroid import pipeline
    from thyroid.comparison import changes_of
    from thyroid.execute import opened, reread
    from thyroid.files import replace_text
    from thyroid.networks.registry import parameters

    classes = len(dataset.info.classes)
    listed = []
    for row in rows:
        seconds = 0.0
        if store is not None:
            for seed in seeds:
                for stage in pipeline.classifier(row.recipe, dataset.digest, seed):
                    metrics = reread(opened(stage, store))
                    seconds += sum(m["train_seconds"] for m in metrics) / len(seeds)
        trained = pipeline.classifier(row.recipe, dataset.digest, 0)[-1].config.network
        listed.append(
            {
                "name": row.name,
                "kind": row.kind,
                "title": row.title,
                "changes": changes_of(rows[0].recipe, row.recipe),
                "parameters": parameters(trained, classes),
                "trials": trials if trials > 1 and row.kind != "ablation" else 0,
                "train_seconds": seconds,
                "epochs": row.recipe.schedule.epochs,
                "done": store is not None,
            }
        )
    replace_text(run / "rows.json", json.dumps({"rows": listed}, indent=2) + "\n")
