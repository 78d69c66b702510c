"""The joint space, augmentation and cross-training: for a cluster, or for long searches.

Parameters are suggested in the order of the stages that depend on them: generators, augmentation,
length, cross phase. A trial that differs from another only in its last parameters reuses all stages
before those.
"""

from __future__ import annotations

import optuna

from thyroid.recipe import Recipe, override
from tune_spaces import augmentation, cross_training


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """Propose a recipe, starting from `recipe`."""
    generators = augmentation.generators(trial, recipe)
    fields = generators | cross_training.order(trial, recipe)
    order = fields["cross.order"]
    fields |= augmentation.mixing(trial, order) if generators else augmentation.NO_SYNTHETIC
    fields |= augmentation.real(trial, recipe) | augmentation.length(trial, recipe)
    fields |= cross_training.cross_phase(trial, recipe, fields)
    if order == "retrain" and generators:
        fields["cross.synthetic"] = trial.suggest_categorical("synthetic_crosses", [0.0, 0.25, 0.5])
    return override(recipe, fields)
