"""What several commands take, and how they read it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from thyroid.errors import InputError
from thyroid.recipe import RECIPES, Recipe, for_data, read_recipe

if TYPE_CHECKING:
    from thyroid.data.dataset import Dataset
    from thyroid.execute import Datasets

Fields = Annotated[Recipe, arg(name="")]
"""The recipe, each field an option: `--input.size 128`."""

DatasetPath = Annotated[Positional[Path], arg(metavar="DATASET")]
RunPath = Annotated[Positional[Path], arg(metavar="RUN")]
SourcePath = Annotated[Positional[Path], arg(metavar="SOURCE")]


def base_recipe(argv: Sequence[str]) -> Recipe:
    """The recipe that `--recipe` names among the words of a command line, or `small`.

    Raises
    ------
    InputError
        When it is neither a preset nor a readable JSON file.
    """
    name = "small"
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word == "--recipe":
            name = following
        elif word.startswith("--recipe="):
            name = word.removeprefix("--recipe=")
    if name in RECIPES:
        return RECIPES[name]()
    if name.endswith(".json"):
        return read_recipe(Path(name))
    raise InputError(f"--recipe '{name}' is unknown: choose {', '.join(RECIPES)} or a JSON file.")


def resolved(recipe: Recipe, dataset: Dataset, gpus_per_worker: float) -> Recipe:
    """The recipe with `auto` replaced by what there is, and without what the data do not allow."""
    from thyroid.machine import resolve
    from thyroid.progress import say

    if dataset.info.kind == "display":
        say("The data are pictures, not counts: thinning of counts is switched off.")
    execution = recipe.execution
    if gpus_per_worker and execution.device == "auto":  # the workers' machines, not this one
        execution = dataclasses.replace(execution, device="cuda")
    fixed = dataclasses.replace(recipe, execution=resolve(execution))
    fitting = for_data(fixed, dataset.info.kind, crosses=bool(dataset.is_cross.any()))
    if fixed.mixing.synthetic and fitting.mixing != fixed.mixing:
        say("No image shows more than one disease: no synthetic cross images are made.")
    return fitting


def sources(dataset: Dataset, recipe: Recipe, vgg19: Path | None) -> tuple[Recipe, Datasets]:
    """The recipe with the digest of the weights file, and where everything lies that it reads.

    Raises
    ------
    InputError
        When the file cannot be read or holds something else, or is not the one that the recipe was
        made with.
    """
    from thyroid.files import sha256_of
    from thyroid.networks.srgan import Vgg19Features

    where = {dataset.digest: dataset.folder}
    asked = recipe.srgan.vgg19
    if vgg19 is None:
        if asked is not None:
            raise InputError(f"The recipe takes VGG-19 weights: give --vgg19 FILE ({asked[:12]}).")
        return recipe, where
    if not vgg19.is_file():
        raise InputError(f"--vgg19 {vgg19} is no file.")
    Vgg19Features(vgg19)  # said now, not after the generators' first half
    found = sha256_of(vgg19)
    if asked not in (None, found):
        raise InputError(f"--vgg19 {vgg19} is not the file of the recipe ({asked[:12]}).")
    changed = dataclasses.replace(recipe, srgan=dataclasses.replace(recipe.srgan, vgg19=found))
    return changed, where | {found: vgg19.absolute()}


def seconds(text: str) -> float:
    """`90s`, `30m`, `2h` in seconds."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    try:
        seconds = float(text[:-1]) * units[text[-1]]
    except (ValueError, KeyError, IndexError):
        seconds = 0.0
    if not seconds > 0:
        raise InputError(f"--time-budget '{text}' is no duration: write 90s, 30m or 2h.")
    return seconds
