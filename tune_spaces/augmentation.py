"""How to enlarge the training set: synthetic scintigrams, geometry, shorter acquisitions.

What costs most is proposed on the coarsest grid: trials with the same super-resolution share
their generators, and those with the same filter their synthetic images.
"""

from __future__ import annotations

from typing import Any

import optuna

from thyroid.pipeline import DCGAN_SIZES
from thyroid.recipe import Recipe, override


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """One proposal, starting from `recipe`."""
    return override(recipe, proposal(trial, recipe))


def proposal(trial: optuna.Trial, recipe: Recipe) -> dict[str, Any]:
    """The fields that this space decides; `joint` adds those of others."""
    return _synthetic(trial, recipe) | _real(trial, recipe)


def _synthetic(trial: optuna.Trial, recipe: Recipe) -> dict[str, Any]:
    """No synthetic images, or mixed in throughout, or first and then real ones alone; and which."""
    order = trial.suggest_categorical("synthetic", ["none", "mixed", "first"])
    if order == "none":
        return {"mixing.synthetic_share": 0.0, "mixing.final_share": 0.0}
    ratio = trial.suggest_categorical("synthetic_per_real", [0.25, 0.5, 1.0, 2.0])
    share = ratio / (1 + ratio)
    if order == "first" and trial.suggest_categorical("synthetic_alone", [False, True]):
        share = 1.0
    scales = [scale for scale in (1, 2, 4) if recipe.input.size // scale in DCGAN_SIZES[1:]]
    return {
        "mixing.synthetic_share": share,
        "mixing.final_share": share if order == "mixed" else 0.0,
        "mixing.class_exponent": trial.suggest_float("class_exponent", -1.0, 1.0, step=0.5),
        "mixing.cross_share": trial.suggest_categorical("cross_share", [None, 0.0, 0.25, 0.5]),
        "mixing.judge_weight": trial.suggest_categorical("judge_weight", [0.0, 0.5, 1.0]),
        "srgan.scale": trial.suggest_categorical("super_resolution", scales),
        "synthesis.rejection": trial.suggest_categorical("rejection", [0.5, 0.7, 0.9, 1.0]),
    }


def _real(trial: optuna.Trial, recipe: Recipe) -> dict[str, Any]:
    """How much real images are changed, and for how long they are trained on.

    Epochs are multiples of a segment, so that trials of different length share their beginning.
    """
    magnitude = trial.suggest_float("magnitude", 0.0, 2.0, step=0.25)
    thinning = trial.suggest_float("thinning", 0.0, 1.0, step=0.25)
    floor = recipe.augmentation.thinning_floor
    if thinning > 0:
        floor = trial.suggest_categorical("thinning_floor", [0.1, 0.3, 0.5])
    segment = recipe.schedule.segment_epochs
    most = -(-recipe.schedule.constant_epochs // segment)
    return {
        **{
            f"augmentation.{name}": getattr(recipe.augmentation, name) * magnitude
            for name in ("rotation_deg", "shift", "zoom", "anisotropy")
        },
        "augmentation.mirror": trial.suggest_categorical("mirror", [0.0, 0.5]),
        "augmentation.thinning": thinning,
        "augmentation.thinning_floor": floor,
        "schedule.constant_epochs": segment * trial.suggest_int("constant_segments", 1, most),
    }
