"""Warm start: a new search begins with trials of other runs whose stages are in the store."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from thyroid.configuration import to_json
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.progress import say
from thyroid.recipe import Recipe
from thyroid.runs.experiment import grid
from thyroid.storage.store import Store
from thyroid.tuning.asha import Rungs
from thyroid.tuning.held_out import validations
from thyroid.tuning.search_config import SearchConfig
from thyroid.tuning.study import WARM_STARTED_FROM, find_study, finished
from thyroid.tuning.trial_driver import TrialProgress, levels_of, reported_levels
from thyroid.tuning.trial_result import stored


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """Converts trials of other runs into trials of this search."""

    config: SearchConfig
    propose: Callable[[FixedTrial], Recipe]
    """Applies this search's space to a trial."""
    dataset: Dataset
    rungs: Rungs
    store: Store

    def known_trials(self) -> list[FrozenTrial]:
        """Return the complete trials of the runs `config.warm_start` that fit this search.

        A trial fits if this search's space makes a recipe from its parameters whose stages are all
        in the store. No value is copied from the other run: values are read from those stages.

        Raises
        ------
        InputError
            When a folder holds no search.
        """
        known = []
        for run in self.config.warm_start:
            ended = finished(find_study(Path(run)))
            complete = [trial for trial in ended if trial.state is TrialState.COMPLETE]
            adopted = [self._adopt(trial, f"{run} trial {trial.number}") for trial in complete]
            found = [trial for trial in adopted if trial is not None]
            say(
                f"{run}: the store has all stages of {len(found)} of the {len(complete)} complete "
                "trials"
            )
            known += found
        return known

    def _adopt(self, trial: FrozenTrial, source: str) -> FrozenTrial | None:
        """Return another run's trial with its result here; None if the trial does not fit."""
        fixed = FixedTrial(trial.params, trial.number)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # `create_trial` refuses values out of range
                recipe = self.propose(fixed)
            create_trial(
                state=TrialState.RUNNING, params=fixed.params, distributions=fixed.distributions
            )
        except (ValueError, InputError):
            return None
        digest = self.dataset.digest
        networks = grid(*self.config.first_level(recipe.folds))
        predicted = validations(recipe, digest, networks)
        if any(s.key not in self.store for final in predicted for s in final.lineage()):
            return None
        progress = TrialProgress(
            self.store,
            lambda _: [],
            trial.number,
            recipe.schedule.epochs,
            self.dataset.info.classes,
        )
        levels = reported_levels(levels_of(recipe, digest, networks), self.rungs)
        results = [progress.reach(level, predicted) for level in levels]
        last = replace(results[-1], reason=f"warm start from {Path(source).name}")
        reports = [asdict(result.report) for result in results if result.report]
        return create_trial(
            state=TrialState.COMPLETE,
            params=fixed.params,
            distributions=fixed.distributions,
            values=[getattr(last, name) for name in self.config.objectives],
            user_attrs={
                "recipe": json.dumps(to_json(recipe)),
                "outcome": stored(last) | {"reports": reports},
                WARM_STARTED_FROM: source,
            },
        )


def add_once(study: optuna.Study, trials: Iterable[FrozenTrial]) -> None:
    """Add trials to a study: each recipe once, and no recipe that the study has already."""
    recipes = {trial.user_attrs["recipe"] for trial in study.get_trials(deepcopy=False)}
    for trial in trials:
        if trial.user_attrs["recipe"] not in recipes:
            recipes.add(trial.user_attrs["recipe"])
            study.add_trial(trial)
