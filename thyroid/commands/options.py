"""What several commands take, and how they read it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from thyroid.errors import InputError
from thyroid.recipe import RECIPES, Recipe, for_data, read_recipe

if TYPE_CHECKING:
    from thyroid.data.dataset import Dataset
    from thyroid.execution.in_process import Datasets

Fields = Annotated[Recipe, arg(name="")]
"""The recipe, each field an option: `--input.size 128`."""

DatasetPath = Annotated[Positional[Path], arg(metavar="DATASET")]
RunPath = Annotated[Positional[Path], arg(metavar="RUN")]
SourcePath = Annotated[Positional[Path], arg(metavar="SOURCE")]
StorePath = Annotated[Positional[Path], arg(metavar="STORE")]


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
    if name in RECIPES:
        return RECIPES[name]()
    if name.endswith(".json"):
        return read_recipe(Path(name))
    raise InputError(f"--recipe '{name}' is unknown: choose {', '.join(RECIPES)} or a JSON file.")


def resolved(
    recipe: Recipe, dataset: Dataset, gpus_per_worker: float, run: Path | None = None
) -> Recipe:
    """The recipe with `auto` replaced by what there is, and without what the data do not allow."""
    from thyroid.machine import resolve
    from thyroid.progress import say
    from thyroid.runs.config import began_with
    from thyroid.speed import fastest

    if dataset.info.kind == "display":
        say("The data are pictures, not counts: thinning of counts is switched off.")
    execution = recipe.execution
    if gpus_per_worker and execution.device == "auto":  # the workers' machines, not this one
        execution = dataclasses.replace(execution, device="cuda")
    before = None if run is None else began_with(run)
    fixed = fastest(dataclasses.replace(recipe, execution=resolve(execution)), before)
    fitting = for_data(fixed, dataset.info.kind, crosses=bool(dataset.is_cross.any()))
    if fixed.synthetic and fitting.mixing != fixed.mixing:
        say("No image shows more than one disease: no synthetic cross images are made.")
    if fixed.cross.order != fitting.cross.order:
        say("No image shows more than one disease: there is no cross phase.")
    return fitting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
    """What a command reads, and the recipe that names it all by its content."""

    recipe: Recipe
    test_set: Dataset | None
    where: Datasets
    """Folder of each data set, and each weights file, by its digest."""


def sources(
    dataset: Dataset,
    recipe: Recipe,
    *,
    test_set: Path | None = None,
    weights: Path | None = None,
    vgg19: Path | None = None,
) -> Sources:
    """Put the digests of the user's files into the recipe.

    With a test set, no patient of `dataset` is kept for testing.

    Raises
    ------
    InputError
        When a file cannot be read or holds something else, or is not the one that the recipe was
        made with.
    """
    from thyroid.data.dataset import Dataset
    from thyroid.networks.build import build
    from thyroid.networks.pretrained import load_pretrained
    from thyroid.networks.srgan import Vgg19Features

    where = {dataset.digest: dataset.folder}
    tested = None
    if test_set is not None:
        tested = Dataset.open(test_set.absolute())
        where[tested.digest] = tested.folder
        split = dataclasses.replace(recipe.split, test=0.0, leave_out_centre=None)
        recipe = dataclasses.replace(recipe, split=split)

    digest = _digest(vgg19, recipe.srgan.vgg19, "--vgg19")
    if vgg19 is not None and digest is not None:
        Vgg19Features(vgg19)  # said now, not after the generators' first half
        where[digest] = vgg19.absolute()
        recipe = dataclasses.replace(recipe, srgan=dataclasses.replace(recipe.srgan, vgg19=digest))

    digest = _digest(weights, recipe.network.weights, "--weights")
    if weights is not None and digest is not None:
        load_pretrained(build(recipe.network, len(dataset.info.classes)), weights, recipe.network)
        where[digest] = weights.absolute()
        network = dataclasses.replace(recipe.network, weights=digest)
        recipe = dataclasses.replace(recipe, network=network)
    return Sources(recipe=recipe, test_set=tested, where=where)


def _digest(file: Path | None, asked: str | None, option: str) -> str | None:
    """SHA-256 of a weights file, which is the recipe's where this names one."""
    from thyroid.files import sha256_of

    if file is None:
        if asked is not None:
            raise InputError(f"The recipe takes weights: give {option} FILE ({asked[:12]}).")
        return None
    if not file.is_file():
        raise InputError(f"{option} {file} is no file.")
    found = sha256_of(file)
    if asked not in (None, found):
        raise InputError(f"{option} {file} is not the file of the recipe ({asked[:12]}).")
    return found


def seconds(text: str, option: str = "--time-budget") -> float:
    """`90s`, `30m`, `2h`, `30d` in seconds."""
    found = _quantity(text, {"s": 1, "m": 60, "h": 3600, "d": 86400})
    if found is None:
        raise InputError(f"{option} '{text}' is no duration: write 90s, 30m, 2h or 30d.")
    return found


def size(text: str, option: str) -> int:
    """`500MB`, `20GB`, `1TB` in bytes."""
    found = _quantity(text, {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12})
    if found is None:
        raise InputError(f"{option} '{text}' is no size: write 500MB, 20GB or 1TB.")
    return int(found)


def _quantity(text: str, units: dict[str, float]) -> float | None:
    """A number above zero and a unit."""
    parts = re.fullmatch(rf"([0-9]*\.?[0-9]+) ?({'|'.join(units)})", text)
    value = 0.0 if parts is None else float(parts[1]) * units[parts[2]]
    return value if 0 < value < math.inf else None
