"""The whole recipe, read from a file, changed by dotted fields, fitted to data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from thyroid.configuration import from_json, to_json
from thyroid.errors import InputError
from thyroid.recipe.data_config import AugmentationConfig, InputConfig, SplitConfig
from thyroid.recipe.generator_config import (
    DcganConfig,
    FlowConfig,
    MixingConfig,
    SrganConfig,
    SynthesisConfig,
)
from thyroid.recipe.training_config import (
    CrossConfig,
    ExecutionConfig,
    FineTuningConfig,
    NetworkConfig,
    OptimiserConfig,
    ScheduleConfig,
    Views,
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every setting that decides a result, except the data and the seed."""

    split: SplitConfig = field(default_factory=SplitConfig)
    input: InputConfig = field(default_factory=InputConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    fine_tuning: FineTuningConfig = field(default_factory=FineTuningConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    cross: CrossConfig = field(default_factory=CrossConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    training: Literal["network", "probe"] = "network"
    """`network`: all weights are trained. `probe`: the network keeps the weights that it starts
    with, given or random, and its last layer is a logistic regression on its features. A probe is
    fitted to the real training images as they are, so optimiser, schedule, augmentation, cross and
    mixing have no effect."""
    generator: str = "dcgan"
    """Generator of scintigrams: `dcgan`, or the name of a file of thyroid/generators."""
    dcgan: DcganConfig = field(default_factory=DcganConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    srgan: SrganConfig = field(default_factory=SrganConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    label_filter: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Training of the label filter, a small network on real training images alone. It drops
    synthetic images to which it gives another label. Super-resolution and the quality measures
    compare its features."""
    views: Views = "mirrored_shifts"
    """Views of an image over which a prediction averages probabilities. `one`: the image itself.
    `shifts`: the image and its shifts by one pixel (5). `mirrored_shifts`: these and their mirror
    images (10), if training mirrors images (`augmentation.mirror` above 0), else `shifts`."""
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)

    @property
    def generator_settings(self) -> FlowConfig | None:
        """The recipe's section for a generator that learns in epochs; None if the generator has no
        epochs or is the DCGAN.
        """
        return self.flow if self.generator == "flow" else None

    @property
    def folds(self) -> int:
        """Number of folds; one network is trained per fold."""
        return self.split.folds or 1

    def in_fold(self, fold: int) -> Recipe:
        """Return the recipe of the network that this fold validates."""
        return replace(self, split=replace(self.split, fold=fold))

    @property
    def allowed_views(self) -> Views:
        """The views that predictions average: no mirror images if training does not mirror."""
        mirrors = self.augmentation.mirror > 0
        return self.views if mirrors or self.views != "mirrored_shifts" else "shifts"

    @property
    def synthetic(self) -> bool:
        """True if training uses any synthetic image."""
        if self.mixing.dose is not None:
            return self.mixing.dose > 0
        mixed = self.mixing.synthetic_share > 0 or self.mixing.final_share > 0
        if self.cross.order != "mixed" and self.mixing.cross_share == 1:
            mixed = False  # the single phase uses no crosses, and all synthetic ones are crosses
        return mixed or (self.cross.order == "retrain" and self.cross.synthetic > 0)


def for_training(recipe: Recipe) -> Recipe:
    """Remove synthetic images and the cross phase from the recipe of a probe, which has neither."""
    if recipe.training == "network":
        return recipe
    none: dict[str, Any] = {"mixing.synthetic_share": 0.0, "mixing.final_share": 0.0}
    return override(recipe, none | {"cross.order": "mixed", "mixing.dose": None})


def for_data(recipe: Recipe, kind: Literal["counts", "display"], *, crosses: bool) -> Recipe:
    """Remove from a recipe the parts that the data do not allow.

    Pictures hold no counts that could be thinned or superposed, and counts have no display window.
    If the data have no cross images and the recipe names no crosses, there are no synthetic crosses
    (real images take their share) and no cross phase.
    """
    changes: dict[str, Any] = {}
    if kind == "display":
        changes |= {"augmentation.thinning": 0.0, "cross.superposed": 0.0}
    else:
        changes["augmentation.windowing"] = 0.0
    if not crosses and recipe.synthesis.crosses in ("seen", "none"):
        changes["cross.order"] = "mixed"
        if recipe.mixing.cross_share:
            changes["mixing.cross_share"] = None
            if recipe.mixing.cross_share == 1:
                changes |= {"mixing.synthetic_share": 0.0, "mixing.final_share": 0.0}
    return override(recipe, changes)


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a JSON file such as RUN/recipe.json.

    Raises
    ------
    InputError
        When the file is missing or holds no recipe.
    """
    try:
        return from_json(Recipe, json.loads(path.read_text()))
    except OSError as missing:
        raise InputError(f"Cannot read recipe {path}: {missing.strerror}.") from None
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"{path} is not a recipe: see the recipe.json of any run.") from None


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe with dotted fields replaced: `override(recipe, {"input.size": 32})`.

    Raises
    ------
    InputError
        When a field does not exist or a value is not of its type or range.
    """
    plain = to_json(recipe)
    for dotted, value in changes.items():
        *parents, leaf = dotted.split(".")
        place = plain
        for parent in parents:
            place = place.get(parent, {}) if isinstance(place, dict) else {}
        if not isinstance(place, dict) or leaf not in place:
            raise InputError(f"The recipe has no field '{dotted}': see `thyroid train --help`.")
        place[leaf] = value
    return from_json(Recipe, plain)
