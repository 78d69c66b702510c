"""The rows of a comparison: the recipe of each, chosen, and what a run keeps of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.execution.in_process import Runner, bring_about, opened, reread
from thyroid.files import cannot_write, remove_at_once
from thyroid.networks.build import parameters
from thyroid.recipe import Recipe
from thyroid.run_files import rows_json
from thyroid.run_files.predictions_csv import read_predictions
from thyroid.run_files.rows_json import ComparedRow
from thyroid.runs.compared_recipes import Row, changes_of, chosen
from thyroid.runs.experiment import Experiment
from thyroid.runs.final_evaluation import copy_predictions
from thyroid.stage import Stage
from thyroid.stages.predict_part import FILE
from thyroid.storage.store import Store


def tuned(
    rows: list[Row],
    tried: Sequence[Sequence[Recipe]],
    dataset: Dataset,
    store: Store,
    runner: Runner,
) -> tuple[list[Row], dict[str, list[Stage]]]:
    """Each row with the one of its recipes that the first seed's validation images choose (see
    `chosen`); and the stages that could be made of what was tried, by the proposal.

    Parameters
    ----------
    tried : of each row, as `candidates` has them: the row's own recipe first
    """
    validated = [
        [pipeline.prediction(recipe, dataset.digest, 0, "validation") for recipe in recipes]
        for recipes in tried
    ]
    bring_about([stage for of_row in validated for stage in of_row], runner)
    better = []
    needs: dict[str, list[Stage]] = {}
    for row, recipes, stages in zip(rows, tried, validated, strict=True):
        folders = [store.open(stage.key) for stage in stages]  # None: it diverged
        classes = dataset.info.classes
        best = chosen([None if f is None else read_predictions(f / FILE, classes) for f in folders])
        if best is None:
            raise InputError(f"No recipe of {row.title} could be trained: lower its learning rate.")
        among = max(1, row.trials) + len(recipes) - 1  # what was given counts once
        better.append(dataclasses.replace(row, recipe=recipes[best], trials=among))
        for number, (stage, folder) in enumerate(zip(stages, folders, strict=True)):
            if folder is not None and number != best:  # that one is trained with every seed
                needs[f"{row.name}, recipe {number}"] = [stage]
    return better, needs


def copy_rows(run: Path, method: Experiment, rows: Sequence[Row], store: Store) -> None:
    """Fill rows/ with the predictions of all rows but the first, the method's own."""
    with cannot_write(run):
        remove_at_once(run / rows_json.FOLDER)
        for row in rows[1:]:
            predicted = method.of(row.recipe).predictions()
            copy_predictions(predicted, store, run / rows_json.FOLDER / row.name / "predictions")


def write_rows(run: Path, method: Experiment, rows: Sequence[Row], store: Store | None) -> None:
    """Write rows.json: what is compared, and, where the store has it, what it cost."""
    digest, classes = method.dataset.digest, len(method.dataset.info.classes)
    listed = []
    for row in rows:
        trainings = [pipeline.classifier(row.recipe, digest, seed) for seed in method.seeds]
        seconds = 0.0
        if store is not None:
            for stage in (stage for stages in trainings for stage in stages):
                metrics = reread(opened(stage, store))
                seconds += sum(m["train_seconds"] for m in metrics) / len(method.seeds)
        listed.append(
            ComparedRow(
                name=row.name,
                kind=row.kind,
                title=row.title,
                changes=changes_of(method.recipe, row.recipe),
                parameters=parameters(trainings[0][-1].config.network, classes),
                trials=row.trials,
                train_seconds=seconds,
                epochs=row.recipe.schedule.epochs,
                done=store is not None,
            )
        )
    rows_json.write_rows(run, listed)
