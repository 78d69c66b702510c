"""How much to change training images: geometry, shorter acquisitions, mirror, and for how long.

Epochs are multiples of a segment, so that trials of different length share their beginning.
"""

from __future__ import annotations

import dataclasses

import optuna

from thyroid.recipe import AugmentationConfig, Recipe


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """One proposal, starting from `recipe`."""
    magnitude = trial.suggest_float("magnitude", 0.0, 2.0, step=0.25)
    thinning = trial.suggest_float("thinning", 0.0, 1.0, step=0.25)
    floor = recipe.augmentation.thinning_floor
    if thinning > 0:
        floor = trial.suggest_categorical("thinning_floor", [0.1, 0.3, 0.5])
    plain = AugmentationConfig()
    augmentation = dataclasses.replace(
        plain,
        rotation_deg=plain.rotation_deg * magnitude,
        shift=plain.shift * magnitude,
        zoom=plain.zoom * magnitude,
        anisotropy=plain.anisotropy * magnitude,
        mirror=trial.suggest_categorical("mirror", [0.0, 0.5]),
        thinning=thinning,
        thinning_floor=floor,
    )
    segment = recipe.schedule.segment_epochs
    segments = trial.suggest_int(
        "constant_segments", 1, max(1, recipe.schedule.constant_epochs // segment)
    )
    schedule = dataclasses.replace(recipe.schedule, constant_epochs=segments * segment)
    return dataclasses.replace(recipe, augmentation=augmentation, schedule=schedule)
