"""A search: proposes recipes, runs them as trials, and chooses the best one."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import BaseTrial, FrozenTrial, TrialState, create_trial

from thyroid.configuration import to_json
from thyroid.data.dataset import Dataset
from thyroid.data.splits import make_split
from thyroid.errors import InputError
from thyroid.execution.in_process import Datasets
from thyroid.execution.nodes import node_resources
from thyroid.files import cannot_write
from thyroid.progress import say
from thyroid.recipe import Recipe
from thyroid.run_files.race_json import write_race
from thyroid.runs.live_report import LiveReport
from thyroid.runs.stage_sharing import keep_stages, lineages
from thyroid.runs.usage import UsageRecord
from thyroid.space import Space
from thyroid.storage.store import Store
from thyroid.tuning.asha import Rungs
from thyroid.tuning.budget import Budget
from thyroid.tuning.detached_trial import tpe_trial
from thyroid.tuning.recipe_race import RecipeRace, decision
from thyroid.tuning.search_config import OBJECTIVES, SearchConfig
from thyroid.tuning.space_validation import proposed
from thyroid.tuning.study import (
    WARM_STARTED_FROM,
    finished,
    open_study,
    own_trials,
    recipe_of,
    study_name,
)
from thyroid.tuning.trial_records import write_trials
from thyroid.tuning.trial_result import stored_result
from thyroid.tuning.tune_rounds import TuneRounds
from thyroid.tuning.warm_start import WarmStart, add_once


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search in a run folder. Trials see training and validation data only."""

    run: Path
    """Folder of study.journal, trials.csv, stages.json and usage.json."""
    dataset: Dataset
    base: Recipe
    """The resolved recipe that `space` starts from."""
    space: Space
    config: SearchConfig
    store: Store
    datasets: Datasets
    """Paths of the data set, and of a weights file that the recipe names."""
    report: LiveReport | None = None
    """Rebuilt while trials run."""
    _manifests: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)
    """Manifests of the stages in stages.json, which do not change."""

    def best(self) -> Recipe:
        """Search until `config.trials` trials have ended, or the budget is used up.

        Returns the best recipe. An interrupted search continues where it stopped: finished trials
        are in the study, and the other trials find their stages in the store. A search whose budget
        was used up continues with a larger budget.

        Raises
        ------
        InputError
            When the space proposes an invalid recipe, or the folder cannot be written.
        StageFailed
            When trials' processes die; running the same command again continues.
        """
        with cannot_write(self.run):
            self.run.mkdir(parents=True, exist_ok=True)
        self._require_crosses()
        self.warm_start()
        budget = Budget(self.config.time_budget_s, self.config.gpu_hours, self.usage)
        with self.usage.counting("search") as meter:
            try:
                self._run_trials(budget)
            except BaseException:
                with contextlib.suppress(Exception):  # the first error is the one to report
                    self.write()
                raise
            self.write()
            ranked = self._ranked()
            if not ranked:
                raise InputError(self._why_none_is_complete(budget))
            raced = self._race.run(ranked, budget, meter) if self._races(budget) else []
        if budget.over():
            say(
                "the search's budget is used up: run this command again to continue (with a larger "
                "--gpu-hours, if that was the limit)"
            )
        best = raced[0].trial if raced else ranked[0].number
        write_race(self.run, raced)
        write_trials(self.run, self.study, best)
        if raced:
            say(decision(raced[0]))
        if best is None:
            return self.base
        return next(recipe_of(trial) for trial in ranked if trial.number == best)

    def warm_start(self) -> None:
        """Add the trials of the runs `config.warm_start`, unless a trial of this search began.

        Raises
        ------
        InputError
            When one of the runs holds no search.
        """
        trials = self.study.get_trials(deepcopy=False)
        if not self.config.warm_start or not all(WARM_STARTED_FROM in t.user_attrs for t in trials):
            return
        earlier = WarmStart(
            config=self.config,
            propose=self._recipe,
            dataset=self.dataset,
            rungs=self._rungs,
            store=self.store,
        )
        add_once(self.study, earlier.known_trials())

    @cached_property
    def study(self) -> optuna.Study:
        """The study that holds the trials."""
        if self.config.storage is None:
            return open_study(self.run / "study.journal", self.config.objectives)
        return open_study(self.config.storage, self.config.objectives, study_name(self.store.run))

    @cached_property
    def usage(self) -> UsageRecord:
        """The record of the hours that the run has used."""
        return UsageRecord(self.run, node_resources)

    @cached_property
    def _race(self) -> RecipeRace:
        return RecipeRace(
            config=self.config,
            dataset=self.dataset,
            given=self.base,
            store=self.store,
            datasets=self.datasets,
        )

    def _races(self, budget: Budget) -> bool:
        return self.config.objectives[0] == "macro_f1" and not budget.over()

    def needs(self) -> dict[str, list[str]]:
        """Return the keys of the stages that each trial needed."""
        needed = {
            f"trial {trial.number}": stored_result(trial).stages.split()
            for trial in own_trials(self.study)
        }
        return needed | lineages(self._race.added)

    def write(self) -> None:
        """Write trials.csv and stages.json in their present state, before a recipe is chosen."""
        write_race(self.run, [])
        write_trials(self.run, self.study)
        keep_stages(self.run, self.needs(), self.store, self._manifests)

    def _run_trials(self, budget: Budget) -> None:
        TuneRounds(
            study=self.study,
            propose=self._propose,
            config=self.config,
            base=self.base,
            rungs=self._rungs,
            store=self.store,
            dataset=self.dataset,
            datasets=self.datasets,
            usage=self.usage,
            scratch=self.run / "tune",
            write=self.write,
            report=self.report,
        ).run(budget)

    def _ranked(self) -> list[FrozenTrial]:
        """Return the complete trials, from best to worst by the first objective."""
        complete = [t for t in finished(self.study) if t.state is TrialState.COMPLETE]
        sign = -1.0 if OBJECTIVES[self.config.objectives[0]] == "maximize" else 1.0
        return sorted(complete, key=lambda t: (sign * t.values[0], t.number))

    def _propose(self, number: int) -> FrozenTrial:
        trial = tpe_trial(self.study, number, self.config.seed)
        try:
            recipe = self._recipe(trial)
        except Exception as error:
            raise InputError(
                f"The search space failed to propose trial {number}: "
                f"{str(error).rstrip('.')}. Correct the space and choose another run folder."
            ) from error
        return create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={"recipe": json.dumps(to_json(recipe))},
        )

    def _recipe(self, trial: BaseTrial) -> Recipe:
        return proposed(self.space, trial, self.base, self.dataset)

    def _require_crosses(self) -> None:
        _, folds = self.config.first_level(self.base.folds)
        parts = [make_split(self.dataset, self.base.in_fold(f).split) for f in range(folds)]
        held_out = any(self.dataset.is_cross[each.validation].any() for each in parts)
        if "cross_recall" in self.config.objectives and not held_out:
            raise InputError(
                f"{self.dataset.folder} has no cross image in its validation part: leave "
                "cross_recall out of --objectives."
            )

    @property
    def _rungs(self) -> Rungs:
        return Rungs(grace_epochs=self.config.grace_epochs, factor=self.config.reduction_factor)

    def _why_none_is_complete(self, budget: Budget) -> str:
        if budget.over():
            return (
                "No trial of the search was completed before its budget was used up: "
                "run the same command with a larger budget."
            )
        reasons = [stored_result(trial).reason for trial in own_trials(self.study)]
        first = reasons[0] if reasons else "no trial ran"
        return f"No trial of the search was completed. The first reason: {first}"
