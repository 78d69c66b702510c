"""What `thyroid compare` tunes of every network, the method's included: optimiser and geometry.

The networks differ in what learning rate they bear, and a comparison at one network's rate would
be no comparison.
"""

from __future__ import annotations

import optuna

from thyroid.recipe import Recipe, override
from tune_spaces.augmentation import geometry


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """One proposal, starting from `recipe`."""
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
