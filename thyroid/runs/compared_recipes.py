"""The recipes of a comparison: the method, plain networks, and the method without one of its parts.

A row is the method's recipe with some changes; all share data, split, schedule and steps.
Imports no ray.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import optuna

from thyroid import pipeline
from thyroid.configuration import dotted_fields, to_json
from thyroid.errors import InputError
from thyroid.evaluate.pooled import Estimate, pooled_difference
from thyroid.networks.build import BASELINES, PUBLISHED, entry_of, is_residual
from thyroid.networks.registry import NETWORKS
from thyroid.networks.timm_network import PREFIX
from thyroid.recipe import NetworkConfig, Recipe, override
from thyroid.run_files.predictions_csv import Predictions
from thyroid.run_files.rows_json import PARTS, Dose
from thyroid.runs.latin_hypercube import LatinHypercube
from thyroid.space import Space

METHOD = "method"
PLAIN: dict[str, Any] = {
    "training": "network",
    "network.cross_feature": "none",
    "cross.order": "mixed",
    "cross.secondary": 0.0,
    "mixing.synthetic_share": 0.0,
    "mixing.final_share": 0.0,
    "mixing.dose": None,
}
"""A baseline: a network on all real training images from the start."""
SHARED = (
    *("split.", "input.size", "schedule.", "optimiser.batch_size", "execution."),
    *("training", "network.name", "network.weights", "network.input_"),
)
"""Fields that all rows share with the method, even if a space proposes others: same images, steps.
"""
NOT_OF_BASELINES = (
    *("network.cross_feature", "cross.", "mixing."),
    *("generator", "dcgan.", "flow.", "srgan.", "synthesis.", "label_filter."),
)
"""Fields that a space must not set for a baseline: they belong to the method or its generators."""

SUFFIX = re.compile(r"\.(pth|pt|bin|safetensors)$")
"""Endings of weights files, which a row's name omits."""
NO_FILES: Mapping[str, str] = MappingProxyType({})

PROPOSALS = 8
"""Recipes tried for the method and for each network, unless another number is asked for."""
RANDOM_START = "random-start"
ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    RANDOM_START: (
        "random weights",
        {
            "network.weights": None,
            "network.input_mean": 0.0,
            "network.input_std": 1.0,
            "fine_tuning.rate": 1.0,
            "fine_tuning.rates": "equal",
            "fine_tuning.frozen_epochs": 0,
            "fine_tuning.statistics": "learned",
        },
    ),
    "no-gan": (
        "no synthetic images",
        {
            "mixing.synthetic_share": 0.0,
            "mixing.final_share": 0.0,
            "mixing.dose": None,
            "cross.synthetic": 0.0,
        },
    ),
    "eigen": ("eigen-scintigrams instead of the DCGAN", {"generator": "eigen"}),
    "no-srgan": (
        "bicubic interpolation instead of the SRGAN",
        {"srgan.pixel_epochs": 0, "srgan.adversarial_epochs": 0},
    ),
    "no-cross-phase": ("single images alone, no cross images", {"cross.order": "never"}),
    "mixed": ("cross images mixed in from the start", {"cross.order": "mixed"}),
    "primary-alone": ("cross images' targets without other findings", {"cross.secondary": 0.0}),
    "no-superposition": ("no superposed cross images", {"cross.superposed": 0.0}),
    "no-x": ("no x_i", {"network.cross_feature": "none"}),
    "x-input": ("x_i from the image", {"network.cross_feature": "input"}),
    "x-stem": ("x_i from the stem's output", {"network.cross_feature": "stem"}),
    "x-context": ("x_i from the block's mean", {"network.cross_feature": "context"}),
}
"""Name -> title, and the fields of the method that it changes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One recipe of the comparison."""

    name: str
    kind: Literal["method", "baseline", "ablation", "dose", "unseen"]
    title: str
    recipe: Recipe
    trials: int = 0
    """Number of distinct recipes from which this one was chosen, including those of an earlier
    search; 0: it is the given one, or was made from the method's."""
    failed_at_first: int = 0
    """Trainings that failed, after which all were repeated at a tenth of the learning rate."""
    dose: Dose | None = None
    """Synthetic images of a row of a dose-response curve; None for other rows."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """The networks that a method is compared with."""

    asked: str
    """The value of `--models`, without the folders of files, because a report shows no folders."""
    names: tuple[str, ...]
    """Networks with random initial weights; the method's own network starts as in the method."""
    pretrained: tuple[tuple[str, str], ...]
    """Networks that start from given weights, and the weights files."""
    probe: bool
    """True: also a probe of the method's network before training, and of each pretrained one."""


def named_models(asked: str) -> Models:
    """Return the models that a list such as `small,probe,resnet18=FILE` names.

    Raises
    ------
    InputError
        When a network is not registered.
    """
    groups = {"small": BASELINES, "published": PUBLISHED, "none": (), "probe": ()}
    words = [word.strip() for word in asked.split(",")]
    names: list[str] = []
    pretrained: list[tuple[str, str]] = []
    for word in words:
        name, equals, file = word.partition("=")
        if name.startswith(PREFIX):
            entry_of(name)  # raises its own sentence
        elif word not in groups and name not in NETWORKS:
            raise InputError(
                f"--models names '{word}': choose small, published, none, probe, or some of "
                f"{', '.join(NETWORKS)} and timm:NAME, with =WEIGHTS if a network starts from "
                "weights."
            )
        if equals:
            pretrained.append((name, file))
        else:
            names += groups.get(word, (word,))
    return Models(
        asked=",".join([re.sub(r"=(?!hf-hub:).*[/\\]", "=", word) for word in words]),
        names=tuple(dict.fromkeys(names)),
        pretrained=tuple(dict.fromkeys(pretrained)),
        probe="probe" in words,
    )


def method_row(recipe: Recipe, searched: int = 0) -> Row:
    """Return the row of the recipe itself; `searched` recipes were tried to find it."""
    return Row(name=METHOD, kind="method", title="the method", recipe=recipe, trials=searched)


def baseline_rows(
    recipe: Recipe,
    names: Sequence[str],
    pretrained: Sequence[NetworkConfig] = (),
    files: Mapping[str, str] = NO_FILES,
    *,
    probe: bool = False,
) -> list[Row]:
    """Return a row for each network without the method's additions, and then the probes.

    The method's own network keeps its width and its initial weights: they are not part of the
    method, and without them it would be a weaker baseline.

    Parameters
    ----------
    pretrained : further networks, with the digests of their initial weights
    probe : also a probe of the method's network before training, and of each pretrained one
    files : name of each weights file by its digest, including the recipe's

    Raises
    ------
    InputError
        When two different files would give two rows the same name.
    """
    own = recipe.network
    trained = [*(network_called(name, own) for name in names), *pretrained]
    probed = [own, *pretrained] if probe else []
    rows = [_baseline(recipe, network, "network", files) for network in trained]
    rows += [_baseline(recipe, network, "probe", files) for network in probed]
    distinct: dict[str, Row] = {}
    for row in rows:
        if distinct.setdefault(row.name, row).recipe != row.recipe:
            raise InputError(f"--models makes two rows called {row.name}: rename one of the files.")
    return list(distinct.values())


def network_called(name: str, own: NetworkConfig) -> NetworkConfig:
    """Return the method's own network if it has this name, else the network with its defaults."""
    return own if name == own.name else NetworkConfig(name=name, compile=own.compile)


def _baseline(
    recipe: Recipe,
    network: NetworkConfig,
    training: Literal["network", "probe"],
    files: Mapping[str, str],
) -> Row:
    """Return the row of one network, trained without the method's additions, or of its probe."""
    name, title = network.name, [entry_of(network.name).title]
    if training == "probe":
        name, title = f"probe-{name}", [*title, "probe"]
    elif network.weights is not None:
        title.append("fine-tuned")
    if network.weights is not None:
        title.append(files[network.weights])
        name = f"{name}-{SUFFIX.sub('', files[network.weights])}"
    elif training == "probe":
        title.append("random weights")
    changed = dataclasses.replace(recipe, network=network)
    return Row(
        name=re.sub(r"[^\w-]", "-", name),
        kind="baseline",
        title=PARTS.join(title),
        recipe=override(changed, PLAIN | {"training": training}),
    )


def ablation_rows(recipe: Recipe, *, every: bool = True) -> list[Row]:
    """Return rows with one part of the recipe removed or replaced, if that trains another network.

    Parameters
    ----------
    every : False: only the row that is always compared, with random instead of given weights
    """
    residual = is_residual(recipe.network)
    rows = [
        Row(name=name, kind="ablation", title=title, recipe=override(recipe, changed))
        for name, (title, changed) in ABLATIONS.items()
        if (residual or "network.cross_feature" not in changed) and (every or name == RANDOM_START)
    ]
    own = _trained(recipe)
    return [row for row in rows if _trained(row.recipe) != own]


def _trained(recipe: Recipe) -> str:
    """Return the key of the recipe's classifier; recipes that train the same one have one key."""
    return pipeline.classifier(recipe, "", 0)[-1].key


def candidates(row: Row, space: Space, number: int) -> list[Recipe]:
    """Return the row's recipe and `number` - 1 stratified proposals of `space`, without proposals
    that train the same network as another.

    All rows get the same proposals (see `LatinHypercube`). If the method was already chosen among
    this many recipes, no others are proposed. Fields in which the row must not differ (`SHARED`,
    `NOT_OF_BASELINES`) keep their values whatever the space proposes.
    """
    if row.trials >= number:
        return [row.recipe]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=LatinHypercube(max(1, number - 1)))
    kept = SHARED + (NOT_OF_BASELINES if row.kind == "baseline" else ())
    fixed = {
        name: value
        for name, value in dotted_fields(to_json(row.recipe)).items()
        if name.startswith(kept)
    }
    proposed = [override(space(study.ask(), row.recipe), fixed) for _ in range(number - 1)]
    distinct: dict[str, Recipe] = {}
    for recipe in (row.recipe, *proposed):
        distinct.setdefault(_trained(recipe), recipe)
    return list(distinct.values())


def chosen(validated: Sequence[Predictions | None]) -> int | None:
    """Return the index of the chosen recipe: the best one if it is better than the row's own (the
    first) by more than one standard error of their difference; else the first.

    With a hundred validation images luck decides between recipes: choosing the highest macro-F1 of
    three cost the method a point on other centres, and moved the networks by as much or more in
    both directions (docs/results/measurements.md). The standard error is paired, over patients and,
    with folds, training sets; it does not include differences between seeds. (After the idea of
    Breiman et al. 1984, 3.4.3.)

    Parameters
    ----------
    validated : out-of-fold predictions of the same images; None for a recipe that could not be
        trained. If all are None, the result is None.
    """
    trained = [i for i, predictions in enumerate(validated) if predictions is not None]
    if not trained:
        return None

    def difference(i: int, j: int) -> Estimate:
        one, other = validated[i], validated[j]
        assert one is not None
        assert other is not None
        return pooled_difference(
            one.labels,
            one.probabilities.argmax(axis=1),
            other.probabilities.argmax(axis=1),
            one.images["patient_id"].to_numpy(dtype=str),
            classes=len(one.classes),
            folds=1 if one.folds is None else int(one.folds.max()) + 1,
        )

    first = trained[0]
    gains = {i: difference(i, first) for i in trained}
    best = max(trained, key=lambda i: gains[i].value)
    return best if first != 0 or gains[best].value > gains[best].standard_error else first


def changes_of(method: Recipe, other: Recipe) -> dict[str, Any]:
    """Return the fields of `other` that differ from the method's, by dotted name."""
    before, after = dotted_fields(to_json(method)), dotted_fields(to_json(other))
    return {name: value for name, value in after.items() if value != before[name]}
