"""`thyroid compare`."""

from __future__ import annotations

from thyroid.commands.options import Comparing, DatasetPath, Fields, RunPath, filling
from thyroid.commands.report import tell_report


def compare(
    dataset: DatasetPath,
    run: RunPath,
    fields: Fields,
    *,
    recipe: str = "small",
    options: Comparing,
    dry_run: bool = False,
) -> None:
    """Compare a recipe with other networks, and with versions of itself that lack one part each.

    Args:
        dataset: folder of the data set.
        run: folder of the results, or s3://BUCKET/RUN; to resume, run the same command again.
        fields: the recipe to compare (the method); each field is an option.
        recipe: a preset (small, resnet18, paper) or a JSON file such as another run's recipe.json.
        options: see `CompareOptions`.
        dry_run: only show the recipe and its stages: which are in the store, and how many trainings
            share each.
    """
    with filling(dataset, run, recipe, fields, options) as (given, options):
        from thyroid.commands.plan import tell_plan
        from thyroid.storage.open_store import open_store
        from thyroid.workflows.comparing import compare_recipe, planned

        if dry_run:
            plan = planned(given, options)
            tell_plan(plan.setup.recipe, plan.needs(), open_store(plan.setup.store), shared=True)
        else:
            tell_report(compare_recipe(given, options).folder)
