"""RUN/config.json, as everything but the command that writes it reads it. Imports no torch."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from thyroid.configuration import from_json
from thyroid.errors import InputError
from thyroid.recipe import Recipe

FILE = "config.json"
RECIPE = "recipe.json"


def read_config(run: Path) -> dict[str, Any]:
    """What config.json says; `folder.write_config` has what that is.

    Raises
    ------
    InputError
        When the folder holds no run, or the file cannot be read or understood.
    """
    path = run / FILE
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        classes = config["dataset"]["classes"]
        sound = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{run} is no run, it has no {FILE}: name a folder that `thyroid train`, "
            "`thyroid search`, `thyroid compare` or `thyroid demo` wrote."
        ) from None
    except OSError as refusal:
        raise InputError(f"{path} cannot be read ({refusal.strerror}): check the path.") from None
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise not_understood(run)
    return config


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """Of the search or the comparison; none of a training."""
    return config["search"] or config.get("comparison") or {}


def began_with(run: Path) -> Recipe | None:
    """The recipe that the run started from, of a search the one before it was searched; None where
    there is no run yet.

    Raises
    ------
    InputError
        When config.json cannot be understood.
    """
    if not (run / FILE).exists():
        return None
    config = read_config(run)
    try:
        return from_json(Recipe, settings(config).get("base", config["recipe"]))
    except (ValueError, KeyError, TypeError, AttributeError, InputError):
        raise not_understood(run) from None


def searched_before(recipe: str, run: Path) -> int:
    """How many recipes had been tried for the one that --recipe names: as the run began with, or
    by the run whose recipe.json it is; 0: none that is known of.

    Whoever chose it looked at validation images as often, whatever was changed of it afterwards.
    """
    if (run / FILE).exists():
        before = read_config(run).get("searched")
        if isinstance(before, int):
            return before
    path = Path(recipe)
    if path.name != RECIPE:
        return 0
    try:
        return _tried(path.parent)
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
        return 0  # a recipe of this name that lies beside something else


def _tried(run: Path) -> int:
    """Recipes that a run chose its own among, those before it included."""
    config = read_config(run)
    before = int(config.get("searched", 0))
    if config.get("comparison"):
        rows = json.loads((run / "rows.json").read_text(encoding="utf-8"))["rows"]
        return int(next(row["trials"] for row in rows if row["kind"] == "method"))
    if not config["search"]:
        return before
    table = run / "trials.csv"
    if not table.is_file():
        return before + int(config["search"]["trials"])
    with table.open(newline="", encoding="utf-8") as file:
        return before + sum(1 for _ in csv.DictReader(file))


def not_understood(run: Path) -> InputError:
    """What is said of a run whose config.json is damaged."""
    return InputError(
        f"{run / FILE} cannot be understood: it is damaged, or of another version of thyroid; "
        "choose another run folder."
    )
