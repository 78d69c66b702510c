"""RUN/config.json and RUN/recipe.json: what reproduces a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from thyroid.configuration import from_json
from thyroid.errors import InputError
from thyroid.recipe import Recipe

FILE = "config.json"
RECIPE = "recipe.json"


def read_config(run: Path) -> dict[str, Any]:
    """Return what config.json says; `run_folder.write_config` has what that is.

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
            f"{run} is not a run (it has no {FILE}): name a folder that `thyroid train`, `thyroid "
            "search`, `thyroid compare` or `thyroid demo` wrote."
        ) from None
    except OSError as refusal:
        raise InputError(f"{path} cannot be read ({refusal.strerror}): check the path.") from None
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise not_understood(run)
    return config


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the search or the comparison; none of a training."""
    return config["search"] or config.get("comparison") or {}


def began_with(run: Path) -> Recipe | None:
    """Return the recipe that the run started from, of a search the one before it was searched;
    None where there is no run yet.

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


def not_understood(run: Path) -> InputError:
    """Return the error of a run whose config.json is damaged."""
    return InputError(
        f"{run / FILE} cannot be read: it is damaged, or was written by another version of "
        "thyroid; choose another run folder."
    )
