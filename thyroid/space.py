"""Search spaces by name or file."""

from __future__ import annotations

import importlib.util
import inspect
import traceback
from collections.abc import Callable
from pathlib import Path

from optuna.trial import BaseTrial

from thyroid.errors import InputError
from thyroid.recipe import Recipe

Space = Callable[[BaseTrial, Recipe], Recipe]
"""A function space(trial, recipe) that proposes a recipe, starting from `recipe`."""


def space_file(name: str) -> Path:
    """Return the file of a space: `tune_spaces/NAME.py`, or NAME itself if it ends in `.py`.

    Raises
    ------
    InputError
        When there is no such file.
    """
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"The search space {name} is not a file: give NAME or FILE.py.")
        return path
    import tune_spaces

    folder = Path(str(tune_spaces.__file__)).parent
    path = folder / f"{name}.py"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("[a-z]*.py")))
        raise InputError(f"There is no search space '{name}': choose {known} or FILE.py.")
    return path


def load_space(name: str) -> Space:
    """Return the function `space` of a space's file.

    Whatever that function raises becomes an InputError that names file and line.

    Raises
    ------
    InputError
        When there is no such file, it cannot be imported, or has no such function.
    """
    path = space_file(name)
    spec = importlib.util.spec_from_file_location(f"thyroid_space_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"The search space {path} cannot be imported: {_sentence(error, path)}."
        ) from error
    space = getattr(module, "space", None)
    try:
        inspect.signature(space).bind("trial", "recipe")  # type: ignore[arg-type]  # may be None
    except (TypeError, ValueError):
        raise InputError(
            f"The search space {path} must define space(trial, recipe), a function of two "
            "arguments."
        ) from None

    def guarded(trial: BaseTrial, recipe: Recipe) -> Recipe:
        try:
            proposed: Recipe = space(trial, recipe)  # type: ignore[misc]  # bound above
        except (Exception, SystemExit) as error:
            raise InputError(f"{_sentence(error, path)}.") from error
        if not isinstance(proposed, Recipe):
            raise InputError(f"{path}: space returned {proposed!r} and not a Recipe.")
        return proposed

    return guarded


def _sentence(error: BaseException, path: Path) -> str:
    """Return an error as text, with the line of the file that raised it."""
    if isinstance(error, SyntaxError):
        return f"{path}, line {error.lineno}: {error.msg}"
    file = str(path.absolute())  # as importlib names it
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    place = f"{path}, line {lines[-1]}" if lines else str(path)
    message = " ".join(str(error).split()).rstrip(".")
    if not isinstance(error, InputError):  # whose message is a sentence already
        message = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{place}: {message}"
