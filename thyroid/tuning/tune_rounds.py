"""Running a study's trials with Ray Tune, in rounds: the death of a driver ends a round."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import ray
from ray import tune

from thyroid.data.dataset import Dataset
from thyroid.errors import InputError, StageFailed, StorageError
from thyroid.execution import nodes
from thyroid.execution.in_process import Datasets
from thyroid.execution.meter import UsedHours
from thyroid.execution.stage_scheduler import SchedulerActor
from thyroid.recipe import Recipe
from thyroid.runs.experiment import grid
from thyroid.runs.live_report import LiveReport
from thyroid.runs.usage import UsageRecord
from thyroid.storage.store import Store
from thyroid.tuning.asha import AshaScheduler, Rungs
from thyroid.tuning.budget import Budget
from thyroid.tuning.progress_table import ProgressTable
from thyroid.tuning.search_config import SearchConfig
from thyroid.tuning.study import WARM_STARTED_FROM, finished, own_trials, reports
from thyroid.tuning.study_search import Propose, StudySearch
from thyroid.tuning.trial_driver import driver
from thyroid.tuning.trial_result import STATES, stored_result
from thyroid.tuning.tune_callback import SearchCallback

RESTARTS = 3
"""Consecutive driver deaths, with no trial finishing, before the search gives up."""


@dataclass(frozen=True, kw_only=True)
class TuneRounds:
    """Runs a study's trials until there are enough, or the budget is used up."""

    study: optuna.Study
    propose: Propose
    config: SearchConfig
    base: Recipe
    """The recipe that the space starts from."""
    rungs: Rungs
    store: Store
    dataset: Dataset
    datasets: Datasets
    usage: UsageRecord
    scratch: Path
    """Folder for Tune's own files, which are deleted: the study and the store have all state."""
    write: Callable[[], None]
    """Writes trials.csv and stages.json."""
    report: LiveReport | None

    def run(self, budget: Budget) -> None:
        """Run trials; after a driver's death, the next round begins with the trials left running.

        Raises
        ------
        StorageError
            On a fault outside the recipe.
        StageFailed
            When drivers die repeatedly, or no node is left.
        """
        done, deaths = len(own_trials(self.study)), 0
        if done >= self.config.trials:
            return
        table = ProgressTable(self.config.trials, self.config.time_budget_s)
        with table.shown(), self._scheduler() as scheduler:
            while (left := self.config.trials - done) > 0 and not budget.over():
                own = own_trials(self.study)
                known = [t for t in finished(self.study) if WARM_STARTED_FROM in t.user_attrs]
                table.begin(
                    [(stored_result(trial), STATES[trial.state]) for trial in own],
                    map(stored_result, known),
                )
                asha = AshaScheduler(self.rungs)
                callback = SearchCallback(
                    table, scheduler, asha.stopped, self.write, self.report, budget
                )
                lost = self._round(left, asha, callback, scheduler)
                if callback.end.fault is not None:
                    raise StorageError(callback.end.fault)
                if lost is None:
                    return
                deaths = 0 if len(own_trials(self.study)) > done else deaths + 1
                done = len(own_trials(self.study))
                if deaths > RESTARTS or not nodes.node_resources():
                    raise StageFailed(
                        f"The search stopped: {lost} Run the same command again to continue."
                    )

    def _round(
        self, left: int, asha: AshaScheduler, callback: SearchCallback, scheduler: Any
    ) -> Exception | None:
        """Let Tune run `left` trials; return the error that killed a driver, if any did."""
        config = self.config
        for trial in finished(self.study):
            asha.replay(f"finished-{trial.number}", reports(trial))
        drive = driver(
            self.store,
            self.dataset.digest,
            self.dataset.info.classes,
            grid(*config.first_level(self.base.folds)),
            self.rungs,
            scheduler,
        )
        os.environ |= {
            "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
            "TUNE_DISABLE_SIGINT_HANDLER": "1",
            "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial has no metric
            "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        }
        tuner = tune.Tuner(
            # Drivers run on the command's machine; their stages may run on any machine.
            tune.with_resources(drive, {"cpu": 0, **nodes.share_of_this_node()}),
            tune_config=tune.TuneConfig(
                search_alg=StudySearch(self.propose, self.study, config.objectives, asha),
                scheduler=asha,
                num_samples=left,
                max_concurrent_trials=config.concurrent or self._concurrent(),
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(self.scratch.absolute()),
                callbacks=[callback],
                stop=callback.end,
                failure_config=tune.FailureConfig(fail_fast=True),
                verbose=0,
            ),
        )
        try:
            errors = tuner.fit().errors
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)
        if not errors:
            return None
        cause: Exception = getattr(errors[0], "cause", errors[0])
        if isinstance(cause, InputError):
            raise cause
        return cause

    @contextlib.contextmanager
    def _scheduler(self) -> Iterator[Any]:
        """Run the search's scheduler within the block; cancel running stages at the end of it."""
        here = SchedulerActor.options(scheduling_strategy=nodes.on_this_node())
        scheduler: Any = here.remote(self.store, self.datasets, self.config.gpus_per_worker)

        def used() -> UsedHours:
            reading: UsedHours = ray.get(scheduler.used.remote(), timeout=10)
            return reading

        try:
            with self.usage.reading(used):
                yield scheduler
        finally:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(scheduler.close.remote(), timeout=10)
            if not isinstance(sys.exception(), KeyboardInterrupt):
                ray.kill(scheduler)

    def _concurrent(self) -> int:
        """Return the number of trials that run at the same time."""
        processors, gpus = nodes.held_resources(self.base.execution, self.config.gpus_per_worker)
        if gpus:
            trainings: float = ray.cluster_resources().get("GPU", 1) / gpus
        else:
            trainings = ray.cluster_resources()["CPU"] / processors
        seeds, folds = self.config.first_level(self.base.folds)
        return trials_at_once(trainings, seeds * folds)


def trials_at_once(trainings: float, networks: int) -> int:
    """Return the number of trials that keep all processors, or all GPUs, busy.

    Several trials may wait for one stage. If as many trials run as there are GPUs, some GPUs then
    have no stage (2 to 4 of 32, by tests/benchmarks/many_gpus.py). On large clusters an eighth more
    trials run.

    Parameters
    ----------
    trainings : trainings for which there is room
    networks : trainings of each trial
    """
    return max(1, math.ceil((trainings + trainings // 8) / networks))
