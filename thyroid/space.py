"""Search spaces by name or file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from optuna.trial import BaseTrial

from thyroid.errors import InputError
from thyroid.recipe import Recipe

Space = Callable[[BaseTrial, Recipe], Recipe]
"""space(trial, recipe): one proposal, starting from `recipe`."""


def space_file(name: str) -> Path:
    """`tune_spaces/NAME.py`, or the file that NAME is.

    Raises
    ------
    InputError
        When there is none.
    """
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"The search space {name} is no file: give NAME or FILE.py.")
        return path
    import tune_spaces

    folder = Path(str(tune_spaces.__file__)).parent
    path = folder / f"{name}.py"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("[a-z]*.py")))
        raise InputError(f"There is no search space '{name}': choose {known} or FILE.py.")
    return path


def load_space(name: str) -> Space:
    """The function `space` of a space's file.

    Raises
    ------
    InputError
        When there is no such file, or it cannot be imported.
    """
    path = space_file(name)
    spec = importlib.util.spec_from_file_location(f"thyroid_space_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        space: Space = module.space
    except Exception as wrong:
        raise InputError(
            f"The search space {path} cannot be used ({type(wrong).__name__}: {wrong}): "
            "it must define space(trial, recipe)."
        ) from wrong
    return space
