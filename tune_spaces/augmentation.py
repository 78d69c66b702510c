"""How much to change training images: geometry, shorter acquisitions, mirror, and for how long.

Epochs are multiples of a segment, so that trials of different length share their beginning.
"""

from __future__ import annotations

import dataclasses

import optuna

from thyroid.recipe import Recipe


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """One proposal, starting from `recipe`."""
    magnitude = trial.suggest_float("magnitude", 0.0, 2.0, step=0.25)
    thinning = trial.suggest_float("thinning", 0.0, 1.0, step=0.25)
    floor = recipe.augmentation.thinning_floor
    if thinning > 0:
        floor = trial.suggest_categorical("thinning_floor", [0.1, 0.3, 0.5])
    given = recipe.augmentation
    augmentation = dataclasses.replace(
        given,
        rotation_deg=given.rotation_deg * magnitude,
        shift=given.shift * magnitude,
        zoom=given.zoom * magnitude,
        anisotropy=given.anisotropy * magnitude,
        mirror=trial.suggest_categorical("mirror", [0.0, 0.5]),
        thinning=thinning,
        thinning_floor=floor,
    )
    segment = recipe.schedule.segment_epochs
    most = -(-recipe.schedule.constant_epochs // segment)
    constant = segment * trial.suggest_int("constant_segments", 1, most)
    schedule = dataclasses.replace(recipe.schedule, constant_epochs=constant)
    return dataclasses.replace(recipe, augmentation=augmentation, schedule=schedule)
