"""Trials of other runs, for a new search to learn from: as far as the store has their stages."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FixedTrial, TrialState, create_trial

from thyroid import pipeline
from thyroid.configuration import to_json
from thyroid.errors import InputError
from thyroid.progress import say
from thyroid.recipe import Recipe
from thyroid.storage.store import Store
from thyroid.tuning.asha import Rungs, report_of
from thyroid.tuning.study import find_study, finished, kept
from thyroid.tuning.trial_driver import Progress, stops

SOURCE = "warm_started_from"
"""Name, in the study, of what says which run a trial is from, and which number it had there."""


@dataclass(frozen=True, kw_only=True)
class KnownTrial:
    """A trial of another run, as it would have ended here."""

    source: str
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    recipe: Recipe
    results: list[dict[str, Any]]
    """At each rung and at the end."""


def trials(
    runs: Sequence[Path | str],
    propose: Callable[[FixedTrial], Recipe],
    dataset: str,
    seeds: int,
    rungs: Rungs,
    store: Store,
) -> list[KnownTrial]:
    """The complete trials of other runs whose parameters make, in this search, a recipe that the
    store has trained: no value is taken over, each is read from the stages that this search would
    have made.

    Raises
    ------
    InputError
        When a folder holds no search.
    """
    known = []
    for run in runs:
        complete = [t for t in finished(find_study(Path(run))) if t.state is TrialState.COMPLETE]
        found = []
        for trial in complete:
            fixed = FixedTrial(trial.params, trial.number)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # out of range: see `drawable`
                    recipe = propose(fixed)
            except (ValueError, InputError):
                continue  # of another space
            levels = list(
                zip(*(pipeline.classifier(recipe, dataset, s) for s in range(seeds)), strict=True)
            )
            drawable = all(
                distribution._contains(distribution.to_internal_repr(fixed.params[name]))
                for name, distribution in fixed.distributions.items()
            )
            needed = [stage for final in levels[-1] for stage in final.lineage()]
            if drawable and all(stage.key in store for stage in needed):
                progress = Progress(store, lambda _: [])
                results = [
                    progress.reach(level) | progress.spent() for level in stops(levels, rungs)
                ]
                found.append(
                    KnownTrial(
                        source=f"{run} trial {trial.number}",
                        params=fixed.params,
                        distributions=fixed.distributions,
                        recipe=recipe,
                        results=results,
                    )
                )
        say(f"{run}: {len(found)} of {len(complete)} complete trials are known to the store")
        known += found
    return known


def tell(study: optuna.Study, known: Sequence[KnownTrial], objectives: Sequence[str]) -> None:
    """Add them to a study, as complete: each recipe once, and none that was told before."""
    recipes = {trial.user_attrs["recipe"] for trial in study.get_trials(deepcopy=False)}
    for trial in known:
        recipe = json.dumps(to_json(trial.recipe))
        if recipe in recipes:
            continue
        recipes.add(recipe)
        came_to = kept(trial.results[-1], filter(None, map(report_of, trial.results)))
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                params=trial.params,
                distributions=trial.distributions,
                values=[trial.results[-1][name] for name in objectives],
                user_attrs={
                    "recipe": recipe,
                    "outcome": came_to | {"reason": f"warm start from {Path(trial.source).name}"},
                    SOURCE: trial.source,
                },
            )
        )
