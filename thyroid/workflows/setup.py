"""The beginning of train, search and compare: data, run folder and resolved recipe."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import torch

from thyroid.data.dataset import Dataset
from thyroid.data.splits import with_folds
from thyroid.errors import InputError
from thyroid.execution.in_process import Datasets
from thyroid.files import sha256_of
from thyroid.machine import Processor, here, resolve
from thyroid.network_input import WHITE
from thyroid.networks.build import build
from thyroid.networks.pretrained import class_names, load_pretrained
from thyroid.networks.srgan import Vgg19Features
from thyroid.pipeline import ORACLE
from thyroid.precision import resolve_precision
from thyroid.progress import say
from thyroid.recipe import FineTuningConfig, Recipe, for_data, for_training, override
from thyroid.run_files.config_json import RECIPE, began_with
from thyroid.runs.experiment import Experiment
from thyroid.runs.recipe_origin import searched_before
from thyroid.storage.bucket import bucket_url
from thyroid.workflows.options import RunOptions, named_recipe
from thyroid.workflows.run import Run
from thyroid.workflows.weights import weights_file


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Inputs of a workflow, in addition to its options."""

    dataset: Dataset
    run: Path
    """Folder of the results."""
    recipe: Recipe
    """The recipe as the user gave it; it may say `auto`."""
    searched: int
    """Number of recipes that an earlier run tried to find it; 0: none that is known."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Resolved inputs of a workflow: files are read and the machine is known."""

    dataset: Dataset
    run: Path
    recipe: Recipe
    """The recipe without `auto`, and with the digests of the user's files."""
    searched: int
    test_set: Dataset | None
    where: Datasets
    """The folder of each data set and the path of each weights file, by digest."""
    store: Path
    """Folder or bucket of the artifacts."""
    machine: Processor
    """The machine that computes."""

    def experiment(self, seeds: int | None, of_one_split: int) -> Experiment:
        """Return the experiment: the recipe with this number of seeds.

        Parameters
        ----------
        seeds : default: 1, because each fold has its own network
        of_one_split : the default if there is a single split
        """
        default = of_one_split if self.recipe.folds == 1 else 1
        return Experiment(
            dataset=self.dataset,
            recipe=self.recipe,
            seeds=range(default if seeds is None else seeds),
            test_set=self.test_set,
            searched=self.searched,
        )


def inputs(
    dataset: Dataset | Path | str,
    run: Path | str,
    recipe: Recipe | Run | Path | str,
    changes: Mapping[str, Any] | None = None,
) -> Inputs:
    """Open the data set and read the recipe.

    Parameters
    ----------
    recipe : a preset's name, a JSON file, a run (its best recipe is used), or the recipe itself,
        for which the number of recipes tried before is unknown
    changes : fields of the recipe by their dotted names, such as {"input.size": 32}

    Raises
    ------
    InputError
        When a file cannot be read, or `run` is a bucket.
    """
    if bucket_url(run) is not None:
        raise InputError(f"{run} is in a bucket: name a folder here, or use the command line.")
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    if not opened.folder.is_absolute():  # Ray's workers have another working folder
        opened = dataclasses.replace(opened, folder=opened.folder.absolute())
    source = str(recipe.folder / RECIPE if isinstance(recipe, Run) else recipe)
    asked = recipe if isinstance(recipe, Recipe) else named_recipe(source)
    searched = searched_before("" if isinstance(recipe, Recipe) else source, Path(run))
    return Inputs(
        dataset=opened, run=Path(run), recipe=override(asked, changes or {}), searched=searched
    )


def set_up(given: Inputs, options: RunOptions) -> Setup:
    """Resolve the recipe for these data and this machine, and read the user's files.

    With a test set, no patient of the data set is kept for testing.

    Raises
    ------
    InputError
        When a file cannot be read, is of another kind, or differs from the one that the recipe was
        made with.
    """
    dataset = given.dataset
    there = _machine_of_stages(options)
    recipe = override(_resolved(given, options.gpus_per_worker, there), options.split)
    where = {dataset.digest: dataset.folder}
    test_set = None
    if dataset.official_parts is not None:
        say(
            "The data set has an official split: nothing is trained on its test part"
            + ("." if options.test_set is None else ". Tests use --test-set instead.")
        )
    if options.test_set is not None:
        test_set = Dataset.open(Path(options.test_set).absolute())
        where[test_set.digest] = test_set.folder
        recipe = override(recipe, {"split.test": 0.0, "split.leave_out_centre": None})
    vgg19 = _digest(options.vgg19, recipe.srgan.vgg19, "--vgg19")
    if vgg19 is not None:
        file, digest = vgg19
        Vgg19Features(file)  # a bad file is reported now, not after a generator was trained
        where[digest] = file
        recipe = override(recipe, {"srgan.vgg19": digest})
    recipe, weights = started(recipe, options.weights, dataset, test_set)
    where |= weights
    if not options.starts and recipe.fine_tuning != FineTuningConfig():
        raise InputError("fine_tuning applies to layers with given weights: add --weights.")
    if recipe.generator == ORACLE:
        raise InputError(
            "The oracle cannot be the generator of a method, because it uses the simulator: see "
            "`thyroid compare --dose`."
        )
    if recipe.split.fold:
        raise InputError("split.fold cannot be chosen: a run trains one network for each fold.")
    recipe = dataclasses.replace(recipe, split=with_folds(dataset, recipe.split))
    return Setup(
        dataset=dataset,
        run=given.run,
        recipe=recipe,
        searched=given.searched,
        test_set=test_set,
        where=where,
        store=Path(options.store or given.run / "store"),
        machine=there,
    )


def started(
    recipe: Recipe, given: Path | str | None, dataset: Dataset, test_set: Dataset | None
) -> tuple[Recipe, dict[str, Path]]:
    """Return the recipe whose network starts from given weights, and their file, by its digest;
    without given weights, the recipe unchanged.

    Raises
    ------
    InputError
        When the file cannot be obtained, is of another kind, or differs from the one that the
        recipe names.
    """
    datasets = [dataset] if test_set is None else [dataset, test_set]
    file = None if given is None else weights_file(given, recipe, datasets)
    found = _digest(file, recipe.network.weights, "--weights")
    if found is None:
        return recipe, {}
    path, digest = found
    classes, theirs = dataset.info.classes, class_names(path)
    recipe = start_from(recipe, path, digest, classes)
    if theirs is not None and recipe.training != "probe" and not set(classes) <= set(theirs):
        say(
            f"The weights {given} know {len(set(classes) & set(theirs))} of the {len(classes)} "
            f"classes by name (they know {', '.join(theirs)}). The others start from random "
            "weights in the last layer."
        )
    return recipe, {digest: path}


def start_from(recipe: Recipe, file: Path, digest: str, classes: Sequence[str]) -> Recipe:
    """Return the recipe whose training starts from a file of weights, with the input that these
    weights expect: for weights of photographs, grey values from black to white.

    Raises
    ------
    InputError
        When the file does not hold weights of the recipe's network.
    """
    network = build(recipe.network, len(classes))
    loaded = load_pretrained(network, file, recipe.network, classes)
    scale = WHITE[recipe.input.normalisation] if loaded.colour else 1.0
    changes = {
        "network.weights": digest,
        "network.input_mean": round(scale * loaded.mean, 6),
        "network.input_std": round(scale * loaded.std, 6),
    }
    return override(recipe, changes)


def _machine_of_stages(options: RunOptions) -> Processor:
    """Return the machine that `auto` refers to: the one that runs stages, not the command."""
    if not options.joins_cluster:
        return here()
    from thyroid.workflows.cluster import machine_of_stages  # imports Ray

    return machine_of_stages(options)


def _resolved(given: Inputs, gpus_per_worker: float, there: Processor) -> Recipe:
    """Return the recipe with `auto` resolved for the machine, and without parts that the data do
    not allow.
    """
    recipe, info = for_training(given.recipe), given.dataset.info
    if info.kind == "display":
        say("The data are pictures, not counts: thinning of counts is switched off.")
    elif recipe.augmentation.windowing:
        say("The data are counts, not pictures: windowing is switched off.")
    execution = recipe.execution
    if gpus_per_worker and execution.device == "auto":  # the workers' machines, not this one
        execution = dataclasses.replace(execution, device="cuda")
    resolved = dataclasses.replace(recipe, execution=resolve(execution, there))
    fixed = resolve_precision(resolved, began_with(given.run), there)
    crosses = bool(given.dataset.is_cross.any())
    fitting = for_data(fixed, info.kind, crosses=crosses)
    alone = "No image shows more than one disease:"
    if fixed.synthetic and not fitting.synthetic:
        say(f"{alone} the recipe asks for no other synthetic images, so none are used.")
        if fixed.mixing.synthetic_share or fixed.mixing.final_share:
            say("Add `--mixing.cross-share 0` for synthetic images of single diseases.")
    elif fixed.synthetic and fitting.mixing != fixed.mixing:
        say(f"{alone} no synthetic cross images are made.")
    if fixed.cross.order != fitting.cross.order:
        say(f"{alone} there is no cross phase.")
    if fitting.network.cross_feature != "none":
        unused = "x_i is never used, because it begins with the first cross image."
        if fitting.cross.order == "never":
            say(f"The recipe trains on single images alone: {unused}")
        elif not crosses and fitting.synthesis.crosses in ("seen", "none"):
            say(f"{alone} {unused}")
    return fitting


def _digest(file: Path | str | None, asked: str | None, option: str) -> tuple[Path, str] | None:
    """Return a weights file and its SHA-256, which equals the recipe's if the recipe names one."""
    if file is None:
        if asked is not None:
            raise InputError(f"The recipe needs weights: give {option} FILE ({asked[:12]}).")
        return None
    path = Path(file).absolute()
    if not path.is_file():
        raise InputError(f"{option} {file} is not a file.")
    found = sha256_of(path)
    if asked not in (None, found):
        raise InputError(f"{option} {file} is not the file that the recipe names ({asked[:12]}).")
    return path, found


P = ParamSpec("P")
Options = TypeVar("Options")


class Workflow(Protocol[P]):
    """A workflow that a notebook calls: its options are keyword arguments."""

    def __call__(
        self,
        dataset: Dataset | Path | str,
        run: Path | str,
        recipe: Recipe | Run | Path | str = "small",
        changes: Mapping[str, Any] | None = None,
        *args: P.args,
        **options: P.kwargs,
    ) -> Run:
        """Fill the run folder; see `inputs` for the parameters that all workflows share."""


def with_keywords(
    name: str, workflow: Callable[[Inputs, Options], Run], options: Callable[P, Options]
) -> Workflow[P]:
    """Make a notebook's function from a workflow: each field of `options` is a keyword argument.

    The function restores the caller's number of torch threads.
    """

    def called(
        dataset: Dataset | Path | str,
        run: Path | str,
        recipe: Recipe | Run | Path | str = "small",
        changes: Mapping[str, Any] | None = None,
        *args: P.args,
        **given: P.kwargs,
    ) -> Run:
        asked, threads = options(*args, **given), torch.get_num_threads()
        try:
            return workflow(inputs(dataset, run, recipe, changes), asked)
        finally:
            torch.set_num_threads(threads)

    _describe(called, name, workflow, options)
    return called


def _describe(
    called: Any, name: str, workflow: Callable[..., Run], options: Callable[..., Any]
) -> None:
    """Make `help()` and editors show the options and their descriptions."""
    signature = inspect.signature(called)
    shared = list(itertools.islice(signature.parameters.values(), 4))
    own = inspect.signature(options).parameters.values()
    called.__signature__ = signature.replace(parameters=[*shared, *own])
    called.__name__ = called.__qualname__ = name
    called.__module__ = workflow.__module__
    told = "\n".join(f"{name} : {meaning}" for name, meaning in _meanings(options).items())
    called.__doc__ = f"{inspect.getdoc(workflow)}\n\nOptions\n-------\n{told}\n"


def _meanings(options: Any) -> dict[str, str]:
    """Return the docstrings of a dataclass's fields, which Python itself does not keep."""
    found: dict[str, str] = {}
    for part in reversed(options.__mro__[:-1]):
        (tree,) = ast.parse(inspect.getsource(part)).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in itertools.pairwise(tree.body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                assert isinstance(field.target, ast.Name)
                found[field.target.id] = " ".join(ast.literal_eval(text.value).split())
    return found
