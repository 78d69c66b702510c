"""The number of recipes that were tried to find the one that a command is given."""

from __future__ import annotations

from pathlib import Path

from thyroid.errors import InputError
from thyroid.run_files.config_json import FILE, RECIPE, read_config
from thyroid.run_files.rows_json import read_rows
from thyroid.run_files.trials_csv import read_trials


def searched_before(recipe: str, run: Path) -> int:
    """Return how many recipes were tried to find the one that --recipe names.

    A run that continues keeps its first number; a run's recipe.json has that run's number; any
    other recipe has 0, because nothing is known about its origin. Later changes of a recipe do not
    lower the number, because they do not undo the choice on validation images.
    """
    if (run / FILE).exists():
        before = read_config(run).searched
        if before is not None:
            return before
    path = Path(recipe)
    if path.name != RECIPE:
        return 0
    try:
        return _tried(path.parent)
    except InputError:
        return 0  # a file of this name in a folder that is not a run


def _tried(run: Path) -> int:
    """Count the recipes from which a run chose its own, including those of earlier runs."""
    config = read_config(run)
    before = config.searched or 0
    if config.comparison:
        return next((row.trials for row in read_rows(run) if row.kind == "method"), before)
    if config.search is None:
        return before
    return before + (len(read_trials(run)) or config.search.trials)
