"""The space of fine-tuning: how much, and how soon, the layers with given weights change.

Parameters are suggested in the order of the stages that depend on them: trials that differ only in
the rate of these layers share the epochs in which the layers are frozen.
"""

from __future__ import annotations

from typing import Any

import optuna

from thyroid.recipe import Recipe, override
from tune_spaces.augmentation import geometry


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """Propose a recipe, starting from `recipe`; without given weights, only learning rate and
    geometry.
    """
    magnitude = trial.suggest_categorical("magnitude", [1.0, 0.5, 2.0])
    learning_rate = trial.suggest_categorical("learning_rate", [2e-3, 1e-3, 3e-4])
    fields = geometry(recipe, magnitude) | {"optimiser.learning_rate": learning_rate}
    if recipe.network.weights is not None:
        fields |= fine_tuning(trial, recipe)
    return override(recipe, fields)


def fine_tuning(trial: optuna.Trial, recipe: Recipe) -> dict[str, Any]:
    """Suggest for how many segments these layers are frozen (at most half of the constant part),
    and, for the time afterwards, the factor on their learning rate, whether it is the same at all
    depths, and whether the statistics of their batch normalisation are learned.
    """
    schedule = recipe.schedule
    most = max(1, schedule.constant_epochs // (2 * schedule.segment_epochs))
    frozen = trial.suggest_int("frozen_segments", 0, most)
    epochs = schedule.warmup_epochs + frozen * schedule.segment_epochs
    statistics = trial.suggest_categorical("statistics", ["learned", "kept"])
    rate = trial.suggest_categorical("rate", [1.0, 0.3, 0.1, 0.03])
    rates = "equal" if rate == 1 else trial.suggest_categorical("rates", ["equal", "graded"])
    return {
        "fine_tuning.statistics": statistics,
        "fine_tuning.frozen_epochs": epochs if frozen else 0,
        "fine_tuning.rate": rate,
        "fine_tuning.rates": rates,
    }
