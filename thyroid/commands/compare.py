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
) -> None:
    """Compare a recipe with other networks, and with itself less one of its parts.

    Args:
        dataset: a data set's folder.
        run: folder of the results, or s3://BUCKET/RUN; the same again resumes.
        fields: the recipe that is compared, the method; each field is an option.
        recipe: a preset (small, resnet18, paper) or a JSON file such as another run's recipe.json.
        options: see `CompareOptions`.
    """
    from thyroid.workflows.comparing import compare_recipe

    with filling(dataset, run, recipe, fields, options) as (given, options):
        tell_report(compare_recipe(given, options).folder)
