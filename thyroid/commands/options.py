"""Options that several commands share, and how they are parsed."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import inspect
import itertools
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from tyro.conf import Positional, arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from thyroid.errors import InputError
from thyroid.recipe import Recipe
from thyroid.workflows.options import (
    CompareOptions,
    RunOptions,
    SearchOptions,
    TrainOptions,
    named_recipe,
)

if TYPE_CHECKING:
    from thyroid.workflows.setup import Inputs

Fields = Annotated[Recipe, arg(name="")]
"""The recipe, each field an option: `--input.size 128`."""
Training = Annotated[TrainOptions, arg(name="")]
Searching = Annotated[SearchOptions, arg(name="")]
Comparing = Annotated[CompareOptions, arg(name="")]
"""Each field an option: `--store store`."""

DatasetPath = Annotated[Positional[Path], arg(metavar="DATASET")]
RunPath = Annotated[Positional[Path], arg(metavar="RUN")]
SourcePath = Annotated[Positional[Path], arg(metavar="SOURCE")]
StorePath = Annotated[Positional[Path], arg(metavar="STORE")]

Options = TypeVar("Options", bound=RunOptions)

READ = ConstructorRegistry()
"""Rules for options that tyro would parse differently."""


@READ.primitive_rule
def _names(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[tuple[str, ...]] | None:
    """Parse several names from one word: `--objectives macro_f1,compute`."""
    if info.type != tuple[str, ...]:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="STR",
        instance_from_str=lambda words: tuple(name.strip() for name in words[0].split(",")),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda names: [",".join(names)],
    )


def option_types(command: Callable[..., None]) -> dict[str, Any]:
    """Map the name of each option of a command, --NAME, to its type; `X | None` becomes X."""
    kinds = {name: given.kind for name, given in inspect.signature(command).parameters.items()}
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(command).items():
        if dataclasses.is_dataclass(hint):
            found |= _field_types(hint)
        elif kinds.get(name) is inspect.Parameter.KEYWORD_ONLY:
            found[name] = hint
    return {f"--{name.replace('_', '-')}": _given(hint) for name, hint in found.items()}


def _field_types(section: Any) -> dict[str, Any]:
    """Map the name of each field of a dataclass to its type; nested fields have dotted names."""
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(section).items():
        if dataclasses.is_dataclass(hint):
            found |= {f"{name}.{inner}": each for inner, each in _field_types(hint).items()}
        else:
            found[name] = hint
    return found


def _given(hint: Any) -> Any:
    """Return X for `X | None`, and any other type unchanged."""
    within = [each for each in typing.get_args(hint) if each is not type(None)]
    return within[0] if type(None) in typing.get_args(hint) and len(within) == 1 else hint


def require_paths(given: Iterable[Any]) -> None:
    """Refuse paths that the operating system rejects, also within dataclasses and tuples.

    Raises
    ------
    InputError
        When a path is too long or its links form a loop.
    """
    for each in given:
        if isinstance(each, Path):
            try:
                each.stat()
            except OSError as refusal:  # other errors are reported on reading or writing
                if refusal.errno in (errno.ELOOP, errno.ENAMETOOLONG):
                    raise InputError(f"{each} is not a valid path: {refusal.strerror}.") from None
        elif isinstance(each, tuple):
            require_paths(each)
        elif dataclasses.is_dataclass(each):
            require_paths([getattr(each, field.name) for field in dataclasses.fields(each)])


def require_page(page: Path) -> None:
    """Refuse a page that cannot be written, before its contents are computed.

    Raises
    ------
    InputError
        When the path is a folder, or its folder cannot be written to.
    """
    from thyroid.files import cannot_write, require_writable

    with cannot_write(page):
        if page.is_dir():
            raise InputError(f"{page} is a folder: name a file with --out.")
    require_writable(page.parent)


def base_recipe(argv: Sequence[str]) -> Recipe:
    """Return the recipe that `--recipe` names on a command line, or `small`.

    Raises
    ------
    InputError
        When the name is neither a preset nor a readable JSON file.
    """
    name = "small"
    for word, following in itertools.pairwise([*argv, ""]):
        if word == "--recipe":
            name = following
        elif word.startswith("--recipe="):
            name = word.removeprefix("--recipe=")
    return named_recipe(name)


@contextlib.contextmanager
def filling(
    dataset: Path, run: Path, recipe: str, fields: Recipe, options: Options
) -> Iterator[tuple[Inputs, Options]]:
    """Yield the inputs of a workflow; a run in a bucket is copied here, but not its store.

    Folders and data are checked first, because importing torch and Ray takes seconds.

    Parameters
    ----------
    fields : the recipe `recipe` with the changes that the options make
    """
    from thyroid.data.dataset import Dataset
    from thyroid.runs.run_place import require_place, require_store

    with run_here(run, alone=True) as folder:
        require_place(folder)
        if options.store is not None:
            require_store(Path(options.store))
        opened = Dataset.open(dataset)
        from thyroid.workflows.setup import inputs

        given = dataclasses.replace(inputs(opened, folder, recipe), recipe=fields)
        yield given, dataclasses.replace(options, store=options.store or run / "store")


@contextlib.contextmanager
def run_here(run: Path, *, alone: bool) -> Iterator[Path]:
    """Yield the run's folder; for a run in a bucket, a local copy whose changes are uploaded.

    Parameters
    ----------
    alone : True if the command fills the run, so no other command may work in it; False if it only
        reads the run
    """
    from thyroid.storage.bucket import bucket_url
    from thyroid.storage.mirror import local_copy

    url = bucket_url(run)
    if url is None:
        yield run
        return
    with local_copy(url, alone=alone) as folder:
        yield folder
    print(f"run: {url}")
