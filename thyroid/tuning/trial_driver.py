"""What Ray Tune runs for each trial: a driver that asks for stages, waits, and reports.

It imports no torch and holds no processor: what it asks for is computed elsewhere.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean
from typing import Any

import ray
from ray import tune

from thyroid import pipeline
from thyroid.configuration import from_json
from thyroid.data.splits import LeakError
from thyroid.errors import Diverged, InputError, StageFailed, StorageError, TooLarge
from thyroid.execution.in_process import METRICS
from thyroid.execution.ray_task import own_error
from thyroid.recipe import Recipe
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Store
from thyroid.tuning.asha import Rungs

Level = tuple[Stage, ...]
"""The same segment of every seed."""


def driver(
    store: Store, dataset: str, seeds: int, rungs: Rungs, scheduler: Any
) -> Callable[[dict[str, Any]], None]:
    """The function that Tune calls with each proposal.

    It reports at each rung and at the end: number, epoch, epochs (in all), the means over seeds of
    macro_f1 and cross_recall, part and training (see `Report`), compute (seconds of all stages
    so far, as if nothing were shared), computed (those of them that were made for this trial),
    reused_stages, computed_stages, stages (their keys), seconds (of waiting). A trial that cannot
    finish reports the state `failed` with its reason; `broken` is what was no fault of its recipe.

    Parameters
    ----------
    dataset : digest of the data set
    scheduler : handle of a `SchedulerActor`
    """

    def drive(proposal: dict[str, Any]) -> None:
        began = time.monotonic()
        recipe = from_json(Recipe, json.loads(proposal["recipe"]))
        runs = [pipeline.classifier(recipe, dataset, seed) for seed in range(seeds)]
        name = tune.get_context().get_trial_id()

        def ask(level: Sequence[Stage]) -> list[str]:
            try:
                computed: list[str] = ray.get(scheduler.want.remote(level, name))
            except ray.exceptions.RayError as failure:
                raise own_error(failure) from None
            return computed

        trial = Progress(store, ask)
        about = {"number": proposal["number"], "epochs": recipe.schedule.epochs}
        for level in stops(list(zip(*runs, strict=True)), rungs):
            try:
                reached = trial.reach(level)
            except Exception as failure:
                if not is_own(failure):
                    tune.report({"epoch": 0, "broken": str(failure)} | about)
                    return
                reached = {"state": "failed", "reason": reason(failure)}
            waited = {"seconds": time.monotonic() - began}
            tune.report({"epoch": 0} | about | trial.spent() | reached | waited)
            if "epoch" not in reached:
                return

    return drive


def is_own(failure: Exception) -> bool:
    """Whether it is the recipe that fails, and would fail again, rather than a machine."""
    if isinstance(failure, (Diverged, TooLarge)):
        return True
    elsewhere = (OSError, ImportError, StorageError, StageFailed, LeakError)
    return not isinstance(failure, elsewhere)


def reason(failure: Exception) -> str:
    """A sentence, of an exception that is not meant to be read, too."""
    if isinstance(failure, (StageFailed, InputError)):
        return str(failure)
    said = " ".join(str(failure).split())
    return f"A stage raised {type(failure).__name__}{': ' if said else ''}{said}"


def stops(levels: Sequence[Level], rungs: Rungs) -> Iterator[Level]:
    """The levels at whose end there is something to decide: the first at each rung, and the last.

    What lies between them is computed without asking.
    """
    passed = -1
    for level in levels:
        config = level[0].config
        rung = rungs.rung(config.first_epoch + config.epochs)
        if rung > passed or level is levels[-1]:
            passed = rung
            yield level


class Progress:
    """What one trial has come to, and spent.

    Parameters
    ----------
    ask : brings stages about, and gives the keys of what was computed for that
    """

    def __init__(self, store: Store, ask: Callable[[Sequence[Stage]], Iterable[str]]) -> None:
        self._store, self._ask = store, ask
        self._needed: dict[str, float] = {}
        self._computed: set[str] = set()

    def reach(self, level: Level) -> dict[str, Any]:
        """Have the same segment of every seed computed, and look at it."""
        self._bring_about(level)
        last = [self._metrics(stage) for stage in level]
        config = level[0].config
        recalls = [metrics["validation_cross_recall"] for metrics in last]
        macro_f1 = fmean(metrics["validation_macro_f1"] for metrics in last)
        if not math.isfinite(macro_f1):
            raise Diverged(f"Validation macro-F1 was {macro_f1} after epoch {last[0]['epoch']}.")
        return {
            "epoch": last[0]["epoch"],
            "macro_f1": macro_f1,
            "cross_recall": None if None in recalls else fmean(recalls),
            "part": config.phase + ("-decay" if config.rate.stop < config.rate.start else ""),
            "training": " ".join(stage.key for stage in level),
        }

    def spent(self) -> dict[str, Any]:
        """Seconds and stages so far."""
        return {
            "compute": sum(self._needed.values()),
            "computed": sum(self._needed.get(key, 0.0) for key in self._computed),
            "reused_stages": len(self._needed.keys() - self._computed),
            "computed_stages": len(self._computed),
            "stages": " ".join(self._needed),
        }

    def _bring_about(self, level: Sequence[Stage]) -> None:
        try:
            self._computed.update(self._ask(level))
        finally:  # also what was made before something failed
            for needed in {s.key: s for stage in level for s in stage.lineage()}.values():
                manifest = self._store.manifest(needed.key)
                if manifest is not None:  # else it failed, or was pruned
                    self._needed[needed.key] = manifest.get("seconds", 0.0)

    def _metrics(self, stage: Stage) -> EpochMetrics:
        metrics = last_metrics(self._store, stage)
        if metrics is None:  # damaged, and set aside: once more
            self._bring_about([stage])
            metrics = last_metrics(self._store, stage)
        if metrics is None:
            raise StorageError(f"{self._store.place} loses what is written there: check the disk.")
        return metrics


def last_metrics(store: Store, stage: Stage) -> EpochMetrics | None:
    """Of a segment's last epoch; None where the store does not have it."""
    content = store.read(stage.key, METRICS)
    if content is None:
        return None
    metrics: EpochMetrics = json.loads(content.splitlines()[-1])
    return metrics
