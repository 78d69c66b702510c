"""The augmentation space: synthetic scintigrams, geometry, shorter acquisitions.

Parameters are suggested in the order of the stages that depend on them: generators, label filter,
the augmentation of every epoch, the length of the training. Trials with the same first parameters
share the first stages. The grids are coarse: finer steps would make no difference on a validation
set of hundreds of images and would only keep trials from sharing stages.
"""

from __future__ import annotations

from typing import Any

import optuna

from thyroid.pipeline import DCGAN_SIZES
from thyroid.recipe import Recipe, override


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """Propose a recipe, starting from `recipe`."""
    fields = generators(trial, recipe)
    if fields:
        fields |= mixing(trial, recipe.cross.order)
    else:
        fields = dict(NO_SYNTHETIC)
    return override(recipe, fields | real(trial, recipe) | length(trial, recipe))


NO_SYNTHETIC = {"mixing.synthetic_share": 0.0, "mixing.final_share": 0.0}


def generators(trial: optuna.Trial, recipe: Recipe) -> dict[str, Any]:
    """Suggest how synthetic images are made; return no fields if the trial uses none."""
    if trial.suggest_categorical("synthetic", ["none", "mixed", "first"]) == "none":
        return {}
    scales = [scale for scale in (1, 2, 4) if recipe.input.size // scale in DCGAN_SIZES[1:]]
    return {
        "srgan.scale": trial.suggest_categorical("super_resolution", scales),
        "synthesis.rejection": trial.suggest_categorical("rejection", [0.3, 0.7, 1.0]),
    }


def mixing(trial: optuna.Trial, order: str) -> dict[str, Any]:
    """Suggest how many synthetic images to use, and when: throughout, or only before real ones.

    With the order `retrain` no cross image is mixed in here, because the cross phase comes last and
    has its own synthetic crosses; before that phase, `first` means synthetic images alone.
    """
    first, mixed = trial.params["synthetic"] == "first", order == "mixed"
    alone = first and (not mixed or trial.suggest_categorical("synthetic_alone", [False, True]))
    ratio = 1.0 if alone else trial.suggest_categorical("synthetic_per_real", [0.25, 0.5, 1.0])
    share = 1.0 if alone else ratio / (1 + ratio)
    fields: dict[str, Any] = {
        "mixing.synthetic_share": share,
        "mixing.final_share": 0.0 if first else share,
        "mixing.class_exponent": trial.suggest_float("class_exponent", -1.0, 1.0, step=1.0),
        "mixing.label_filter_weight": trial.suggest_categorical(
            "label_filter_weight", [0.0, 0.5, 1.0]
        ),
        "mixing.cross_share": None,
    }
    if mixed:
        shares = [None, 0.25, 0.5, 1.0]
        fields["mixing.cross_share"] = trial.suggest_categorical("cross_share", shares)
    return fields


def real(trial: optuna.Trial, recipe: Recipe) -> dict[str, Any]:
    """Suggest how strongly training images are changed in every epoch."""
    magnitude = trial.suggest_float("magnitude", 0.0, 2.0, step=0.5)
    mirror = trial.suggest_categorical("mirror", [0.0, 0.5])
    thinning = trial.suggest_float("thinning", 0.0, 1.0, step=0.5)
    floor = recipe.augmentation.thinning_floor
    if thinning > 0:
        floor = trial.suggest_categorical("thinning_floor", [0.1, 0.3])
    return {
        **geometry(recipe, magnitude),
        "augmentation.mirror": mirror,
        "augmentation.thinning": thinning,
        "augmentation.thinning_floor": floor,
    }


def geometry(recipe: Recipe, magnitude: float) -> dict[str, Any]:
    """Multiply the recipe's geometric changes by a magnitude."""
    names = ("rotation_deg", "shift", "zoom", "anisotropy")
    return {
        f"augmentation.{name}": getattr(recipe.augmentation, name) * magnitude for name in names
    }


def length(trial: optuna.Trial, recipe: Recipe) -> dict[str, Any]:
    """Suggest the epochs at the constant learning rate.

    They are whole segments, so that longer trials continue shorter ones.
    """
    segment = recipe.schedule.segment_epochs
    most = -(-recipe.schedule.constant_epochs // segment)
    if not most:
        return {"schedule.constant_epochs": 0}
    return {"schedule.constant_epochs": segment * trial.suggest_int("constant_segments", 1, most)}
