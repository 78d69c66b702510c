"""The space that `thyroid compare` tunes for every network: optimiser and geometry.

The best learning rate differs between networks; comparing all at the rate of one would be unfair.
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
            "optimiser.learning_rate": trial.suggest_categorical(
                "learning_rate", [3e-4, 1e-3, 2e-3, 4e-3]
            ),
            "optimiser.weight_decay": trial.suggest_categorical("weight_decay", [0.01, 0.05, 0.2]),
            **geometry(recipe, magnitude),
        },
    )
