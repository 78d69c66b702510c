"""RUN/config.json and RUN/recipe.json: what reproduces a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thyroid.configuration import dotted_fields, from_json
from thyroid.errors import InputError
from thyroid.files import replace_text
from thyroid.recipe import Recipe
from thyroid.run_files.json_file import text_of

FILE = "config.json"
RECIPE = "recipe.json"


@dataclass(frozen=True, kw_only=True)
class RecordedDataset:
    """A data set as the run found it: its place, its dataset.json, and what it held."""

    folder: str
    """Absolute."""
    name: str
    classes: tuple[str, ...]
    """In the order of label indices."""
    size: int
    """Rows and columns, pixels."""
    pixel_mm: float | None
    """Pixel size, mm; None of display-scaled pictures."""
    kind: Literal["counts", "display"]
    source: str
    licence: str
    sha256: str
    """SHA-256 of counts.npy."""
    patients_key: str | None = None
    """Fingerprint of the key that names the patients; None: no other data set has it."""
    format_version: int = 1
    """That of dataset.json."""
    digest: str
    """SHA-256 of images, labels and patients."""
    images: int
    patients: int


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Settings of a search: its space, the fields of `SearchConfig`, its first recipe."""

    space: str
    """Name or file."""
    space_sha256: str | None = None
    """SHA-256 of the space's file."""
    trials: int
    """Recipes to try."""
    objectives: tuple[str, ...] = ("macro_f1",)
    first_folds: int = 1
    """Folds in which each trial is trained."""
    seeds: int
    """Trainings of a trial in each fold."""
    max_seeds: int | None = None
    """Trainings in each fold of recipes that the final race finds too close to call."""
    seed: int
    """Seed of the proposals."""
    concurrent: int | None = None
    """Trials at once; None: as many as there is room for."""
    time_budget: str | None = None
    """Such as 90s, 30m or 2h."""
    gpu_hours: float | None = None
    """Hours times GPUs that stages may hold."""
    grace_epochs: int
    """Epochs before which ASHA stops no trial."""
    reduction_factor: float
    """ASHA lets one in so many trials pass each rung."""
    gpus_per_worker: float
    """Share of a GPU."""
    storage: str | None = None
    """URL of the study's database; None: study.journal."""
    warm_start: tuple[str, ...] = ()
    """Folders of earlier searches."""
    base: dict[str, Any]
    """The recipe that the search started from."""


@dataclass(frozen=True, kw_only=True)
class Doses:
    """Doses that a dose-response curve compares."""

    shares: tuple[float, ...]
    """Ascending, without 0, which is always compared."""
    generators: tuple[str, ...]
    sizes: tuple[int | None, ...]
    """Real images per class; None: as many as the recipe has, by default all."""


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """Settings of a comparison: which rows it has, how many recipes it tries, its first recipe."""

    models: str
    """`--models`."""
    ablations: bool
    """True: every ablation; False: those that the recipe always has."""
    trials_per_model: int
    """Recipes that were tried for each network, the given one included."""
    space: str
    """Name or file of the space that they were drawn from."""
    space_sha256: str
    """SHA-256 of the space's file."""
    dose: Doses | None = None
    """None: no dose-response curve."""
    unseen: str | None = None
    """Combination of findings that training never saw; None: none."""
    generators: tuple[str, ...] = ()
    """Generators of the curve, or of the unseen combination."""
    base: dict[str, Any]
    """The recipe that the method started from."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Content of config.json. Fields with a default are not in runs of all earlier versions."""

    id: str = ""
    """Random; what the run makes in a store bears it."""
    command: str
    """train, search, compare or demo."""
    thyroid: str
    """Version."""
    dataset: RecordedDataset
    test_set: RecordedDataset | None = None
    """The data set that is the test part; None: some patients of `dataset` are."""
    recipe: dict[str, Any]
    """The recipe that was trained, or is to be before a search has ended; with the fields of the
    version that wrote it."""
    seeds: tuple[int, ...]
    """Those of the final trainings."""
    searched: int | None = None
    """Recipes that earlier runs had tried for the one that this run was given; 0: none that is
    known of; None of an earlier version."""
    search: SearchSettings | None
    comparison: ComparisonSettings | None = None
    machine: dict[str, Any]
    """Processor, cores, and versions of libraries that change numbers."""

    @property
    def settings(self) -> SearchSettings | ComparisonSettings | None:
        """Settings of the search or the comparison; None of a training."""
        return self.search or self.comparison

    @property
    def base(self) -> dict[str, Any]:
        """The recipe that the run started from, of a search the one before it was searched."""
        return self.recipe if self.settings is None else self.settings.base

    def of_recipe(self, field: str, default: Any = None) -> Any:
        """Return the value of a dotted field of the recipe, `default` where it has no such."""
        return dotted_fields(self.recipe).get(field, default)


def write_config(run: Path, config: RunConfig) -> None:
    """Write RUN/config.json, and the recipe in it as RUN/recipe.json."""
    replace_text(run / FILE, text_of(config, indent=2) + "\n")
    replace_text(run / RECIPE, json.dumps(config.recipe, indent=2) + "\n")


def read_config(run: Path) -> RunConfig:
    """Return what RUN/config.json says; fields of other versions are left out.

    Raises
    ------
    InputError
        When the folder holds no run, or the file cannot be read or understood.
    """
    path = run / FILE
    try:
        return from_json(RunConfig, json.loads(path.read_text(encoding="utf-8")), known_only=True)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{run} is no run, it has no {FILE}: name a folder that `thyroid train`, "
            "`thyroid search`, `thyroid compare` or `thyroid demo` wrote."
        ) from None
    except OSError as refusal:
        raise InputError(f"{path} cannot be read ({refusal.strerror}): check the path.") from None
    except (InputError, ValueError, TypeError, AttributeError):
        raise _not_understood(run) from None


def recipe_of(run: Path, plain: Mapping[str, Any]) -> Recipe:
    """Return a recipe that stands in a run's config.json.

    Raises
    ------
    InputError
        When this version has no such recipe.
    """
    try:
        return from_json(Recipe, plain)
    except (InputError, ValueError, TypeError, AttributeError):
        raise _not_understood(run) from None


def began_with(run: Path) -> Recipe | None:
    """Return the recipe that the run started from; None where there is no run yet.

    Raises
    ------
    InputError
        When config.json cannot be understood.
    """
    return recipe_of(run, read_config(run).base) if (run / FILE).exists() else None


def _not_understood(run: Path) -> InputError:
    return InputError(
        f"{run / FILE} cannot be understood: it is damaged, or of another version of thyroid; "
        "choose another run folder."
    )
