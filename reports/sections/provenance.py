"""How to obtain the same numbers again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.run import Run
from thyroid.configuration import dotted_fields, to_json
from thyroid.recipe import RECIPES


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How to obtain the numbers again. Files are named without their folders."""

    run: str
    thyroid: str | None
    """Version."""
    command: str
    """The command that made the run."""
    training_command: str
    """The command that trains the recipe without a search."""
    seeds: list[int]
    recipe: dict[str, object]
    """Recipe, by dotted field."""
    machine: dict[str, object]


def provenance_info(run: Run) -> Provenance:
    """Commands, recipe, seeds, versions and machine of a run."""
    config = run.config
    name = run.folder.resolve().name
    recipe = dotted_fields(config.get("recipe", {}))
    return Provenance(
        run=name,
        thyroid=config.get("thyroid"),
        command=command(config, name),
        training_command=training_command(config, name),
        seeds=config.get("seeds", []),
        recipe={field: without_folder(value) for field, value in recipe.items()},
        machine=config.get("machine", {}),
    )


def command(config: dict[str, Any], run: str) -> str:
    """The command line, as far as it decides the numbers."""
    kind, search = config.get("command", "train"), config.get("search")
    if kind == "demo" and search:
        return shlex.join(["thyroid", "demo", "--trials", str(search.get("trials"))])
    compared = config.get("comparison")
    if compared:
        options: dict[str, object] = {
            "--models": compared.get("models"),
            "--trials-per-model": compared.get("trials_per_model"),
            "--space": without_folder(compared.get("space")),
            "--folds": folds(config),
            "--seeds": len(config.get("seeds", [])) or None,
            **_doses(compared),
            "--unseen": compared.get("unseen"),
        }
        flags = {"--ablations": compared.get("ablations"), "--dose": compared.get("dose")}
        words = [name for name, asked in flags.items() if asked]
        return _whole(config, run, options, compared, words)
    if not search:
        return training_command(config, run)
    options = {
        "--space": without_folder(search.get("space")),
        "--trials": search.get("trials"),
        "--folds": folds(config),
        "--first-folds": search.get("first_folds"),
        "--seeds": search.get("seeds"),
        "--max-seeds": search.get("max_seeds"),
        "--objectives": ",".join(search.get("objectives") or []) or None,
        "--final-seeds": len(config.get("seeds", [])) or None,
        "--seed": search.get("seed"),
        "--grace-epochs": search.get("grace_epochs"),
        "--reduction-factor": search.get("reduction_factor"),
    }
    earlier = [str(without_folder(run)) for run in search.get("warm_start") or []]
    words = ["--warm-start", *earlier] if earlier else []
    return _whole(config, run, options, search, words)


def _doses(compared: dict[str, Any]) -> dict[str, object]:
    """Options of a dose-response curve, and the generators of an unseen combination."""
    dose = compared.get("dose") or {}
    sizes = ["all" if size is None else size for size in dose.get("sizes") or []]
    lists: dict[str, Any] = {"shares": dose.get("shares"), "sizes": sizes}
    lists["generators"] = dose.get("generators") or compared.get("generators")
    return {f"--{name}": ",".join(map(str, values)) for name, values in lists.items() if values}


def _whole(
    config: dict[str, Any],
    run: str,
    options: dict[str, object],
    settings: dict[str, Any],
    flags: Sequence[str] = (),
) -> str:
    """A command that started from the recipe `base` of its settings."""
    preset = dotted_fields(to_json(RECIPES["small"]()))
    changed = {
        f"--{field}": without_folder(value)
        for field, value in dotted_fields(settings.get("base", {})).items()
        if value != preset.get(field)
        and not field.startswith("execution.")
        and field not in ("srgan.vgg19", "network.weights")  # digests; options name the files
        and field not in ("network.input_mean", "network.input_std")  # `--weights` sets them
        and field not in ("split.folds", "split.folds_by", "split.fold")  # `--folds` says so
    }
    words = ["thyroid", str(config.get("command")), _dataset(config), run, *flags]
    return _words(words, options | _files(config) | changed)


def training_command(config: dict[str, Any], run: str) -> str:
    """Train the run's recipe again, in a new folder."""
    options: dict[str, object] = {
        "--recipe": f"{run}/recipe.json",
        "--folds": folds(config),
        "--seeds": len(config.get("seeds", [])) or None,
    }
    words = ["thyroid", "train", _dataset(config), f"{run}-again"]
    return _words(words, options | _files(config))


def folds(config: dict[str, Any]) -> object:
    """The value of `--folds`: a number or `centre`; None of a run of an earlier version."""
    split = config.get("recipe", {}).get("split", {})
    return "centre" if split.get("folds_by") == "centre" else split.get("folds")


def without_folder(value: Any) -> Any:
    """A path's last part, as a report names no folder of this machine."""
    path = isinstance(value, str) and ("/" in value or "\\" in value)
    return value.replace("\\", "/").rsplit("/", 1)[-1] if path else value


def _dataset(config: dict[str, Any]) -> str:
    recorded = config["dataset"]
    return Path(str(recorded.get("folder") or recorded.get("name"))).name


def _files(config: dict[str, Any]) -> dict[str, object]:
    """The options that name a test set and files of weights, where the run needs them."""
    recipe, tested = config.get("recipe", {}), config.get("test_set")
    return {
        "--test-set": Path(str(tested.get("folder") or tested.get("name"))).name
        if tested
        else None,
        "--weights": "weights.pth" if recipe.get("network", {}).get("weights") else None,
        "--vgg19": "vgg19.pth" if recipe.get("srgan", {}).get("vgg19") else None,
    }


def _words(words: list[str], options: dict[str, object]) -> str:
    given = {name: value for name, value in options.items() if value is not None}
    return shlex.join([*words, *(str(word) for pair in given.items() for word in pair)])
