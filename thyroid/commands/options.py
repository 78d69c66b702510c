"""Options that several commands share, and their reading."""

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
"""How options are read that tyro would read otherwise."""


@READ.primitive_rule
def _names(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[tuple[str, ...]] | None:
    """Several names are one word: `--objectives macro_f1,compute`."""
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
    """Return the type of each option of a command by its name, --NAME; of `X | None`, X."""
    kinds = {name: given.kind for name, given in inspect.signature(command).parameters.items()}
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(command).items():
        if dataclasses.is_dataclass(hint):
            found |= _field_types(hint)
        elif kinds.get(name) is inspect.Parameter.KEYWORD_ONLY:
            found[name] = hint
    return {f"--{name.replace('_', '-')}": _given(hint) for name, hint in found.items()}


def _field_types(section: Any) -> dict[str, Any]:
    """Return the type of each field of a dataclass, of one within it by its dotted name."""
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(section).items():
        if dataclasses.is_dataclass(hint):
            found |= {f"{name}.{inner}": each for inner, each in _field_types(hint).items()}
        else:
            found[name] = hint
    return found


def _given(hint: Any) -> Any:
    """Return the type of what is given where an option may also be left out."""
    within = [each for each in typing.get_args(hint) if each is not type(None)]
    return within[0] if type(None) in typing.get_args(hint) and len(within) == 1 else hint


def require_paths(given: Iterable[Any]) -> None:
    """Refuse paths that no system call takes; those of dataclasses and tuples included.

    Raises
    ------
    InputError
        When one is too long, or leads through a circle of links.
    """
    for each in given:
        if isinstance(each, Path):
            try:
                each.stat()
            except OSError as refusal:  # any other is told by who reads or writes there
                if refusal.errno in (errno.ELOOP, errno.ENAMETOOLONG):
                    raise InputError(f"{each} is no path: {refusal.strerror}.") from None
        elif isinstance(each, tuple):
            require_paths(each)
        elif dataclasses.is_dataclass(each):
            require_paths([getattr(each, field.name) for field in dataclasses.fields(each)])


def require_page(page: Path) -> None:
    """Refuse a page that cannot be written, before what it shows is computed.

    Raises
    ------
    InputError
        When it is a folder, or nothing can be written beside it.
    """
    from thyroid.files import cannot_write, require_writable

    with cannot_write(page):
        if page.is_dir():
            raise InputError(f"{page} is a folder: name a file with --out.")
    require_writable(page.parent)


def base_recipe(argv: Sequence[str]) -> Recipe:
    """The recipe that `--recipe` names among the words of a command line, or `small`.

    Raises
    ------
    InputError
        When it is neither a preset nor a readable JSON file.
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
    """Inputs of a workflow. A run in a bucket is worked on as a copy, with its store in the bucket.

    Folders and data are looked at before torch and Ray are imported, which takes seconds.

    Parameters
    ----------
    fields : those of `recipe`, changed by options
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
    """The run's folder; of one in a bucket a copy, whose changes go up.

    Parameters
    ----------
    alone : whether the command fills the run, where no other may be at work; else it reads one
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
