"""The rows of a comparison: choosing each row's recipe, and the files that a run keeps of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.execution.in_process import Runner, bring_about, reread
from thyroid.files import cannot_write, remove_at_once
from thyroid.networks.build import parameters
from thyroid.recipe import Recipe
from thyroid.run_files import rows_json
from thyroid.run_files.predictions_csv import ARTIFACT, Predictions, out_of_fold, read_predictions
from thyroid.run_files.rows_json import ComparedRow
from thyroid.runs.compared_recipes import Row, changes_of, chosen
from thyroid.runs.experiment import Experiment
from thyroid.runs.failed_trainings import failed_trainings
from thyroid.runs.final_evaluation import copy_predictions
from thyroid.stage import Stage
from thyroid.storage.store import Store


def tuned(
    rows: list[Row],
    tried: Sequence[Sequence[Recipe]],
    dataset: Dataset,
    store: Store,
    runner: Runner,
) -> tuple[list[Row], dict[str, list[Stage]]]:
    """Return each row with its chosen recipe, and the stages of the other recipes, by their name.

    A recipe is chosen by out-of-fold predictions of the first seed's networks (see `chosen`).
    Recipes that could not be trained have no stages.

    Parameters
    ----------
    tried : for each row, its `candidates`, the row's own recipe first
    """

    def in_each_fold(recipe: Recipe) -> list[Stage]:
        return [
            pipeline.prediction(recipe.in_fold(fold), dataset.digest, 0, "validation")
            for fold in range(recipe.folds)
        ]

    def held_out(stages: Sequence[Stage]) -> Predictions | None:
        folders = [store.open(stage.key) for stage in stages]
        found = [read_predictions(f / ARTIFACT, classes) for f in folders if f is not None]
        return out_of_fold(found) if len(found) == len(stages) else None  # None: a fold diverged

    classes = dataset.info.classes
    validated = [[in_each_fold(recipe) for recipe in recipes] for recipes in tried]
    bring_about([s for of_row in validated for stages in of_row for s in stages], runner)
    better = []
    needs: dict[str, list[Stage]] = {}
    for row, recipes, of_recipe in zip(rows, tried, validated, strict=True):
        predicted = [held_out(stages) for stages in of_recipe]
        best = chosen(predicted)
        if best is None and row.kind == "method":
            raise InputError(f"No recipe of {row.title} could be trained: lower its learning rate.")
        best = best or 0  # a network of which all trainings diverge is later reported as failed
        among = max(1, row.trials) + len(recipes) - 1  # the given recipe counts once
        better.append(dataclasses.replace(row, recipe=recipes[best], trials=among))
        for number, (stages, found) in enumerate(zip(of_recipe, predicted, strict=True)):
            if found is not None and number != best:  # the best is trained with every seed
                needs[f"{row.name}, recipe {number}"] = stages
    return better, needs


def copy_rows(run: Path, method: Experiment, rows: Sequence[Row], store: Store) -> None:
    """Fill rows/ with the predictions of all rows except the first, which is the method's.

    Only seeds are included of which no network diverged.
    """
    with cannot_write(run):
        remove_at_once(run / rows_json.FOLDER)
        for row in rows[1:]:
            each = [dataclasses.replace(method.of(row.recipe), seeds=[s]) for s in method.seeds]
            whole = [
                own.seeds[0]
                for own in each
                if all(store.open(stage.key) is not None for stage in own.predictions())
            ]
            own = dataclasses.replace(method.of(row.recipe), seeds=whole)
            folder = run / rows_json.FOLDER / row.name / "predictions"
            copy_predictions(own.predictions(), own, store, folder)


def write_rows(run: Path, method: Experiment, rows: Sequence[Row], store: Store | None) -> None:
    """Write rows.json: the compared recipes, and the cost of those that the store has."""
    digest, classes = method.dataset.digest, len(method.dataset.info.classes)
    listed = []
    for row in rows:
        networks = method.of(row.recipe).networks
        trainings = [
            pipeline.classifier(row.recipe.in_fold(fold), digest, seed) for seed, fold in networks
        ]
        is_probe = row.recipe.training == "probe"
        stages = [stage for segments in trainings for stage in segments]
        folders = [] if store is None else [store.open(stage.key) for stage in stages]
        epochs = [epoch for f in folders if f is not None for epoch in reread(f)]
        listed.append(
            ComparedRow(
                name=row.name,
                kind=row.kind,
                title=row.title,
                changes=changes_of(method.recipe, row.recipe),
                parameters=parameters(trainings[0][-1].config.network, classes, probe=is_probe),
                trials=row.trials,
                train_seconds=sum(e["train_seconds"] for e in epochs) / len(networks),
                epochs=0 if is_probe else row.recipe.schedule.epochs,
                done=store is not None,
                trainings=len(networks),
                failed_at_first=row.failed_at_first,
                failed=failed_trainings(method.of(row.recipe), store) if store is not None else (),
                dose=row.dose,
                images=_counted(epochs, "images"),
                synthetic_images=_counted(epochs, "synthetic_images"),
            )
        )
    rows_json.write_rows(run, listed)


def _counted(epochs: Sequence[Mapping[str, Any]], name: str) -> int | None:
    """Return the sum of a count over epochs; None without epochs, or if some lack the count."""
    if not epochs or any(name not in epoch for epoch in epochs):
        return None
    return sum(int(epoch[name]) for epoch in epochs)
