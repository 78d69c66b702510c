"""The options of train, search and compare: of the command line and of a notebook's call alike.

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
    """Parts of the patients that are validated in turn, each by a network trained on the others;
    `centre`: each centre is one; 1: one split; default: the recipe's, else 5 where there are
    patients enough."""
    test_set: Path | str | None = None
    """A data set that is the test part, such as other centres' images; default: some patients of
    DATASET."""
    distinct_ids: bool = False
    """Patients of the test set are others even where their numbers differ from those of training
    patients in leading zeros or .0 alone."""
    allow_look_alikes: bool = False
    """Train although images of different patients look the same and are in different parts."""
    store: Path | str | None = None
    """Folder of artifacts, or s3://BUCKET/STORE, which runs may share; default: RUN/store."""
    weights: Path | str | None = None
    """Weights of the recipe's network, from which its training starts: `phantom`, those trained on
    simulated scintigrams that ship with thyroid; a model's folder; a file of torchvision's, of
    timm's or of one's own; or timm:NAME or hf-hub:ORG/NAME, which are downloaded where the cache
    has none."""
    vgg19: Path | str | None = None
    """torchvision's VGG-19 weights, for super-resolution; default: features of a classifier trained
    here."""
    address: str | None = None
    """Address of a Ray cluster; `local`: Ray is started here; default: the cluster that RAY_ADDRESS
    names, else as `local`, but training without Ray where nothing can run side by side."""
    gpus_per_worker: float = 0.0
    """Share of a GPU per worker, for instance 0.25 or 1."""

    def __post_init__(self) -> None:
        require_options(self)
        _ = self.split  # complains

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
        """Doubts about the data that shall not stop a training."""
        return {"distinct_ids": self.distinct_ids, "allow_look_alikes": self.allow_look_alikes}

    @property
    def split(self) -> dict[str, Any]:
        """Changes of the recipe that `folds` asks for.

        Raises
        ------
        InputError
            When it is neither a number from 1 nor `centre`.
        """
        if self.folds is None:
            return {}
        if self.folds == "centre":
            return {"split.folds": None, "split.folds_by": "centre"}
        text = str(self.folds)
        if not text.isascii() or not text.isdigit():
            raise InputError(f"--folds is {self.folds} but must be a number from 1, or centre.")
        require_read("--folds", int(text), text)
        return {"split.folds": int(text), "split.folds_by": "patient"}


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """Options of train."""

    seeds: int | None = None
    """Trainings of each fold, which differ in their random numbers only; default: 1, or 3 where
    there is one split."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions(RunOptions, SearchConfig):
    """Options of search."""

    space: str
    """A file of tune_spaces by its name (augmentation, cross_training, joint, transfer,
    baselines), or FILE.py of your own."""
    final_seeds: int | None = None
    """Trainings of the best recipe in each fold for the final evaluation; default: 1, or 3 where
    there is one split."""
    report_every: str | None = None
    """Such as 60s, after which the report is rebuilt, and again, while the search runs; by a
    process of low priority."""
    workers_per_stage: int = 1
    """Processes that train one network together."""

    def __post_init__(self) -> None:
        super().__post_init__()
        SearchConfig.__post_init__(self)
        if self.report_every is not None:
            seconds(self.report_every, "--report-every")

    @property
    def config(self) -> SearchConfig:
        """The part that a search's results depend on."""
        names = [field.name for field in dataclasses.fields(SearchConfig)]
        return SearchConfig(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class CompareOptions(RunOptions):
    """Options of compare."""

    models: str = "small,probe"
    """Networks trained on the same images with as many steps: small (those for two processors),
    published (torchvision's), none, names such as lenet5,timm:resnet18, or NAME=WEIGHTS for a
    network that starts from weights as --weights names them; and probe: logistic regression on the
    features of the recipe's network as it starts, with --weights or random ones, and of each
    NAME=WEIGHTS."""
    ablations: bool = False
    """Also compare the method with itself less one part at a time; with itself from random weights
    it is always compared, where it starts from others."""
    trials_per_model: int | None = None
    """Recipes tried for the method and for each network, on validation images: the given one, which
    stays unless the best other is better by more than a standard error, and others spread evenly
    over the space, the same for all; default: 8, or 1 where no network is trained to compare with.
    A method that a search chose among as many stays as it is."""
    space: str = "baselines"
    """Search space of these recipes, a file of tune_spaces by its name or FILE.py; the recipe comes
    first. Schedule, batch size, split and network stay, and other networks stay plain."""
    seeds: int | None = None
    """Trainings of every row in each fold for the final comparison; default: 1, or 5 where there is
    one split."""
    dose: bool = False
    """Also draw a dose-response curve: the recipe with several shares of synthetic images among all
    that training draws, of several generators, in as many steps."""
    shares: str = "0.1,0.25,0.5,0.75"
    """Shares of the curve; 0 is always among them."""
    generators: str = "all"
    """Generators of the curve: dcgan, files of thyroid/generators such as eigen, with +srgan those
    whose pictures the SRGAN enlarges (dcgan+srgan), and oracle: further simulated patients, where
    the data are simulated; all: these."""
    sizes: str = "all"
    """Also curves on fewer real images of each class, such as 10,20,60,all."""
    unseen: str | None = None
    """Also leave a combination of findings, such as graves+cold_nodule, out of training and
    validation, and compare how its test images are recognised: never given, given as superposed
    crosses (with a cross phase), as synthetic ones of each of --generators, and as real ones."""

    @property
    def starts(self) -> bool:
        """True if a network starts from given weights."""
        return self.weights is not None or "=" in self.models


def named_recipe(name: str) -> Recipe:
    """The recipe that a preset's name or a JSON file's path names.

    Raises
    ------
    InputError
        When it is neither a preset nor a readable JSON file.
    """
    if name in RECIPES:
        return RECIPES[name]()
    if name.endswith(".json"):
        return read_recipe(Path(name))
    raise InputError(f"--recipe '{name}' is unknown: choose {', '.join(RECIPES)} or a JSON file.")
