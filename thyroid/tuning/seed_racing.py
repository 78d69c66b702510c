"""The seed race: more seeds for the best recipes while their order is open."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from optuna.trial import FrozenTrial

from thyroid import pipeline
from thyroid.execution.in_process import Datasets, bring_about
from thyroid.execution.meter import Meter
from thyroid.execution.stage_scheduler import on_ray
from thyroid.progress import say
from thyroid.stage import Stage
from thyroid.storage.store import Store
from thyroid.tuning.budget import Budget, BudgetUsedUp
from thyroid.tuning.search_config import SearchConfig
from thyroid.tuning.study import recipe_of
from thyroid.tuning.trial_driver import last_metrics

ENTRANTS = 6
"""The race begins with this many of the best recipes."""

SECOND_SEEDS = 4
"""This many of them get a second seed while none has one and the spread of seeds is unknown."""

Values = dict[int, list[float]]
"""Macro-F1 of seeds 0, 1, ... by trial number."""


@dataclass(kw_only=True)
class SeedRace:
    """Trains the best recipes with more seeds on Ray."""

    config: SearchConfig
    dataset: str
    """Digest of the data set."""
    store: Store
    datasets: Datasets
    added: dict[str, list[Stage]] = field(default_factory=dict)
    """The trainings of further seeds, by a description such as `trial 3, seed 1`."""

    def run(self, ranked: Sequence[FrozenTrial], budget: Budget, meter: Meter) -> Values:
        """Return the macro-F1 of every seed in the race; empty where there is no race.

        Parameters
        ----------
        ranked : complete trials, the best first
        """
        if self.config.max_seeds <= self.config.seeds or self.config.objectives[0] != "macro_f1":
            return {}
        first_of_recipe: dict[str, FrozenTrial] = {}
        for trial in ranked:
            first_of_recipe.setdefault(trial.user_attrs["recipe"], trial)
        entrants = {t.number: recipe_of(t) for t in list(first_of_recipe.values())[:ENTRANTS]}
        if len(entrants) < 2 or budget.over():
            return {}

        def train(trainings: Sequence[tuple[int, int]]) -> list[float] | None:
            stages = [
                pipeline.classifier(entrants[number], self.dataset, seed)[-1]
                for number, seed in trainings
            ]
            for (number, seed), stage in zip(trainings, stages, strict=True):
                if seed >= self.config.seeds:
                    self.added[f"trial {number}, seed {seed}"] = [stage]
            runner = on_ray(
                self.store,
                self.datasets,
                self.config.gpus_per_worker,
                keep_going=True,
                meter=meter,
            )
            try:
                bring_about(stages, budget.limited(runner))
            except BudgetUsedUp:
                return None
            return [self._macro_f1(stage) for stage in stages]

        say(f"giving the best {len(entrants)} recipes more seeds while they are too close to call")
        seeds = range(self.config.seeds)
        known = {number: train([(number, seed) for seed in seeds]) for number in entrants}
        trained = {number: values for number, values in known.items() if values is not None}
        return race_seeds(trained, train, self.config.max_seeds) if trained else {}

    def _macro_f1(self, stage: Stage) -> float:
        """Return the macro-F1 at a training's end; 0 for one that diverged."""
        metrics = last_metrics(self.store, stage)
        value = math.nan if metrics is None else float(metrics["validation_macro_f1"])
        return value if math.isfinite(value) else 0.0


def race_seeds(
    values: Mapping[int, Sequence[float]],
    more: Callable[[Sequence[tuple[int, int]]], Sequence[float] | None],
    max_seeds: int,
) -> Values:
    """Give contenders one more seed, repeatedly, until one contender is left or all have most.

    A recipe is a contender while its mean is within a standard error of the best one's. This is a
    racing rule after Maron & Moore 1994: seeds go where they may change the choice.

    Parameters
    ----------
    values : macro-F1 of the entrants, at least one seed of each
    more : computes the values of some (trial, seed); None ends the race
    max_seeds : seeds that a recipe may get
    """
    known = {number: list(given) for number, given in values.items()}
    while True:
        close = contenders(known)
        fewest = min(len(known[number]) for number in close)
        if len(close) == 1 or fewest >= max_seeds:
            return known
        asked = [(n, fewest) for n in close if len(known[n]) == fewest]
        found = more(asked)
        if found is None:
            return known
        for (number, _), value in zip(asked, found, strict=True):
            known[number].append(value)


def contenders(values: Mapping[int, Sequence[float]]) -> list[int]:
    """Return the trials that may be the best one; that with the highest mean comes first.

    The spread among seeds is assumed to be the same for all recipes, and pooled.
    """
    ranked = sorted(values, key=lambda number: (-fmean(values[number]), number))
    spread = seed_spread(values.values())
    if spread is None:
        return ranked[:SECOND_SEEDS]
    best = ranked[0]

    def close(number: int) -> bool:
        error = spread * math.sqrt(1 / len(values[best]) + 1 / len(values[number]))
        return fmean(values[best]) - fmean(values[number]) <= error

    return [number for number in ranked if number == best or close(number)]


def seed_spread(values: Iterable[Sequence[float]]) -> float | None:
    """Return the pooled standard deviation among seeds; None where no recipe has two."""
    groups = [group for group in values if len(group) > 1]
    if not groups:
        return None
    squares = sum((value - fmean(group)) ** 2 for group in groups for value in group)
    return math.sqrt(squares / sum(len(group) - 1 for group in groups))
