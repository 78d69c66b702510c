"""The search: Ray Tune runs trials, Optuna keeps them, ASHA stops them at segment boundaries."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import ray
from optuna.trial import BaseTrial, FrozenTrial, TrialState
from ray import tune

from thyroid import pipeline, progress
from thyroid.configuration import to_json
from thyroid.data.dataset import Dataset
from thyroid.data.splits import make_split
from thyroid.errors import InputError, StageFailed, StorageError
from thyroid.execution import ray_task
from thyroid.execution.in_process import Datasets, bring_about
from thyroid.execution.meter import Meter, UsedHours
from thyroid.execution.stage_scheduler import SchedulerActor, on_ray
from thyroid.files import cannot_write
from thyroid.recipe import Recipe
from thyroid.runs.live_report import LiveReport
from thyroid.runs.stage_sharing import keep_stages, lineages
from thyroid.runs.usage import UsageRecord
from thyroid.space import Space
from thyroid.stage import Stage
from thyroid.storage.store import Store
from thyroid.tuning import warm_start
from thyroid.tuning.asha import AshaScheduler, Rungs
from thyroid.tuning.budget import Budget, Cut
from thyroid.tuning.detached_trial import tpe_trial
from thyroid.tuning.progress_table import ProgressTable
from thyroid.tuning.search_config import OBJECTIVES, SearchConfig
from thyroid.tuning.seed_racing import FIELD, Values, race_seeds
from thyroid.tuning.space_validation import proposed
from thyroid.tuning.study import (
    Proposal,
    StudySearch,
    finished,
    open_study,
    outcome,
    recipe_of,
    reports,
    study_name,
)
from thyroid.tuning.trial_driver import driver, last_metrics
from thyroid.tuning.trial_records import write_trials
from thyroid.tuning.tune_callback import SearchCallback, ended

RESTARTS = 3
"""Times in a row that drivers may die without that a trial ends."""


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
    """Where the data set, and a weights file that the recipe names, lie."""
    report: LiveReport | None = None
    """Rebuilt while trials run."""
    _manifests: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)
    """Of stages that stages.json names, which do not change."""
    _raced: dict[str, list[Stage]] = field(default_factory=dict, init=False)
    """The trainings of the seed race."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps a copy of what it is given that nobody reads."""
        return {}

    def best(self) -> Recipe:
        """Search until `config.trials` trials have ended, or the budget is over; the best recipe.

        An interrupted search goes on where it was: finished trials are in the study, others find
        their stages in the store. So does one whose budget was over, with a larger one.

        Raises
        ------
        InputError
            When the space proposes what cannot be, or the folder cannot be written.
        StageFailed
            When trials end without a result that is theirs; the same command goes on.
        """
        with cannot_write(self.run):
            self.run.mkdir(parents=True, exist_ok=True)
        self._require_crosses()
        trials = self.study.get_trials(deepcopy=False)
        if self.config.warm_start and all(
            warm_start.SOURCE in trial.user_attrs for trial in trials
        ):
            self._warm_start()
        budget = Budget(self.config.time_budget_s, self.config.gpu_hours, self.usage)
        with self.usage.counting("search") as meter:
            try:
                self._tune(budget)
            except BaseException:
                with contextlib.suppress(Exception):  # what ended it is to be told
                    self.write()
                raise
            self.write()
            if not self._complete:
                raise InputError(self._nothing(budget))
            seeds = self._race_seeds(budget, meter)
        if budget.over():
            progress.say("the search's budget is used up: the same command goes on with a new one")
        best = min(seeds, key=lambda n: (-fmean(seeds[n]), n)) if seeds else self._ranked[0].number
        write_trials(self.run, self.study, seeds, best)
        return recipe_of(self._complete[best])

    @cached_property
    def study(self) -> optuna.Study:
        """Where the trials are."""
        if self.config.storage is None:
            return open_study(self.run / "study.journal", self.config.objectives)
        return open_study(self.config.storage, self.config.objectives, study_name(self.store.run))

    @cached_property
    def usage(self) -> UsageRecord:
        """What the run has used."""
        return UsageRecord(self.run, ray_task.resources_there)

    @property
    def own(self) -> list[FrozenTrial]:
        """The finished trials that this search ran itself."""
        return [
            trial for trial in finished(self.study) if warm_start.SOURCE not in trial.user_attrs
        ]

    def needs(self) -> dict[str, list[str]]:
        """Keys of the stages that each trial has needed."""
        tried = {
            f"trial {trial.number}": outcome(trial).get("stages", "").split() for trial in self.own
        }
        return tried | lineages(self._raced)

    def write(self) -> None:
        """Write trials.csv and stages.json as of now."""
        write_trials(self.run, self.study)
        keep_stages(self.run, self.needs(), self.store, self._manifests)

    @property
    def _complete(self) -> dict[int, FrozenTrial]:
        trials = finished(self.study)
        return {t.number: t for t in trials if t.state is TrialState.COMPLETE}

    @property
    def _ranked(self) -> list[FrozenTrial]:
        """Complete trials, the best by the first objective first."""
        sign = -1.0 if OBJECTIVES[self.config.objectives[0]] == "maximize" else 1.0
        return sorted(self._complete.values(), key=lambda t: (sign * t.values[0], t.number))

    def _propose(self, number: int) -> Proposal:
        trial = tpe_trial(self.study, number, self.config.seed)
        recipe = self._proposed(trial, number)
        return Proposal(
            params=trial.params,
            distributions=trial.distributions,
            recipe=json.dumps(to_json(recipe)),
        )

    def _proposed(self, trial: BaseTrial, number: int) -> Recipe:
        """What the space makes of a trial."""
        try:
            return proposed(self.space, trial, self.base, self.dataset)
        except Exception as wrong:
            raise InputError(
                f"The search space failed to propose trial {number}: "
                f"{str(wrong).rstrip('.')}. Correct the space and choose another run folder."
            ) from wrong

    def _require_crosses(self) -> None:
        held_out = make_split(self.dataset, self.base.split).validation
        if "cross_recall" in self.config.objectives and not self.dataset.is_cross[held_out].any():
            raise InputError(
                f"{self.dataset.folder} has no cross image in its validation part: leave "
                "cross_recall out of --objectives."
            )

    def _warm_start(self) -> None:
        known = warm_start.trials(
            self.config.warm_start,
            lambda sketch: proposed(self.space, sketch, self.base, self.dataset),
            self.dataset.digest,
            self.config.seeds,
            self._rungs,
            self.store,
        )
        warm_start.tell(self.study, known, self.config.objectives)

    @property
    def _rungs(self) -> Rungs:
        return Rungs(grace_epochs=self.config.grace_epochs, factor=self.config.reduction_factor)

    def _nothing(self, budget: Budget) -> str:
        """Why no trial is complete."""
        if budget.over():
            return (
                "No trial of the search was completed before its budget was used up: "
                "the same command with a larger one goes on."
            )
        reasons = [outcome(trial).get("reason", "") for trial in self.own]
        first = (reasons or ["none ran"])[0]
        return f"No trial of the search was completed; the first one: {first}"

    def _tune(self, budget: Budget) -> None:
        """Run trials until there are enough, or the budget is over.

        The death of a driver ends a round; the next one begins with the trials that it left open.
        """
        config = self.config
        done, idle = len(self.own), 0
        table = ProgressTable(config.trials, config.time_budget_s)
        with table.shown(), self._scheduler() as scheduler:
            while (left := config.trials - len(self.own)) > 0 and not budget.over():
                own = {trial.number for trial in self.own}
                table.begin([ended(t, own=t.number in own) for t in finished(self.study)])
                callback = SearchCallback(table, scheduler, self.write, self.report, budget)
                lost = self._round(left, callback, scheduler)
                if callback.end.reason is not None:
                    raise StorageError(callback.end.reason)
                if lost is None:
                    return
                idle = 0 if len(self.own) > done else idle + 1
                done = len(self.own)
                alive = any(node["Alive"] for node in ray.nodes())
                if idle > RESTARTS or not alive:
                    raise StageFailed(f"The search stopped: {lost} The same command goes on.")

    def _round(self, left: int, callback: SearchCallback, scheduler: Any) -> Exception | None:
        """Let Tune run `left` trials; what killed a driver, if anything did."""
        config = self.config
        asha = AshaScheduler(self._rungs)
        for trial in finished(self.study):
            asha.replay(f"finished-{trial.number}", reports(trial))
        drive = driver(self.store, self.dataset.digest, config.seeds, self._rungs, scheduler)
        with _scratch(self.run) as scratch:
            tuner = tune.Tuner(
                # A driver waits on the machine of the command; what it asks for computes elsewhere.
                tune.with_resources(drive, {"cpu": 0, **ray_task.a_trace_of_this_node()}),
                tune_config=tune.TuneConfig(
                    search_alg=StudySearch(self._propose, self.study, config.objectives, asha),
                    scheduler=asha,
                    num_samples=left,
                    max_concurrent_trials=config.concurrent or _concurrent(self.base, config),
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name="search",
                    storage_path=str(scratch),
                    callbacks=[callback],
                    stop=callback.end,
                    failure_config=tune.FailureConfig(fail_fast=True),
                    verbose=0,
                ),
            )
            errors = tuner.fit().errors
        for error in errors:
            cause: Exception = getattr(error, "cause", error)
            if isinstance(cause, InputError):
                raise cause
            return cause
        return None

    @contextlib.contextmanager
    def _scheduler(self) -> Iterator[Any]:
        """The scheduler of this search; what still flies at the end is cancelled."""
        here = SchedulerActor.options(scheduling_strategy=ray_task.this_node())  # type: ignore[attr-defined]
        scheduler: Any = here.remote(self.store, self.datasets, self.config.gpus_per_worker)

        def used() -> UsedHours:
            shown: UsedHours = ray.get(scheduler.used.remote(), timeout=10)
            return shown

        try:
            with self.usage.reading(used):
                yield scheduler
        finally:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(scheduler.close.remote(), timeout=10)
            if not isinstance(sys.exception(), KeyboardInterrupt):
                ray.kill(scheduler)

    def _race_seeds(self, budget: Budget, meter: Meter) -> Values:
        """Macro-F1 of every seed of the best recipes; empty where none is to get more seeds."""
        if self.config.max_seeds <= self.config.seeds or self.config.objectives[0] != "macro_f1":
            return {}
        if budget.over():
            return {}
        field: dict[str, FrozenTrial] = {}
        for trial in self._ranked:
            field.setdefault(trial.user_attrs["recipe"], trial)
        chosen = {trial.number: trial for trial in list(field.values())[:FIELD]}
        if len(chosen) < 2:
            return {}

        def final(number: int, seed: int) -> Stage:
            recipe = recipe_of(chosen[number])
            return pipeline.classifier(recipe, self.dataset.digest, seed)[-1]

        def more(asked: Sequence[tuple[int, int]]) -> list[float] | None:
            stages = [final(*each) for each in asked]
            for (number, seed), stage in zip(asked, stages, strict=True):
                if seed >= self.config.seeds:
                    self._raced[f"trial {number}, seed {seed}"] = [stage]
            runner = on_ray(
                self.store,
                self.datasets,
                self.config.gpus_per_worker,
                keep_going=True,
                meter=meter,
            )
            try:
                bring_about(stages, budget.limited(runner))
            except Cut:
                return None
            return [self._value(stage) for stage in stages]

        progress.say(
            f"giving the best {len(chosen)} recipes more seeds while they are too close to call"
        )
        first = range(self.config.seeds)
        known = {number: more([(number, seed) for seed in first]) for number in chosen}
        complete = {number: values for number, values in known.items() if values is not None}
        return race_seeds(complete, more, self.config.max_seeds) if complete else {}

    def _value(self, stage: Stage) -> float:
        """Macro-F1 at a training's end; 0 of one that diverged."""
        metrics = last_metrics(self.store, stage)
        value = math.nan if metrics is None else float(metrics["validation_macro_f1"])
        return value if math.isfinite(value) else 0.0


@contextlib.contextmanager
def _scratch(run: Path) -> Iterator[Path]:
    """Where Tune keeps its own state, none of which is needed: the study and the store have all."""
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial has none
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    folder = run.absolute() / "tune"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _concurrent(base: Recipe, config: SearchConfig) -> int:
    """As many trials as keep every processor, or every GPU, busy."""
    execution = base.execution
    if execution.device == "cuda":
        each = ray_task.gpus_each(execution, config.gpus_per_worker) * execution.workers
        capacity: float = ray.cluster_resources().get("GPU", 1) / each
    else:
        capacity = ray.cluster_resources()["CPU"] / (execution.threads * execution.workers)
    return max(1, math.ceil(capacity / config.seeds))
