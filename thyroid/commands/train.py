"""`thyroid train`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from thyroid.commands.options import DatasetPath, Fields, RunPath, Training, filling
from thyroid.commands.report import tell_report
from thyroid.configuration import to_json

if TYPE_CHECKING:
    from thyroid.runs.experiment import Experiment
    from thyroid.storage.store import Store


def train(
    dataset: DatasetPath,
    run: RunPath,
    fields: Fields,
    *,
    recipe: str = "small",
    options: Training,
    dry_run: bool = False,
) -> None:
    """Train one recipe.

    Args:
        dataset: a data set's folder.
        run: folder of the results, or s3://BUCKET/RUN; the same again resumes.
        fields: what the recipe says; each field is an option.
        recipe: a preset (small, resnet18, paper) or a JSON file such as another run's recipe.json.
        options: see `TrainOptions`.
        dry_run: show the recipe and the stages with what the store has, and stop.
    """
    from thyroid.storage.open_store import open_store
    from thyroid.workflows.setup import set_up
    from thyroid.workflows.training import train_recipe

    with filling(dataset, run, recipe, fields, options) as (given, options):
        if dry_run:
            setup = set_up(given, options)
            _tell_plan(setup.experiment(options.seeds, of_one_split=3), open_store(setup.store))
        else:
            tell_report(train_recipe(given, options).folder)


def _tell_plan(experiment: Experiment, store: Store) -> None:
    """The resolved recipe and the stage graph, with what is in the store already."""
    print(json.dumps(to_json(experiment.recipe), indent=2))
    shown: set[str] = set()
    for final in experiment.stages():
        for stage in final.lineage():
            if stage.key not in shown:
                shown.add(stage.key)
                needs = " ".join(upstream.key[:8] for upstream in stage.inputs.values())
                state = "in the store" if stage.key in store else "to do"
                print(f"{stage.key[:8]}  {stage.kind:<11}{state:<14}{needs}")
