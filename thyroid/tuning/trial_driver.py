"""The function that Ray Tune runs for each trial: it requests stages, waits, and reports.

It imports no torch and holds no processor: stages are computed by other processes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

import ray
from ray import tune

from thyroid import pipeline
from thyroid.configuration import from_json
from thyroid.data.splits import LeakError
from thyroid.errors import Diverged, InputError, StageFailed, StorageError, TooLarge
from thyroid.execution.in_process import METRICS
from thyroid.execution.lost_processes import stage_error
from thyroid.recipe import Recipe
from thyroid.run_files.network import Network
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Store
from thyroid.tuning.asha import Rungs
from thyroid.tuning.held_out import held_out, validations
from thyroid.tuning.trial_result import TrialResult

Level = tuple[Stage, ...]
"""The same segment of all networks of a trial."""


def driver(
    store: Store,
    dataset: str,
    classes: tuple[str, ...],
    networks: Sequence[Network],
    rungs: Rungs,
    scheduler: Any,
) -> Callable[[dict[str, Any]], None]:
    """Return the function that Tune calls with each proposal.

    It reports a `TrialResult`, as a dictionary, at each rung and at the end.

    Parameters
    ----------
    dataset : digest of the data set
    classes : names of its classes
    networks : trainings of each trial
    scheduler : handle of a `SchedulerActor`
    """

    def drive(proposal: dict[str, Any]) -> None:
        began = time.monotonic()
        recipe = from_json(Recipe, json.loads(proposal["recipe"]))
        subscriber = tune.get_context().get_trial_id()

        def compute(level: Sequence[Stage]) -> list[str]:
            try:
                computed: list[str] = ray.get(scheduler.request.remote(level, subscriber))
            except ray.exceptions.RayError as failure:
                raise stage_error(failure) from None
            return computed

        trial = TrialProgress(store, compute, proposal["number"], recipe.schedule.epochs, classes)
        predicted = validations(recipe, dataset, networks)
        for level in reported_levels(levels_of(recipe, dataset, networks), rungs):
            try:
                result = trial.reach(level, predicted)
            except Exception as failure:
                if is_recipes_fault(failure):
                    result = trial.result(failed=True, reason=reason(failure))
                else:
                    result = trial.result(fault=str(failure))
            tune.report(asdict(replace(result, seconds=time.monotonic() - began)))
            if result.macro_f1 is None:
                return

    return drive


def _part(config: Any) -> str:
    """Name the part of the schedule within which early stopping compares trainings."""
    frozen = "-frozen" if config.pretrained_rate == 0 else ""
    decay = "-decay" if config.rate.stop < config.rate.start else ""
    return f"{config.phase}{frozen}{decay}"


def is_recipes_fault(failure: Exception) -> bool:
    """Return True if the recipe is at fault and would fail again; False if a machine is."""
    if isinstance(failure, (Diverged, TooLarge)):
        return True
    elsewhere = (OSError, ImportError, StorageError, StageFailed, LeakError)
    return not isinstance(failure, elsewhere)


def reason(failure: Exception) -> str:
    """Return an exception as a sentence."""
    if isinstance(failure, (StageFailed, InputError)):
        return str(failure)
    message = " ".join(str(failure).split())
    return f"A stage raised {type(failure).__name__}{': ' if message else ''}{message}"


def levels_of(recipe: Recipe, dataset: str, networks: Sequence[Network]) -> list[Level]:
    """Return the segments of a recipe's trainings, those of all networks together."""
    trainings = [pipeline.classifier(recipe.in_fold(f), dataset, seed) for seed, f in networks]
    return list(zip(*trainings, strict=True))


def reported_levels(levels: Sequence[Level], rungs: Rungs) -> Iterator[Level]:
    """Yield the first level at each rung, and the last level: early stopping needs no others."""
    passed = -1
    for level in levels:
        config = level[0].config
        rung = rungs.rung(config.first_epoch + config.epochs)
        if rung > passed or level is levels[-1]:
            passed = rung
            yield level


class TrialProgress:
    """Computes the stages of one trial, level by level, and adds up the time that they took.

    Parameters
    ----------
    compute : computes stages, and returns the keys of those that were computed for this trial
    epochs : epochs of the whole schedule
    classes : names of the data set's classes
    """

    def __init__(
        self,
        store: Store,
        compute: Callable[[Sequence[Stage]], Iterable[str]],
        number: int,
        epochs: int,
        classes: tuple[str, ...],
    ) -> None:
        self._store, self._compute, self._classes = store, compute, classes
        self._number, self._epochs = number, epochs
        self._needed: dict[str, float] = {}
        """Seconds of each stage so far, by its key."""
        self._computed: set[str] = set()

    def reach(self, level: Level, predicted: Sequence[Stage]) -> TrialResult:
        """Compute the same segment of every network; return the result at its end.

        Parameters
        ----------
        predicted : stages that predict the validation parts with the finished networks; they are
            computed at the last level
        """
        self._bring_about(level)
        last = [self._metrics(stage) for stage in level]
        config = level[0].config
        recalls = [metrics["validation_cross_recall"] for metrics in last]
        macro_f1 = fmean(metrics["validation_macro_f1"] for metrics in last)
        if not math.isfinite(macro_f1):
            raise Diverged(f"Validation macro-F1 was {macro_f1} after epoch {last[0]['epoch']}.")
        scores: dict[str, float | None] = {
            "macro_f1": macro_f1,
            "cross_recall": None if None in recalls else fmean(recalls),
        }
        if config.first_epoch + config.epochs == self._epochs:
            scores = self._final(predicted)
        return self.result(
            epoch=last[0]["epoch"],
            rung_macro_f1=macro_f1,
            **scores,
            part=_part(config),
            training=" ".join(stage.key for stage in level),
        )

    def _final(self, predicted: Sequence[Stage]) -> dict[str, float | None]:
        """Return the scores of all held-out images together."""
        self._bring_about(predicted)
        found = held_out(self._store, predicted, self._classes)
        if found is None:  # damaged predictions were set aside: compute them once more
            self._bring_about(predicted)
            found = held_out(self._store, predicted, self._classes)
        if found is None:
            raise StorageError(f"{self._store.place} loses what is written there: check the disk.")
        score = found.macro_f1
        return {
            "macro_f1": score.value,
            "standard_error": score.known_error,
            "cross_recall": found.cross_recall,
        }

    def result(self, **values: Any) -> TrialResult:
        """Return a result with these values, and the trial's stages and seconds so far."""
        return TrialResult(
            number=self._number,
            epochs=self._epochs,
            compute=sum(self._needed.values()),
            computed=sum(self._needed.get(key, 0.0) for key in self._computed),
            reused_stages=len(self._needed.keys() - self._computed),
            computed_stages=len(self._computed),
            stages=" ".join(self._needed),
            **values,
        )

    def _bring_about(self, level: Sequence[Stage]) -> None:
        try:
            self._computed.update(self._compute(level))
        finally:  # also count the stages that finished before one failed
            for needed in {s.key: s for stage in level for s in stage.lineage()}.values():
                manifest = self._store.manifest(needed.key)
                if manifest is not None:  # else the stage failed, or was pruned from the store
                    self._needed[needed.key] = manifest.get("seconds", 0.0)

    def _metrics(self, stage: Stage) -> EpochMetrics:
        metrics = last_metrics(self._store, stage)
        if metrics is None:  # a damaged artifact was set aside: compute it once more
            self._bring_about([stage])
            metrics = last_metrics(self._store, stage)
        if metrics is None:
            raise StorageError(f"{self._store.place} loses what is written there: check the disk.")
        return metrics


def last_metrics(store: Store, stage: Stage) -> EpochMetrics | None:
    """Return the metrics of a segment's last epoch; None if the store lacks the segment."""
    content = store.read(stage.key, METRICS)
    if content is None:
        return None
    metrics: EpochMetrics = json.loads(content.splitlines()[-1])
    return metrics
