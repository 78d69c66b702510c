"""The recipes of a comparison: the method, plain networks, and the method less one part.

A row is a change of the method's recipe; data, split, schedule and steps are the same for all.
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
"""Fields that all rows share with the method, whatever a space proposes: same images and steps."""
NOT_OF_BASELINES = (
    *("network.cross_feature", "cross.", "mixing."),
    *("generator", "dcgan.", "flow.", "srgan.", "synthesis.", "label_filter."),
)
"""Fields that a space must not set for a baseline: they belong to the method or its generators."""

SUFFIX = re.compile(r"\.(pth|pt|bin|safetensors)$")
"""Endings of files of weights, which a row's name leaves out."""
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
            "fine_tuning.frozen_epochs": 0,
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
"""Name -> title, and what it changes of the method."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One recipe of the comparison."""

    name: str
    kind: Literal["method", "baseline", "ablation", "dose", "unseen"]
    title: str
    recipe: Recipe
    trials: int = 0
    """Distinct recipes that it was chosen among, those of an earlier search included; 0: it is as
    given, or follows from the method's."""
    failed_at_first: int = 0
    """Trainings that failed, after which all were repeated at a tenth of the learning rate."""
    dose: Dose | None = None
    """Synthetic images of a row of a dose-response curve; None of other kinds."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """The networks that a method is compared with."""

    asked: str
    """As `--models` takes it, files without their folders: a report names none."""
    names: tuple[str, ...]
    """Networks that start as the method's does where they are its own, else from random numbers."""
    pretrained: tuple[tuple[str, str], ...]
    """Networks that start from weights, and the files of these."""
    probe: bool
    """True: also a probe of the method's network as it starts, and one of each pretrained one."""


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
            entry_of(name)  # raises a sentence of its own
        elif word not in groups and name not in NETWORKS:
            raise InputError(
                f"--models names '{word}': choose small, published, none, probe, or some of "
                f"{', '.join(NETWORKS)} and timm:NAME, with =WEIGHTS where a network starts from "
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
    """The recipe itself, and among how many it had been chosen before."""
    return Row(name=METHOD, kind="method", title="the method", recipe=recipe, trials=searched)


def baseline_rows(
    recipe: Recipe,
    names: Sequence[str],
    pretrained: Sequence[NetworkConfig] = (),
    files: Mapping[str, str] = NO_FILES,
    *,
    probe: bool = False,
) -> list[Row]:
    """Each network, plain, with everything else as in the recipe; then the probes.

    The method's own network keeps its width and the weights that it starts from: they are no part
    of the method, and without them it would be a weaker baseline.

    Parameters
    ----------
    pretrained : further networks, with the digests of the weights that they start from
    probe : also a probe of the method's network as it starts, and one of each pretrained one
    files : name of each file of weights by its digest, that of the recipe's included

    Raises
    ------
    InputError
        When two files of other content would give rows of one name.
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
    """Return the method's own network where it has this name, else the network as it is built."""
    return own if name == own.name else NetworkConfig(name=name, compile=own.compile)


def _baseline(
    recipe: Recipe,
    network: NetworkConfig,
    training: Literal["network", "probe"],
    files: Mapping[str, str],
) -> Row:
    """One network, trained plainly or probed."""
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
    """The recipe with one part taken away or exchanged, where that trains another network.

    Parameters
    ----------
    every : or else only what is always compared: random weights, where the recipe has given ones
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
    """Key of the classifier that the recipe trains; recipes that train the same one share it."""
    return pipeline.classifier(recipe, "", 0)[-1].key


def candidates(row: Row, space: Space, number: int) -> list[Recipe]:
    """The row's recipe and `number` - 1 proposals of `space`, stratified; fewer, where some train
    the same network.

    The same proposals for every row (see `LatinHypercube`). A method that was chosen among as many
    before stays as it is. What a space proposes beyond what the row may differ in (`SHARED`,
    `NOT_OF_BASELINES`) is left out.
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
    """Choose among recipes that were tried: the best proposal where it is better than the recipe
    itself, the first, by more than one standard error of their difference; else the recipe.

    A hundred validation images tell recipes apart by luck: the highest macro-F1 of three cost the
    method a point on other centres, and moved the networks by as much or more in both directions
    (docs/results/measurements.md). The standard error is paired, over patients and, with folds,
    training sets; the seed's luck is not in it. (After the idea of Breiman et al. 1984, 3.4.3.)

    Parameters
    ----------
    validated : out-of-fold predictions of the same images; None where a recipe could not be
        trained. None if all are so.
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
    """Fields of `other` that differ from the method's, by dotted name."""
    before, after = dotted_fields(to_json(method)), dotted_fields(to_json(other))
    return {name: value for name, value in after.items() if value != before[name]}
