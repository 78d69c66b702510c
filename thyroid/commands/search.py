"""`thyroid search`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thyroid.commands.options import DatasetPath, Fields, RunPath, Searching, filling
from thyroid.commands.report import tell_report

if TYPE_CHECKING:
    from thyroid.workflows.run import Run


def search(
    dataset: DatasetPath,
    run: RunPath,
    fields: Fields,
    *,
    recipe: str = "small",
    options: Searching,
) -> None:
    """Search for a better recipe.

    Args:
        dataset: folder of the data set.
        run: folder of the results, or s3://BUCKET/RUN; to resume, run the same command again.
        fields: the recipe that the space starts from; each field is an option.
        recipe: a preset (small, resnet18, paper) or a JSON file such as another run's recipe.json.
        options: see `SearchOptions`.
    """
    with filling(dataset, run, recipe, fields, options) as (given, options):
        from thyroid.workflows.searching import search_recipes

        tell_search(search_recipes(given, options))


def tell_search(run: Run) -> None:
    """Print where the trials and the report are, and what the best recipe changes."""
    from thyroid.runs.compared_recipes import changes_of

    print(f"trials: {run.folder / 'trials.csv'}")
    print(f"best recipe: {run.folder / 'recipe.json'}, which differs from the given one by")
    changed = changes_of(run.recipe, run.best_recipe)
    for name, value in changed.items():
        shown = f"{value:.6g}" if isinstance(value, float) else value
        print(f"  --{name.replace('_', '-')} {shown}")
    if not changed:
        print("  nothing")
    tell_report(run.folder)
