"""`thyroid train`."""

from __future__ import annotations

from thyroid.commands.options import DatasetPath, Fields, RunPath, Training, filling
from thyroid.commands.report import tell_report


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
        dataset: folder of the data set.
        run: folder of the results, or s3://BUCKET/RUN; to resume, run the same command again.
        fields: the recipe; each field is an option.
        recipe: a preset (small, resnet18, paper) or a JSON file such as another run's recipe.json.
        options: see `TrainOptions`.
        dry_run: only show the recipe and its stages, and which of them are in the store.
    """
    with filling(dataset, run, recipe, fields, options) as (given, options):
        from thyroid.commands.plan import tell_plan
        from thyroid.storage.open_store import open_store
        from thyroid.workflows.setup import set_up
        from thyroid.workflows.training import train_recipe

        if dry_run:
            setup = set_up(given, options)
            experiment = setup.experiment(options.seeds, of_one_split=3)
            tell_plan(experiment.recipe, experiment.needs(), open_store(setup.store))
        else:
            tell_report(train_recipe(given, options).folder)
