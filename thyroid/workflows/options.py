"""The options of train, search and compare, for the command line and for a notebook.

Imports nothing heavy, so that `--help` answers at once.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thyroid.bounds import require_options, require_read
from thyroid.errors import InputError
from thyroid.quantities import seconds
from thyroid.recipe import RECIPES, Recipe, read_recipe
from thyroid.tuning.search_config import SearchConfig


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options that train, search and compare share."""

    folds: str | int | None = None
    """Number of cross-validation folds. Each fold is validated by a network that was trained on the
    other folds. `centre`: each centre is a fold. 1: a single split. Default: the recipe's, else 5
    if there are enough patients."""
    test_set: Path | str | None = None
    """Separate data set to test on, such as images of other centres; default: some patients of
    DATASET."""
    distinct_ids: bool = False
    """Accept test patients as different people even if their numbers differ from those of training
    patients only in leading zeros or .0."""
    allow_look_alikes: bool = False
    """Train even if images of different patients look the same and are in different parts of the
    split."""
    store: Path | str | None = None
    """Folder of stored artifacts, or s3://BUCKET/STORE; runs may share it. Default: RUN/store."""
    weights: Path | str | None = None
    """Weights that training starts from: `phantom`, which ship with thyroid and were trained on
    simulated scintigrams; the folder of a model; a file of torchvision's, of timm's or of your own;
    or timm:NAME or hf-hub:ORG/NAME, which are downloaded if they are not in the cache."""
    vgg19: Path | str | None = None
    """torchvision's VGG-19 weights, for super-resolution; default: features of a classifier trained
    here."""
    address: str | None = None
    """Address of a Ray cluster. `local`: Ray is started on this machine. Default: the cluster that
    RAY_ADDRESS names; else as for `local`, but without Ray if nothing can run in parallel."""
    gpus_per_worker: float = 0.0
    """Share of a GPU per worker, for instance 0.25 or 1."""

    def __post_init__(self) -> None:
        require_options(self)
        _ = self.split  # raises

    @property
    def joins_cluster(self) -> bool:
        """True if stages run on a cluster that `address` or RAY_ADDRESS names, not here."""
        return (self.address or os.environ.get("RAY_ADDRESS", "")) not in ("", "local")

    @property
    def starts(self) -> bool:
        """True if a network starts from given weights."""
        return self.weights is not None

    @property
    def allowed(self) -> dict[str, bool]:
        """Doubts about the data that do not stop a training."""
        return {"distinct_ids": self.distinct_ids, "allow_look_alikes": self.allow_look_alikes}

    @property
    def split(self) -> dict[str, Any]:
        """Changes of the recipe that `folds` asks for.

        Raises
        ------
        InputError
            When `folds` is neither a number from 1 nor `centre`.
        """
        if self.folds is None:
            return {}
        if self.folds == "centre":
            return {"split.folds": None, "split.folds_by": "centre"}
        text = str(self.folds)
        if not text.isascii() or not text.isdigit():
            raise InputError(f"--folds is {self.folds} but must be a number from 1, or centre.")
        require_read("--folds", int(text), text, ", or centre")
        return {"split.folds": int(text), "split.folds_by": "patient"}


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """Options of train."""

    seeds: int | None = None
    """Trainings per fold, which differ only in their random seeds; default: 1, or 3 with a single
    split."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions(RunOptions, SearchConfig):
    """Options of search."""

    space: str
    """Search space: the name of a file in tune_spaces (augmentation, cross_training, joint,
    transfer, baselines), or your own FILE.py."""
    final_seeds: int | None = None
    """Trainings of the best recipe per fold for the final evaluation; default: 1, or 3 with a
    single split."""
    report_every: str | None = None
    """Interval, such as 60s, at which a process of low priority rebuilds the report while the
    search runs."""
    workers_per_stage: int = 1
    """Processes that train one network together."""

    def __post_init__(self) -> None:
        super().__post_init__()
        SearchConfig.__post_init__(self)
        if self.report_every is not None:
            seconds(self.report_every, "--report-every")

    @property
    def config(self) -> SearchConfig:
        """The options that a search's results depend on."""
        names = [field.name for field in dataclasses.fields(SearchConfig)]
        return SearchConfig(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class CompareOptions(RunOptions):
    """Options of compare."""

    models: str = "small,probe"
    """Networks to compare with, trained on the same images with the same number of steps. A list of
    small (networks for two processors), published (torchvision's), names such as
    lenet5,timm:resnet18, NAME=WEIGHTS (a network that starts from weights, given as for --weights)
    and probe (logistic regression on the features of the recipe's network before training, with
    --weights or random weights, and of each NAME=WEIGHTS); or none."""
    ablations: bool = False
    """Also compare the method with versions of itself that lack one part each. If the method starts
    from given weights, it is always compared with itself from random weights."""
    trials_per_model: int | None = None
    """Number of recipes that are tried on validation images for the method and for each network:
    the given recipe, and others spread evenly over the space, the same for all. The given recipe
    stays unless another is better by more than a standard error. Default: 8, or 1 if no network is
    trained to compare with. A method that a search chose among as many recipes is not changed."""
    space: str = "baselines"
    """Search space of these recipes: the name of a file in tune_spaces, or FILE.py. The given
    recipe is tried first. Schedule, batch size, split and network do not change, and the other
    networks are trained without the method's additions."""
    seeds: int | None = None
    """Trainings of every recipe per fold for the final comparison; default: 1, or 5 with a single
    split."""
    dose: bool = False
    """Also measure a dose-response curve: the recipe with several shares of synthetic images among
    all images that training draws, for several generators, with the same number of steps."""
    shares: str = "0.1,0.25,0.5,0.75"
    """Shares of synthetic images on the curve; 0 is always included."""
    generators: str = "all"
    """Generators of the curve: dcgan, files of thyroid/generators such as eigen, any of them with
    +srgan if the SRGAN enlarges its pictures (dcgan+srgan), and, if the data are simulated, oracle
    (further simulated patients). all: all of these."""
    sizes: str = "all"
    """Numbers of real images per class, such as 10,20,60,all; each has a curve."""
    unseen: str | None = None
    """Also leave a combination of findings, such as graves+cold_nodule, out of training and
    validation, and compare how well its test images are recognised if training has no image of it,
    superposed crosses of it (with a cross phase), synthetic crosses of each of --generators, or
    real ones."""

    @property
    def starts(self) -> bool:
        """True if a network starts from given weights."""
        return self.weights is not None or "=" in self.models


def named_recipe(name: str) -> Recipe:
    """Return the recipe of this name: a preset's, or the path of a JSON file.

    Raises
    ------
    InputError
        When the name is neither a preset nor a readable JSON file.
    """
    if name in RECIPES:
        return RECIPES[name]()
    if name.endswith(".json"):
        return read_recipe(Path(name))
    raise InputError(f"--recipe '{name}' is unknown: choose {', '.join(RECIPES)} or a JSON file.")
