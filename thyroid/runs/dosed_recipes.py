"""The recipes of a dose-response curve: shares of synthetic images, by generator and data size.

Rows of one size have the same real images, folds, seeds and steps; synthetic images replace a share
of the real images that training draws.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from thyroid.bounds import require_read
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.generators import names
from thyroid.phantom.presets import preset_of
from thyroid.pipeline import ORACLE
from thyroid.recipe import Recipe, override
from thyroid.run_files.config_json import Doses
from thyroid.run_files.rows_json import PARTS, Dose
from thyroid.runs.compared_recipes import Row

ENLARGED = "+srgan"
"""Ending of a generator whose pictures the SRGAN enlarges; other generators draw at full size."""
NONE = "none"
REAL_ALONE: dict[str, Any] = {
    "mixing.synthetic_share": 0.0,
    "mixing.final_share": 0.0,
    "mixing.cross_share": None,
    "mixing.class_exponent": 1.0,
    "mixing.dose": None,
    "cross.synthetic": 0.0,
}
"""A recipe at share 0."""
TITLES = {
    NONE: "real images alone",
    "dcgan": "DCGAN",
    f"dcgan{ENLARGED}": "DCGAN and SRGAN",
    "eigen": "eigen-scintigrams",
    "flow": "flow matching",
    ORACLE: "simulated patients (oracle)",
}
"""Titles of generators; any other generator is shown by its name."""


def asked_doses(shares: str, generators: str, sizes: str, dataset: Dataset) -> Doses:
    """Parse the options of a curve, which are lists with commas.

    Raises
    ------
    InputError
        When a share is not from 0 to 1, a size is neither a positive number nor `all`, or a
        generator is unknown.
    """
    found = Doses(
        shares=tuple(sorted({share for share in map(_share, _words(shares)) if share})),
        generators=_generators(generators, dataset),
        sizes=tuple(dict.fromkeys(map(_size, _words(sizes)))),
    )
    for option in ("shares", "generators", "sizes"):
        if not getattr(found, option):
            raise InputError(f"--{option} is empty: give at least one value.")
    return found


def dose_rows(recipe: Recipe, doses: Doses) -> list[Row]:
    """Return the recipe at every dose: for each size share 0 once, then each generator's shares."""
    rows = []
    own = recipe.split.images_per_class
    for size in dict.fromkeys(own if size is None else size for size in doses.sizes):
        real = dataclasses.replace(
            recipe, split=dataclasses.replace(recipe.split, images_per_class=size)
        )
        real = override(real, REAL_ALONE)
        rows.append(_row(real, Dose(generator=NONE, share=0.0, images_per_class=size)))
        for generator in doses.generators:
            with_generator = override(real, drawn_by(generator, recipe))
            for share in doses.shares:
                dosed = override(with_generator, {"mixing.dose": share})
                dose = Dose(generator=generator, share=share, images_per_class=size)
                rows.append(_row(dosed, dose))
    return rows


def drawn_by(generator: str, recipe: Recipe) -> dict[str, Any]:
    """Return the fields of a recipe that a generator changes: its name, and whether the SRGAN
    enlarges its pictures.

    Raises
    ------
    InputError
        When the generator needs the SRGAN and the recipe trains none.
    """
    name = generator.removesuffix(ENLARGED)
    if name == generator:
        return {"generator": name, "srgan.scale": 1}
    if not recipe.srgan.pixel_epochs:
        raise InputError(f"--generators {generator} needs an SRGAN: set srgan.pixel_epochs.")
    return {"generator": name, "srgan.scale": max(2, recipe.srgan.scale)}


def title_of(generator: str) -> str:
    """Return a generator's title for readers."""
    return TITLES.get(generator, generator)


def _row(recipe: Recipe, dose: Dose) -> Row:
    percent = f"{100 * dose.share:g}"
    name, title = ["dose", dose.generator], [title_of(dose.generator)]
    if dose.share:
        name.append(percent)
        title.append(f"{percent} %")
    if dose.images_per_class is not None:
        name.append(f"n{dose.images_per_class}")
        title.append(f"n = {dose.images_per_class}")
    return Row(
        name=re.sub(r"[^\w-]", "-", "-".join(name)),
        kind="dose",
        title=PARTS.join(title),
        recipe=recipe,
        dose=dose,
    )


def _generators(asked: str, dataset: Dataset) -> tuple[str, ...]:
    simulated = preset_of(dataset.info.source) is not None
    known = ["dcgan", f"dcgan{ENLARGED}", *names(), *([ORACLE] if simulated else [])]
    if asked == "all":
        return tuple(known)
    possible = {*known, *(f"{name}{ENLARGED}" for name in names())}
    for name in _words(asked):
        if name == ORACLE and not simulated:
            raise InputError(
                "--generators names the oracle, but `thyroid phantom` did not make "
                f"{dataset.folder}: only the simulator can draw further patients."
            )
        if name not in possible:
            raise InputError(
                f"--generators names '{name}': choose all, or some of {', '.join(known)}."
            )
    return tuple(dict.fromkeys(_words(asked)))


def _share(word: str) -> float:
    try:
        share = float(word)
    except ValueError:
        raise InputError(f"--shares has '{word}' but each must be a number from 0 to 1.") from None
    require_read("--shares", share, word)
    return share


def _size(word: str) -> int | None:
    if word == "all":
        return None
    if not word.isascii() or not word.isdigit():
        raise InputError(f"--sizes has '{word}' but each must be a number from 1, or all.")
    require_read("--sizes", int(word), word)
    return int(word)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
