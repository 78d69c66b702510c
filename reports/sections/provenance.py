"""How to obtain the same numbers again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.run import Run
from thyroid.configuration import dotted_fields, to_json
from thyroid.model.starting_point import is_shipped
from thyroid.recipe import RECIPES
from thyroid.run_files.config_json import ComparisonSettings, RecordedDataset, RunConfig


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How to obtain the numbers again. Files are named without their folders."""

    run: str
    thyroid: str
    """Version of thyroid."""
    command: str
    """The command that made the run."""
    training_command: str
    """The command that trains the recipe without a search."""
    seeds: list[int]
    recipe: dict[str, object]
    """Values of the recipe by dotted name of the field."""
    machine: dict[str, object]


def provenance_info(run: Run) -> Provenance:
    """Commands, recipe, seeds, versions and machine of a run."""
    config = run.config
    name = run.folder.resolve().name
    return Provenance(
        run=name,
        thyroid=config.thyroid,
        command=command(config, name),
        training_command=training_command(config, name),
        seeds=list(config.seeds),
        recipe={
            field: without_folder(value) for field, value in dotted_fields(config.recipe).items()
        },
        machine=config.machine,
    )


def command(config: RunConfig, run: str) -> str:
    """The command line, with those options that affect the numbers."""
    search, compared = config.search, config.comparison
    if config.command == "demo" and search:
        return shlex.join(["thyroid", "demo", "--trials", str(search.trials)])
    if compared:
        options: dict[str, object] = {
            "--models": compared.models,
            "--trials-per-model": compared.trials_per_model,
            "--space": without_folder(compared.space),
            "--folds": folds(config),
            "--seeds": len(config.seeds),
            **_doses(compared),
            "--unseen": compared.unseen,
        }
        flags = {"--ablations": compared.ablations, "--dose": compared.dose}
        words = [name for name, asked in flags.items() if asked]
        return _whole(config, run, options, words)
    if not search:
        return training_command(config, run)
    options = {
        "--space": without_folder(search.space),
        "--trials": search.trials,
        "--folds": folds(config),
        "--first-folds": search.first_folds,
        "--seeds": search.seeds,
        "--max-seeds": search.max_seeds,
        "--objectives": ",".join(search.objectives),
        "--final-seeds": len(config.seeds),
        "--seed": search.seed,
        "--grace-epochs": search.grace_epochs,
        "--reduction-factor": search.reduction_factor,
    }
    earlier = list(map(without_folder, search.warm_start))
    words = ["--warm-start", *earlier] if earlier else []
    return _whole(config, run, options, words)


def _doses(compared: ComparisonSettings) -> dict[str, object]:
    """Options of a dose-response comparison, and generators for an unseen combination."""
    dose = compared.dose
    lists: dict[str, Sequence[object]] = {"--generators": compared.generators}
    if dose is not None:
        sizes = ["all" if size is None else size for size in dose.sizes]
        lists = {"--shares": dose.shares, "--sizes": sizes, "--generators": dose.generators}
    return {name: ",".join(map(str, values)) for name, values in lists.items() if values}


def _whole(
    config: RunConfig, run: str, options: dict[str, object], flags: Sequence[str] = ()
) -> str:
    """A command with all options, and with the fields in which the recipe differs from `small`."""
    preset = dotted_fields(to_json(RECIPES["small"]()))
    changed = {
        f"--{field}": without_folder(value)
        for field, value in dotted_fields(config.base).items()
        if value != preset.get(field)
        and not field.startswith("execution.")
        and field not in ("srgan.vgg19", "network.weights")  # digests; options give files
        and field not in ("network.input_mean", "network.input_std")  # `--weights` sets them
        and field not in ("split.folds", "split.folds_by", "split.fold")  # `--folds` sets them
    }
    words = ["thyroid", config.command, _place(config.dataset), run, *flags]
    return _words(words, options | _files(config) | changed)


def training_command(config: RunConfig, run: str) -> str:
    """The command that trains the run's recipe again, in a new folder."""
    options: dict[str, object] = {
        "--recipe": f"{run}/recipe.json",
        "--folds": folds(config),
        "--seeds": len(config.seeds),
    }
    words = ["thyroid", "train", _place(config.dataset), f"{run}-again"]
    return _words(words, options | _files(config))


def folds(config: RunConfig) -> object:
    """The value of `--folds`: a number or `centre`; None for a run of an earlier version."""
    by_centre = config.of_recipe("split.folds_by") == "centre"
    return "centre" if by_centre else config.of_recipe("split.folds")


def without_folder(value: Any) -> Any:
    """The last part of a path, because a report must not name folders of this machine."""
    path = isinstance(value, str) and ("/" in value or "\\" in value)
    return value.replace("\\", "/").rsplit("/", 1)[-1] if path else value


def _place(recorded: RecordedDataset) -> str:
    return Path(recorded.folder).name


def _files(config: RunConfig) -> dict[str, object]:
    """The options for the test set and files of weights, if the run uses any."""
    weights = config.of_recipe("network.weights")
    return {
        "--test-set": _place(config.test_set) if config.test_set else None,
        "--weights": weights and ("phantom" if is_shipped(weights) else "weights.pth"),
        "--vgg19": "vgg19.pth" if config.of_recipe("srgan.vgg19") else None,
    }


def _words(words: list[str], options: dict[str, object]) -> str:
    given = {name: value for name, value in options.items() if value is not None}
    return shlex.join([*words, *(str(word) for pair in given.items() for word in pair)])
