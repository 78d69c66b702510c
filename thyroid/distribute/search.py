"""The search: Ray Tune runs trials, Optuna proposes them, ASHA stops them at segment boundaries."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import ray
from optuna.trial import TrialState
from ray import tune

from thyroid import progress
from thyroid.data.dataset import Dataset
from thyroid.distribute.flights import Desk
from thyroid.distribute.rungs import Ladder, Rungs
from thyroid.distribute.sketch import by_tpe
from thyroid.distribute.study import (
    Proposal,
    StudySearch,
    finished,
    open_study,
    outcome,
    reports,
)
from thyroid.distribute.trial import driver
from thyroid.distribute.trials import write_trials
from thyroid.errors import InputError, StageFailed, StorageError
from thyroid.execute import Datasets
from thyroid.files import cannot_write
from thyroid.recipe import Recipe, for_data, from_json, to_json
from thyroid.space import Space
from thyroid.store import Store

RESTARTS = 3
"""Times that a trial whose driver died is started again."""

WRITE_EVERY_S = 5.0
"""Between two writings of trials.csv, which grows with the trials."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How long to search, and how trials are stopped early."""

    trials: int = 16
    """Trials in all, those of earlier runs of the same command included."""
    seeds: int = 1
    """Trainings per trial, whose mean is compared."""
    seed: int = 0
    """Of the sampler."""
    objectives: tuple[str, ...] = ("macro_f1",)
    """What is optimised; trials are stopped early, and the best one chosen, by the first."""
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
            "grace_epochs": (1, 10**6),
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
        study = open_study(run / "study.journal", config.objectives)
    left = config.trials - len(finished(study))
    if left > 0:
        _tune(run, dataset, base, space, config, store, datasets, study, left)
    write_trials(run, study)
    complete = [t for t in finished(study) if t.state is TrialState.COMPLETE]
    if not complete:
        reasons = [outcome(t).get("reason", "") for t in finished(study)]
        raise InputError(
            f"No trial of the search was completed; the first one: {(reasons or ['none ran'])[0]}"
        )
    best = max(complete, key=lambda t: t.values[0])
    return from_json(Recipe, json.loads(best.user_attrs["recipe"]))


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
    def propose(number: int) -> Proposal:
        sketch = by_tpe(study, number, config.seed)
        try:
            proposed = space(sketch, base)
            if not isinstance(proposed, Recipe):
                raise InputError(f"it returned {proposed!r} and not a Recipe.")
            crosses = bool(dataset.is_cross.any())
            fitting = for_data(proposed, dataset.info.kind, crosses=crosses)
        except Exception as wrong:
            raise InputError(
                f"The search space failed to propose trial {number}: "
                f"{str(wrong).rstrip('.')}. Correct the space and choose another run folder."
            ) from wrong
        recipe = json.dumps(to_json(fitting))
        return Proposal(params=sketch.params, distributions=sketch.distributions, recipe=recipe)

    ladder = Ladder(grace_epochs=config.grace_epochs, factor=config.reduction_factor)
    rungs = Rungs(ladder)
    for trial in finished(study):
        rungs.replay(f"finished-{trial.number}", reports(trial))
    with contextlib.ExitStack() as stack:
        advance = stack.enter_context(progress.bar("search", "trials"))
        desk = stack.enter_context(_desk(store, datasets, config.gpus_per_worker))
        scratch = stack.enter_context(_scratch(run))
        watcher = _Watcher(run, study, config.trials, advance, desk)
        tuner = tune.Tuner(
            # A driver waits; what it asks for computes. Tune refuses an empty request, so: 1 MB.
            tune.with_resources(
                driver(store, dataset.digest, config.seeds, ladder, desk), {"cpu": 0, "memory": 1e6}
            ),
            tune_config=tune.TuneConfig(
                search_alg=StudySearch(propose, study, config.objectives, rungs),
                scheduler=rungs,
                num_samples=left,
                max_concurrent_trials=config.concurrent or _concurrent(base, config),
                time_budget_s=config.time_budget_s,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(scratch),
                callbacks=[watcher],
                stop=watcher.stop,
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                verbose=0,
            ),
        )
        errors = tuner.fit().errors
    if watcher.broken is not None:
        raise StorageError(watcher.broken)
    for error in errors:
        cause = getattr(error, "cause", error)
        raise (
            cause
            if isinstance(cause, InputError)
            else StageFailed(f"The search stopped: {cause} The same command goes on.")
        )


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


@contextlib.contextmanager
def _desk(store: Store, datasets: Datasets, gpus_per_worker: float) -> Iterator[Any]:
    """The flights of this search; what still flies at the end is cancelled."""
    desk: Any = Desk.remote(store, datasets, gpus_per_worker)  # type: ignore[attr-defined]
    try:
        yield desk
    finally:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(desk.close.remote(), timeout=10)
        ray.kill(desk)


def _concurrent(base: Recipe, config: SearchConfig) -> int:
    """As many trials as keep every processor, or every GPU, busy."""
    execution = base.execution
    if execution.device == "cuda":
        share = config.gpus_per_worker or 1.0
        capacity: float = ray.cluster_resources().get("GPU", 1) / (share * execution.workers)
    else:
        capacity = ray.cluster_resources()["CPU"] / (execution.threads * execution.workers)
    return max(1, math.ceil(capacity / config.seeds))


class _Watcher(tune.Callback):  # type: ignore[misc]  # ray ships no types
    """Tells of every trial that ends: the person at the terminal, trials.csv, and the desk."""

    def __init__(
        self, run: Path, study: optuna.Study, total: int, advance: progress.Advance, desk: Any
    ) -> None:
        self._run, self._study, self._total, self._advance = run, study, total, advance
        self._desk = desk
        ended = finished(study)
        self._done = len(ended)
        values = [t.values[0] for t in ended if t.state is TrialState.COMPLETE]
        self._best = max(values, default=-math.inf)
        self._written = -math.inf
        self.broken: str | None = None
        """Why no trial can go on."""

    def stop(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tune's question after each report: whether the trial shall end here."""
        self.broken = self.broken or result.get("broken")
        return self.broken is not None

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._desk.leave.remote(trial.trial_id)
        result = trial.last_result
        if self.broken or not result:
            return
        self._done += 1
        if result.get("state") == "failed":
            outcome = f"failed: {result['reason']}"
        elif result["epoch"] < result["epochs"]:
            outcome = (
                f"stopped at epoch {result['epoch']} of {result['epochs']}, "
                f"macro-F1 {result['macro_f1']:.3f}"
            )
        else:
            self._best = max(self._best, result["macro_f1"])
            outcome = f"macro-F1 {result['macro_f1']:.3f}"
        best = f"best {self._best:.3f}" if math.isfinite(self._best) else "none complete yet"
        progress.say(f"trial {result['number']}: {outcome} ({best}, {self._done}/{self._total})")
        if time.monotonic() - self._written > WRITE_EVERY_S:
            self._written = time.monotonic()
            write_trials(self._run, self._study)
        self._advance(self._done, self._total)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._desk.leave.remote(trial.trial_id)
        self._done += 1
        progress.say(f"a trial's process ended with an error ({self._done}/{self._total})")
        self._advance(self._done, self._total)
