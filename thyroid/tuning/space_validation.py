"""A search space on trials that no study knows of, before Ray starts and anything is written."""

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
"""First trials, whose parameters depend on no result."""


def validate_space(space: Space, base: Recipe, dataset: Dataset, trials: int, seed: int) -> None:
    """Find a mistake in a space that would end the search at one of its first trials.

    Raises
    ------
    InputError
        When one of them proposes what cannot be.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    nowhere = optuna.create_study()
    for number in range(min(trials, VALIDATED_TRIALS)):
        try:
            proposed(space, tpe_trial(nowhere, number, seed), base, dataset)
        except Exception as wrong:
            raise InputError(
                f"The search space fails to propose trial {number}: {str(wrong).rstrip('.')}."
            ) from wrong


def proposed(space: Space, trial: BaseTrial, base: Recipe, dataset: Dataset) -> Recipe:
    """What the space makes of a trial, as far as these data allow it.

    Raises
    ------
    InputError
        When it cannot be trained.
    """
    recipe = for_data(space(trial, base), dataset.info.kind, crosses=bool(dataset.is_cross.any()))
    pipeline.classifier(recipe, dataset.digest, 0)  # refuses what cannot be trained
    return recipe
