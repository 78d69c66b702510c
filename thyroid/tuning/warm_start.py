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

SOURCE = "recalled_from"
"""Name, in the study, of what says which run a trial is from, and which number it had there."""


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """A trial of another run, as it would have ended here."""

    source: str
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    recipe: Recipe
    results: list[dict[str, Any]]
    """At each rung and at the end."""


def trials(
    runs: Sequence[str],
    propose: Callable[[FixedTrial], Recipe],
    dataset: str,
    seeds: int,
    rungs: Rungs,
    store: Store,
) -> list[Recalled]:
    """The complete trials of other runs whose parameters make, in this search, a recipe that the
    store has trained: no value is taken over, each is read from the stages that this search would
    have made.

    Raises
    ------
    InputError
        When a folder holds no search.
    """
    recalled = []
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
                    Recalled(
                        source=f"{run} trial {trial.number}",
                        params=fixed.params,
                        distributions=fixed.distributions,
                        recipe=recipe,
                        results=results,
                    )
                )
        say(f"{run}: {len(found)} of {len(complete)} complete trials are known to the store")
        recalled += found
    return recalled


def tell(study: optuna.Study, recalled: Sequence[Recalled], objectives: Sequence[str]) -> None:
    """Add them to a study, as complete: each recipe once, and none that was told before."""
    known = {trial.user_attrs["recipe"] for trial in study.get_trials(deepcopy=False)}
    for trial in recalled:
        recipe = json.dumps(to_json(trial.recipe))
        if recipe in known:
            continue
        known.add(recipe)
        came_to = kept(trial.results[-1], filter(None, map(report_of, trial.results)))
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                params=trial.params,
                distributions=trial.distributions,
                values=[trial.results[-1][name] for name in objectives],
                user_attrs={
                    "recipe": recipe,
                    "outcome": came_to | {"reason": f"recalled from {Path(trial.source).name}"},
                    SOURCE: trial.source,
                },
            )
        )
