"""Augmentation and cross-training together: for a cluster, or for patience."""

from __future__ import annotations

import optuna

from thyroid.recipe import Recipe, override
from tune_spaces import augmentation, cross_training


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """One proposal, starting from `recipe`."""
    fields = augmentation.proposal(trial, recipe) | cross_training.proposal(trial, recipe)
    if fields["cross.order"] == "retrain" and trial.params["synthetic"] != "none":
        fields["cross.synthetic"] = trial.suggest_categorical("synthetic_crosses", [0.0, 0.25, 0.5])
    return override(recipe, fields)
