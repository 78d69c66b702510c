"""The search: Ray Tune runs trials, Optuna proposes them, ASHA stops them at segment boundaries."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import ray
from optuna.trial import TrialState
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from thyroid import pipeline, progress
from thyroid.data.dataset import Dataset
from thyroid.distribute import tasks
from thyroid.distribute.study import OBJECTIVE, StudySearch, close, finished, open_study, replay
from thyroid.errors import InputError
from thyroid.recipe import Recipe, from_json, to_json
from thyroid.store import Store, writable

Space = Callable[[optuna.Trial, Recipe], Recipe]


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
        for name, least in (("trials", 1), ("seeds", 1), ("grace_epochs", 1)):
            if getattr(self, name) < least:
                raise InputError(f"--{name} is {getattr(self, name)} but must be at least {least}.")


def load_space(name: str) -> Space:
    """The function `space` of `tune_spaces/NAME.py` or of a file.

    Raises
    ------
    InputError
        When there is none, or it cannot be imported.
    """
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"The search space {name} is no file: give NAME or FILE.py.")
    else:
        import tune_spaces

        folder = Path(str(tune_spaces.__file__)).parent
        path = folder / f"{name}.py"
        if not path.is_file():
            known = sorted(p.stem for p in folder.glob("[a-z]*.py"))
            raise InputError(
                f"There is no search space '{name}': choose {', '.join(known)} or FILE.py."
            )
    spec = importlib.util.spec_from_file_location(f"thyroid_space_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        space: Space = module.space
    except Exception as wrong:
        raise InputError(
            f"The search space {path} cannot be used ({type(wrong).__name__}: {wrong}): "
            "it must define space(trial, recipe)."
        ) from wrong
    return space


def search(
    run: Path, dataset: Dataset, base: Recipe, space: Space, config: SearchConfig, store: Store
) -> Recipe:
    """Search until `config.trials` trials have ended; the best recipe.

    Trials see training and validation data only. An interrupted search goes on where it was:
    finished trials are read from the journal, others find their stages in the store.

    Parameters
    ----------
    run : folder of study.journal and trials.csv
    base : resolved recipe that `space` starts from

    Raises
    ------
    InputError
        When the space proposes what cannot be, or the folder cannot be written.
    """
    with writable(run):
        run.mkdir(parents=True, exist_ok=True)
        study = open_study(run / "study.journal")
    left = config.trials - len(finished(study))
    if left > 0:
        _tune(run, dataset, base, space, config, store, study, left)
    write_trials(run, study)
    complete = [t for t in finished(study) if t.state is TrialState.COMPLETE]
    if not complete:
        reasons = [t.user_attrs.get("reason", "") for t in finished(study)]
        raise InputError(
            f"No trial of the search was completed; the first one: {(reasons or ['none ran'])[0]}"
        )
    best = max(complete, key=lambda t: t.value if t.value is not None else -math.inf)
    return from_json(Recipe, best.user_attrs["recipe"])


def write_trials(run: Path, study: optuna.Study) -> None:
    """Write trials.csv: a row per finished trial, a column per parameter."""
    rows = []
    for trial in finished(study):
        value = trial.value
        if value is None and trial.intermediate_values:
            value = trial.intermediate_values[max(trial.intermediate_values)]
        state = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
        about = trial.user_attrs
        rows.append(
            {
                "number": trial.number,
                "state": state.get(trial.state, "failed"),
                "macro_f1": value,
                "epochs": max(trial.intermediate_values, default=0),
                "seconds": about.get("seconds"),
                "reused_stages": about.get("reused_stages"),
                "computed_stages": about.get("computed_stages"),
                "reason": about.get("reason", ""),
                **trial.params,
            }
        )
    with writable(run):
        unfinished = run / "trials.csv.new"
        pd.DataFrame(rows).to_csv(unfinished, index=False, lineterminator="\n")
        unfinished.replace(run / "trials.csv")


def _tune(
    run: Path,
    dataset: Dataset,
    base: Recipe,
    space: Space,
    config: SearchConfig,
    store: Store,
    study: optuna.Study,
    left: int,
) -> None:
    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        try:
            return {"recipe": to_json(space(trial, base))}
        except Exception as wrong:
            raise InputError(
                f"The search space failed to propose trial {trial.number}: {wrong} "
                "Correct the space and run the same command again."
            ) from wrong

    # The journal and the store hold all that matters: nothing of Tune's own needs to be kept.
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    scheduler = ASHAScheduler(
        time_attr="epoch",
        metric=OBJECTIVE,
        mode="max",
        max_t=10**6,  # trials end by themselves
        grace_period=config.grace_epochs,
        reduction_factor=config.reduction_factor,
    )
    replay(study, scheduler)
    scratch = run / "tune"
    drive = _driver(store, dataset.folder, dataset.digest, config)
    with progress.bar("search", "trials") as advance:
        watcher = _Watcher(run, study, config.trials, advance)
        tuner = tune.Tuner(
            # A driver waits; what it starts computes. Tune refuses an empty request, so: 1 MB.
            tune.with_resources(drive, {"cpu": 0, "memory": 1e6}),
            tune_config=tune.TuneConfig(
                search_alg=StudySearch(suggest, study, config.seed),
                scheduler=scheduler,
                num_samples=left,
                max_concurrent_trials=config.concurrent or _concurrent(base, config),
                time_budget_s=config.time_budget_s,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(scratch.absolute()),
                callbacks=[watcher],
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    close(study, "stopped by the time budget")


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
    store: Store, dataset: Path, digest: str, config: SearchConfig
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
        runs = [pipeline.classifier(recipe, digest, s)[-1] for s in range(config.seeds)]
        for level in tasks.levels(runs):
            try:
                # All seeds' segments at once; then wait for each
                started = [tasks.start(s, store, dataset, config.gpus_per_worker) for s in level]
                last = [list(tasks.results(metrics))[-1] for metrics in started]
            except Exception as failure:
                # Told as of epoch 0, where ASHA has no rung that a missing value could spoil
                failed = {OBJECTIVE: math.nan, "epoch": 0, "reason": f"{failure}"}
                tune.report(result | failed | {"seconds": time.monotonic() - began})
                return
            reused = sum(metrics["reused"] for metrics in last)
            result["reused_stages"] += reused
            result["computed_stages"] += len(last) - reused
            result["seconds"] = time.monotonic() - began
            if level[0].kind == "classifier":
                scores = [metrics["validation_macro_f1"] for metrics in last]
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
