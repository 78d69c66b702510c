"""RUN/config.json and RUN/recipe.json: everything that is needed to reproduce a run."""

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
    """A data set as the run found it: its folder, dataset.json, numbers of images and patients."""

    folder: str
    """Absolute."""
    name: str
    classes: tuple[str, ...]
    """Names of the classes, in the order of label indices."""
    size: int
    """Rows and columns, pixels."""
    pixel_mm: float | None
    """Pixel size, mm; None for display-scaled pictures."""
    kind: Literal["counts", "display"]
    source: str
    licence: str
    sha256: str
    """SHA-256 of counts.npy."""
    patients_key: str | None = None
    """Fingerprint of the key for the patients' pseudonyms; None: the data set has its own key."""
    format_version: int = 1
    """Version of dataset.json's format."""
    digest: str
    """SHA-256 of images, labels and patients."""
    images: int
    patients: int


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Settings of a search: its space, the fields of `SearchConfig`, its first recipe."""

    space: str
    """Name or file of the search space."""
    space_sha256: str | None = None
    """SHA-256 of the space's file."""
    trials: int
    """Recipes to try."""
    objectives: tuple[str, ...] = ("macro_f1",)
    first_folds: int = 1
    """Number of folds in which each trial is trained."""
    seeds: int
    """Trainings of a trial in each fold."""
    max_seeds: int | None = None
    """Most trainings in each fold, for recipes that are too close to call in the final race."""
    seed: int
    """Seed of the proposals."""
    concurrent: int | None = None
    """Trials that run at once; None: as many as there is room for."""
    time_budget: str | None = None
    """Time limit, such as 90s, 30m or 2h."""
    gpu_hours: float | None = None
    """Limit of the GPU-hours that stages may use."""
    grace_epochs: int
    """ASHA stops no trial before this epoch."""
    reduction_factor: float
    """ASHA lets one in this many trials pass each rung."""
    gpus_per_worker: float
    """Share of a GPU per worker."""
    storage: str | None = None
    """URL of the study's database; None: study.journal."""
    warm_start: tuple[str, ...] = ()
    """Folders of earlier searches."""
    base: dict[str, Any]
    """The recipe that the search started from."""


@dataclass(frozen=True, kw_only=True)
class Doses:
    """Doses compared by a dose-response curve."""

    shares: tuple[float, ...]
    """Shares of synthetic images, ascending; 0 is always compared and not listed."""
    generators: tuple[str, ...]
    sizes: tuple[int | None, ...]
    """Real images per class; None: as many as the recipe has, by default all."""


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """Settings of a comparison: its rows, the number of recipes tried, its first recipe."""

    models: str
    """`--models`."""
    ablations: bool
    """True: all ablations; False: only the one that is always compared."""
    trials_per_model: int
    """Number of recipes tried for each network, including the given one."""
    space: str
    """Name or file of the space from which they were drawn."""
    space_sha256: str
    """SHA-256 of the space's file."""
    dose: Doses | None = None
    """Doses of the dose-response curve; None: no curve."""
    unseen: str | None = None
    """Combination of findings that is left out of training; None: no combination is."""
    generators: tuple[str, ...] = ()
    """Generators of the curve, or of the unseen combination."""
    base: dict[str, Any]
    """The recipe that the method started from."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Content of config.json. Runs of earlier versions may lack the fields with a default."""

    id: str = ""
    """Random id of the run, which the manifests of its artifacts record."""
    command: str
    """train, search, compare or demo."""
    thyroid: str
    """Version."""
    dataset: RecordedDataset
    test_set: RecordedDataset | None = None
    """The data set that is the test part; None: some patients of `dataset` are."""
    recipe: dict[str, Any]
    """The recipe that was trained; until a search has ended, the recipe that it started from. Its
    fields are those of the version that wrote it."""
    seeds: tuple[int, ...]
    """Seeds of the final trainings."""
    searched: int | None = None
    """Number of recipes that earlier runs tried to find the given one; 0: none that is known; None
    in runs of earlier versions."""
    search: SearchSettings | None
    comparison: ComparisonSettings | None = None
    machine: dict[str, Any]
    """Processor, cores, and versions of libraries that change numbers."""

    @property
    def settings(self) -> SearchSettings | ComparisonSettings | None:
        """Settings of the search or the comparison; None for a training."""
        return self.search or self.comparison

    @property
    def base(self) -> dict[str, Any]:
        """The recipe that the run started from, before any search."""
        return self.recipe if self.settings is None else self.settings.base

    def of_recipe(self, field: str, default: Any = None) -> Any:
        """Return the value of a dotted field of the recipe; `default` if the recipe lacks it."""
        return dotted_fields(self.recipe).get(field, default)


def write_config(run: Path, config: RunConfig) -> None:
    """Write RUN/config.json, and the recipe in it as RUN/recipe.json."""
    replace_text(run / FILE, text_of(config, indent=2) + "\n")
    replace_text(run / RECIPE, json.dumps(config.recipe, indent=2) + "\n")


def read_config(run: Path) -> RunConfig:
    """Read RUN/config.json; fields that this version does not know are left out.

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
            f"{run} is not a run (it has no {FILE}): name a folder that `thyroid train`, `thyroid "
            "search`, `thyroid compare` or `thyroid demo` wrote."
        ) from None
    except OSError as refusal:
        raise InputError(f"{path} cannot be read ({refusal.strerror}): check the path.") from None
    except (InputError, ValueError, TypeError, AttributeError):
        raise _not_understood(run) from None


def recipe_of(run: Path, plain: Mapping[str, Any]) -> Recipe:
    """Return a recipe from its plain data in a run's config.json.

    Raises
    ------
    InputError
        When this version does not understand the recipe.
    """
    try:
        return from_json(Recipe, plain)
    except (InputError, ValueError, TypeError, AttributeError):
        raise _not_understood(run) from None


def began_with(run: Path) -> Recipe | None:
    """Return the recipe that the run started from; None if there is no run yet.

    Raises
    ------
    InputError
        When config.json cannot be understood.
    """
    return recipe_of(run, read_config(run).base) if (run / FILE).exists() else None


def _not_understood(run: Path) -> InputError:
    return InputError(
        f"{run / FILE} cannot be read: it is damaged, or was written by another version of "
        "thyroid; choose another run folder."
    )
