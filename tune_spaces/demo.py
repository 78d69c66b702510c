"""The space of `thyroid demo`: the number of synthetic images, and the strength of geometry.

All trials share one pair of generators and one pool of synthetic images.
"""

from __future__ import annotations

import optuna

from thyroid.recipe import Recipe, override
from tune_spaces.augmentation import geometry


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """Propose a recipe, starting from `recipe`."""
    share = trial.suggest_float("synthetic_share", 0.0, 0.5, step=0.125)
    magnitude = trial.suggest_float("magnitude", 0.5, 2.0, step=0.5)
    return override(
        recipe,
        {
            "mixing.synthetic_share": share,
            "mixing.final_share": share,
            **geometry(recipe, magnitude),
        },
    )
