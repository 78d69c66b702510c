"""Checking a search space on detached trials, before Ray starts and anything is written."""

from __future__ import annotations

import optuna
from optuna.trial import BaseTrial

from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.recipe import Recipe, for_data
from thyroid.space import Space
from thyroid.tuning.detached_trial import tpe_trial

VALIDATED_TRIALS = 10
"""Number of trials to check; their parameters depend on no results."""


def validate_space(space: Space, base: Recipe, dataset: Dataset, trials: int, seed: int) -> None:
    """Check that a space proposes recipes that can be trained, on its first trials.

    Raises
    ------
    InputError
        When the space raises an error or proposes an invalid recipe.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    empty = optuna.create_study()
    for number in range(min(trials, VALIDATED_TRIALS)):
        try:
            proposed(space, tpe_trial(empty, number, seed), base, dataset)
        except Exception as error:
            raise InputError(
                f"The search space fails to propose trial {number}: {str(error).rstrip('.')}."
            ) from error


def proposed(space: Space, trial: BaseTrial, base: Recipe, dataset: Dataset) -> Recipe:
    """Return the recipe that a space proposes for a trial, without parts that the data rule out.

    Raises
    ------
    InputError
        When the recipe cannot be trained.
    """
    recipe = for_data(space(trial, base), dataset.info.kind, crosses=bool(dataset.is_cross.any()))
    if recipe.training == "probe":
        raise InputError("A probe has no epochs to search over: set training to network.")
    pipeline.classifier(recipe, dataset.digest, 0)  # refuses recipes that cannot be trained
    return recipe
