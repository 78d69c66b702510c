"""The space of fine-tuning: how much, and how soon, the layers change that came with weights.

Parameters are suggested in the order of the stages that depend on them: trials that differ in the
rate of these layers alone share the epochs in which they are frozen.
"""

from __future__ import annotations

import optuna

from thyroid.errors import InputError
from thyroid.recipe import Recipe, override
from tune_spaces.augmentation import geometry


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """Propose a recipe, starting from `recipe`, which names the weights that it starts from.

    Raises
    ------
    InputError
        When it names none.
    """
    if recipe.network.weights is None:
        raise InputError("The space transfer needs weights to start from: give --weights.")
    schedule = recipe.schedule
    most = max(1, schedule.constant_epochs // (2 * schedule.segment_epochs))
    magnitude = trial.suggest_categorical("magnitude", [1.0, 0.5, 2.0])
    learning_rate = trial.suggest_categorical("learning_rate", [2e-3, 1e-3, 3e-4])
    frozen = trial.suggest_int("frozen_segments", 0, most)
    return override(
        recipe,
        {
            **geometry(recipe, magnitude),
            "optimiser.learning_rate": learning_rate,
            "fine_tuning.frozen_epochs": (
                schedule.warmup_epochs + frozen * schedule.segment_epochs if frozen else 0
            ),
            "fine_tuning.rate": trial.suggest_categorical("rate", [1.0, 0.3, 0.1, 0.03]),
        },
    )
