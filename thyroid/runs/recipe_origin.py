"""How many recipes were tried for the one that a command is given."""

from __future__ import annotations

from pathlib import Path

from thyroid.errors import InputError
from thyroid.run_files.config_json import FILE, RECIPE, read_config
from thyroid.run_files.rows_json import read_rows
from thyroid.run_files.trials_csv import read_trials


def searched_before(recipe: str, run: Path) -> int:
    """Return how many recipes had been tried for the one that --recipe names.

    A run that goes on keeps the number that it began with; a run's recipe.json has the number of
    that run; any other recipe has 0: none that is known of. Whoever chose a recipe looked at
    validation images as often, whatever was changed of it afterwards.
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
        return 0  # a recipe of this name that lies beside something else


def _tried(run: Path) -> int:
    """Return how many recipes a run chose its own among, those before it included."""
    config = read_config(run)
    before = config.searched or 0
    if config.comparison:
        return next((row.trials for row in read_rows(run) if row.kind == "method"), before)
    if config.search is None:
        return before
    return before + (len(read_trials(run)) or config.search.trials)
