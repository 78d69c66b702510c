"""The space that `thyroid compare` tunes for every network: optimiser and geometry.

The best learning rate differs between networks; comparing all at the rate of one would be unfair.
Its range of two decades covers the rates that networks without batch normalisation need and those
that networks with it tolerate.
"""

from __future__ import annotations

import optuna

from thyroid.recipe import Recipe, override
from tune_spaces.augmentation import geometry


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """Propose a recipe, starting from `recipe`."""
    magnitude = trial.suggest_categorical("magnitude", [1.0, 0.5, 2.0])
    return override(
        recipe,
        {
            "optimiser.learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
            "optimiser.weight_decay": trial.suggest_float("weight_decay", 0.01, 0.2, log=True),
            **geometry(recipe, magnitude),
        },
    )
