"""What a proposal would cost, given what has been computed or is about to be."""

from __future__ import annotations

import math

import optuna
from optuna.trial import FrozenTrial

from thyroid import pipeline
from thyroid.distribute.costs import Costs, marginal
from thyroid.distribute.study import recipe_of
from thyroid.recipe import Recipe
from thyroid.stage import Stage
from thyroid.storage.store import Store


class Prices:
    """Seconds that a recipe's missing stages are expected to take, from those of earlier trials.

    Seconds differ from run to run, so a search that goes by them is not repeated to the trial.
    """

    def __init__(self, dataset: str, seeds: int, store: Store) -> None:
        self._dataset, self._seeds, self._store = dataset, seeds, store
        self._trainings: dict[int, list[Stage]] = {}
        self._learned: set[str] = set()
        self._costs = Costs()

    def price(self, recipe: Recipe, study: optuna.Study) -> float:
        """Infinite for what another trial trains: its result is known."""
        trials = study.get_trials(deepcopy=False)
        wanted = self._final(recipe)
        if wanted[-1].key in {self._known(trial)[-1].key for trial in trials}:
            return math.inf
        coming: set[str] = set()
        for trial in trials:
            if trial.state.is_finished():
                self._learn(trial)
            else:
                coming |= {s.key for final in self._known(trial) for s in final.lineage()}
        return marginal(wanted, _Computed(self._store, coming), self._costs)

    def _known(self, trial: FrozenTrial) -> list[Stage]:
        if trial.number not in self._trainings:
            recipe = recipe_of(trial)
            self._trainings[trial.number] = self._final(recipe)
        return self._trainings[trial.number]

    def _learn(self, trial: FrozenTrial) -> None:
        final = self._known(trial)[-1].key
        if final in self._learned:
            return
        for stage in (stage for last in self._known(trial) for stage in last.lineage()):
            manifest = None if stage.key in self._learned else self._store.manifest(stage.key)
            if manifest is not None:
                self._costs.learn(stage, manifest.get("seconds", 0.0))
            self._learned.add(stage.key)

    def _final(self, recipe: Recipe) -> list[Stage]:
        seeds = range(self._seeds)
        return [pipeline.classifier(recipe, self._dataset, seed)[-1] for seed in seeds]


class _Computed:
    """Keys of the stages that are in the store or on their way."""

    def __init__(self, store: Store, coming: set[str]) -> None:
        self._store, self._coming = store, coming

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and (key in self._coming or key in self._store)
