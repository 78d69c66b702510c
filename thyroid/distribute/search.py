"""The search: Ray Tune runs trials, Optuna proposes them, ASHA stops them at segment boundaries."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import ray
from optuna.trial import TrialState
from ray import tune

from thyroid import pipeline, progress
from thyroid.data.dataset import Dataset
from thyroid.data.splits import LeakError
from thyroid.distribute import tasks
from thyroid.distribute.study import (
    MOST_EPOCHS,
    OBJECTIVE,
    Rungs,
    StudySearch,
    finished,
    open_study,
    replay,
)
from thyroid.distribute.trials import write_trials
from thyroid.errors import InputError, StageFailed, StorageError
from thyroid.execute import Datasets
from thyroid.files import cannot_write
from thyroid.recipe import Recipe, for_data, from_json, to_json
from thyroid.space import Space
from thyroid.store import Store


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How long to search, and how trials are stopped early."""

    trials: int = 16
    """Trials in all, those of earlier runs of the same command included."""
    seeds: int = 1
    """Trainings per trial, whose mean is compared."""
    seed: int = 0
    """Of the sampler."""
    concurrent: int | None = None
    """Trials at once; None: as many as there are processors or GPUs for."""
    time_budget_s: float | None = None
    """Seconds after which no further trial starts and running ones stop."""
    grace_epochs: int = 8
    """ASHA stops no trial before this epoch."""
    reduction_factor: float = 3.0
    """ASHA lets one in so many trials pass each rung."""
    gpus_per_worker: float = 0.0
    """Share of a GPU that a stage of one worker takes."""

    def __post_init__(self) -> None:
        bounds = {
            "trials": (1, 10**6),
            "seeds": (1, 1000),
            "grace_epochs": (1, MOST_EPOCHS),
            "gpus_per_worker": (0, 1),
        }
        for name, (least, most) in bounds.items():
            if not least <= getattr(self, name) <= most:
                option = f"--{name.replace('_', '-')}"
                raise InputError(
                    f"{option} is {getattr(self, name)} but must be from {least} to {most}."
                )


def best_recipe(
    run: Path,
    dataset: Dataset,
    base: Recipe,
    space: Space,
    config: SearchConfig,
    store: Store,
    datasets: Datasets,
) -> Recipe:
    """Search until `config.trials` trials have ended; the best recipe.

    Trials see training and validation data only. An interrupted search goes on where it was:
    finished trials are read from the journal, others find their stages in the store.

    Parameters
    ----------
    run : folder of study.journal and trials.csv
    base : resolved recipe that `space` starts from
    datasets : where the data set, and a weights file that the recipe names, lie

    Raises
    ------
    InputError
        When the space proposes what cannot be, or the folder cannot be written.
    """
    with cannot_write(run):
        run.mkdir(parents=True, exist_ok=True)
        study = open_study(run / "study.journal")
    left = config.trials - len(finished(study))
    if left > 0:
        _tune(run, dataset, base, space, config, store, datasets, study, left)
    write_trials(run, study)
    complete = [t for t in finished(study) if t.state is TrialState.COMPLETE]
    if not complete:
        reasons = [t.user_attrs.get("reason", "") for t in finished(study)]
        raise InputError(
            f"No trial of the search was completed; the first one: {(reasons or ['none ran'])[0]}"
        )
    best = max(complete, key=lambda t: t.value if t.value is not None else -math.inf)
    return from_json(Recipe, best.user_attrs["recipe"])


def _tune(
    run: Path,
    dataset: Dataset,
    base: Recipe,
    space: Space,
    config: SearchConfig,
    store: Store,
    datasets: Datasets,
    study: optuna.Study,
    left: int,
) -> None:
    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        try:
            proposed = space(trial, base)
            if not isinstance(proposed, Recipe):
                raise InputError(f"it returned {proposed!r} and not a Recipe.")
            crosses = bool(dataset.is_cross.any())
            fitting = for_data(proposed, dataset.info.kind, crosses=crosses)
            return {"recipe": to_json(fitting)}
        except Exception as wrong:
            raise InputError(
                f"The search space failed to propose trial {trial.number}: "
                f"{str(wrong).rstrip('.')}. Correct the space and choose another run folder."
            ) from wrong

    # The journal and the store hold all that matters: nothing of Tune's own needs to be kept.
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    rungs = Rungs(grace_epochs=config.grace_epochs, reduction_factor=config.reduction_factor)
    replay(study, rungs)
    scratch = run / "tune"
    drive = _driver(store, dataset.digest, datasets, config)
    with progress.bar("search", "trials") as advance:
        watcher = _Watcher(run, study, config.trials, advance)
        tuner = tune.Tuner(
            # A driver waits; what it starts computes. Tune refuses an empty request, so: 1 MB.
            tune.with_resources(drive, {"cpu": 0, "memory": 1e6}),
            tune_config=tune.TuneConfig(
                search_alg=StudySearch(suggest, study, config.seed, rungs),
                scheduler=rungs,
                num_samples=left,
                max_concurrent_trials=config.concurrent or _concurrent(base, config),
                time_budget_s=config.time_budget_s,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(scratch.absolute()),
                callbacks=[watcher],
                failure_config=tune.FailureConfig(fail_fast=True),
                verbose=0,
            ),
        )
        try:
            errors = tuner.fit().errors
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    for error in errors:
        cause = getattr(error, "cause", error)
        raise (
            cause
            if isinstance(cause, InputError)
            else StageFailed(f"The search stopped: {cause} The same command goes on.")
        )


def _concurrent(base: Recipe, config: SearchConfig) -> int:
    """As many trials as keep every processor, or every GPU, busy."""
    execution = base.execution
    if execution.device == "cuda":
        share = config.gpus_per_worker or 1.0
        capacity: float = ray.cluster_resources().get("GPU", 1) / (share * execution.workers)
    else:
        capacity = ray.cluster_resources()["CPU"] / (execution.threads * execution.workers)
    return max(1, math.ceil(capacity / config.seeds))


def _driver(
    store: Store, digest: str, datasets: Datasets, config: SearchConfig
) -> Callable[[dict[str, Any]], None]:
    """The function that Tune runs for each trial: starts stages, waits, reports."""

    def drive(proposal: dict[str, Any]) -> None:
        began = time.monotonic()
        recipe = from_json(Recipe, proposal["recipe"])
        result: dict[str, Any] = {
            "number": proposal["number"],
            "epoch": 0,
            "epochs": recipe.schedule.epochs,
            "reused_stages": 0,
            "computed_stages": 0,
        }
        runs = [pipeline.classifier(recipe, digest, s) for s in range(config.seeds)]
        own = {segment.key for segments in runs for segment in segments}  # others: judges
        for level in tasks.levels([segments[-1] for segments in runs]):
            try:
                # All seeds' segments at once; then wait for each
                started = [tasks.start(s, store, datasets, config.gpus_per_worker) for s in level]
                metrics = [list(tasks.results(stage)) for stage in started]
            except (OSError, StorageError, LeakError):
                raise  # no fault of this recipe: the search stops, and the trial stays open
            except Exception as failure:
                # Told as of epoch 0, where ASHA has no rung that a missing value could spoil
                failed = {OBJECTIVE: math.nan, "epoch": 0, "reason": f"{failure}"}
                tune.report(result | failed | {"seconds": time.monotonic() - began})
                return
            reused = sum(all(m["reused"] for m in of_stage) for of_stage in metrics)
            result["reused_stages"] += reused
            result["computed_stages"] += len(level) - reused
            result["seconds"] = time.monotonic() - began
            last = [m[-1] for stage, m in zip(level, metrics, strict=True) if stage.key in own]
            scores = [m["validation_macro_f1"] for m in last]
            if scores:
                result |= {OBJECTIVE: sum(scores) / len(scores), "epoch": last[0]["epoch"]}
                tune.report(result)

    return drive


class _Watcher(tune.Callback):  # type: ignore[misc]  # ray ships no types
    """Tells of every trial that ends: the person at the terminal, and trials.csv."""

    def __init__(
        self, run: Path, study: optuna.Study, total: int, advance: progress.Advance
    ) -> None:
        self._run, self._study, self._total, self._advance = run, study, total, advance
        self._done = len(finished(study))
        values = [t.value for t in finished(study) if t.value is not None]
        self._best = max(values, default=-math.inf)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        result = trial.last_result
        self._done += 1
        value = result.get(OBJECTIVE, math.nan)
        if not math.isfinite(value):
            outcome = f"failed: {result.get('reason', 'no result')}"
        elif result["epoch"] < result["epochs"]:
            outcome = (
                f"stopped at epoch {result['epoch']} of {result['epochs']}, macro-F1 {value:.3f}"
            )
        else:
            self._best = max(self._best, value)
            outcome = f"macro-F1 {value:.3f}"
        best = f"best {self._best:.3f}" if math.isfinite(self._best) else "none complete yet"
        progress.say(
            f"trial {result.get('number', '?')}: {outcome} ({best}, {self._done}/{self._total})"
        )
        write_trials(self._run, self._study)
        self._advance(self._done, self._total)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._done += 1
        progress.say(f"a trial's process ended with an error ({self._done}/{self._total})")
        self._advance(self._done, self._total)
