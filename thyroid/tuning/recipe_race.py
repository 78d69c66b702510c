"""The race at a search's end: further folds and seeds for the recipes that are too close to call.

This is a racing rule after Maron & Moore 1994: only recipes that may still be chosen are trained
further. The recipe that the search started from takes part, and is chosen unless another is better
by more than a standard error of their difference (after the idea of Breiman et al. 1984, 3.4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from optuna.trial import FrozenTrial

from thyroid.data.dataset import Dataset
from thyroid.evaluate.pooled import Estimate
from thyroid.execution.in_process import Datasets, bring_about
from thyroid.execution.meter import Meter
from thyroid.execution.stage_scheduler import on_ray
from thyroid.progress import say
from thyroid.recipe import Recipe
from thyroid.run_files.network import Network
from thyroid.run_files.race_json import RacedRecipe
from thyroid.runs.experiment import grid
from thyroid.stage import Stage
from thyroid.storage.store import Store
from thyroid.tuning.budget import Budget, BudgetUsedUp
from thyroid.tuning.held_out import HeldOut, held_out, validations
from thyroid.tuning.search_config import SearchConfig
from thyroid.tuning.study import recipe_of

ENTRANTS = 6
"""Most trials in the race, in addition to the recipe that the search started from."""
GIVEN = -1
"""Trial number that stands for the recipe that the search started from."""

Train = Callable[[Sequence[int], Sequence[Network]], Mapping[int, HeldOut] | None]
"""Trains the given networks of the given recipes; returns the predictions of each recipe that can
be trained, or None when the budget is used up."""


@dataclass(kw_only=True)
class RecipeRace:
    """Trains the best recipes in more folds, and with more seeds, on Ray."""

    config: SearchConfig
    dataset: Dataset
    given: Recipe
    """The recipe that the search started from."""
    store: Store
    datasets: Datasets
    added: dict[str, list[Stage]] = field(default_factory=dict)
    """Stages of further networks, by a description such as `race, trial 3`."""

    def run(self, ranked: Sequence[FrozenTrial], budget: Budget, meter: Meter) -> list[RacedRecipe]:
        """Return the result of every recipe in the race, the chosen one first.

        Parameters
        ----------
        ranked : complete trials, the best first
        """
        recipes = {GIVEN: self.given}
        for trial in ranked:
            recipe = recipe_of(trial)
            if len(recipes) <= ENTRANTS and recipe not in recipes.values():
                recipes[trial.number] = recipe
        levels = [grid(*level) for level in self.config.race_levels(self.given.folds)]
        say(
            f"comparing the given recipe and the best {len(recipes) - 1} trials, in more folds and "
            "seeds while they are too close to call"
        )

        def train(numbers: Sequence[int], networks: Sequence[Network]) -> dict[int, HeldOut] | None:
            stages = {n: validations(recipes[n], self.dataset.digest, networks) for n in numbers}
            for number, own in stages.items():
                named = "the given recipe" if number == GIVEN else f"trial {number}"
                self.added[f"race, {named}"] = own
            runner = on_ray(
                self.store,
                self.datasets,
                self.config.gpus_per_worker,
                keep_going=True,
                meter=meter,
            )
            try:
                bring_about([s for own in stages.values() for s in own], budget.limited(runner))
            except BudgetUsedUp:
                return None
            classes = self.dataset.info.classes
            found = {n: held_out(self.store, own, classes) for n, own in stages.items()}
            return {n: predictions for n, predictions in found.items() if predictions is not None}

        return race(list(recipes), levels, train)


def race(
    entrants: Sequence[int], levels: Sequence[Sequence[Network]], train: Train
) -> list[RacedRecipe]:
    """Train the networks of each level for all contenders, level by level, until one is left.

    A recipe is a contender while the best one is better by at most a standard error of their
    difference, on the same images. `GIVEN` is chosen if it is still a contender, else the best.

    Parameters
    ----------
    entrants : numbers of the recipes
    levels : networks; each level includes those of the level before, with the same folds per seed
    train : trains networks; the race ends when it returns None

    Returns
    -------
    Every recipe that could be trained: the chosen one, then the others from best to worst; empty if
    the race ended during its first level.
    """
    contenders, chosen = list(entrants), GIVEN
    raced: dict[int, RacedRecipe] = {}
    for networks in levels:
        found = train(contenders, networks)
        if not found:
            break
        values = {number: predictions.macro_f1 for number, predictions in found.items()}
        best = max(values, key=lambda number: (values[number].value, -number))
        behind = {number: found[best].less(predictions) for number, predictions in found.items()}
        for failed in raced.keys() & (set(contenders) - found.keys()):
            raced[failed] = replace(raced[failed], state="dropped")
        contenders = [n for n in found if n == best or is_close(behind[n])]
        chosen = GIVEN if GIVEN in contenders else best
        for number, value in values.items():
            raced[number] = RacedRecipe(
                trial=None if number == GIVEN else number,
                folds=len({network.fold for network in networks}),
                seeds=len({network.seed for network in networks}),
                macro_f1=value.value,
                standard_error=value.known_error,
                behind=behind[number].value,
                behind_error=behind[number].known_error,
                state="contender" if number in contenders else "dropped",
            )
        if len(contenders) == 1:
            break
    if not raced:
        return []
    raced[chosen] = replace(raced[chosen], state="chosen")
    places = {"chosen": 0, "contender": 1, "dropped": 2}
    return sorted(raced.values(), key=lambda r: (places[r.state], -r.folds * r.seeds, r.behind))


def decision(chosen: RacedRecipe) -> str:
    """Return a sentence about the recipe that a race chose."""
    if chosen.trial is None:
        return (
            "no trial is better than the given recipe by more than a standard error: the given "
            "recipe stays"
        )
    folds = f" of {chosen.folds} folds" if chosen.folds > 1 else ""
    return (
        f"trial {chosen.trial} is chosen: macro-F1 {chosen.macro_f1:.3f} of the held-out "
        f"images{folds}"
    )


def is_close(behind: Estimate) -> bool:
    """Return True if a recipe is behind the best one by at most a standard error."""
    return not behind.value > behind.standard_error  # True for NaN, the error of a single patient
