"""Importance of the searched parameters: functional ANOVA over the complete trials."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.sections.search_space import evenly, scale_of
from thyroid.run_files.trials_csv import Trial

ENOUGH = 10
"""Minimum number of complete trials for a statement."""
RESAMPLES = 8
"""Number of bootstrap resamples of trials that give the range of an importance."""
MOST = 300
"""Maximum number of trials that are used, spread evenly over the search; more would take longer and
change little."""
TREES, DEPTH = 16, 7
"""Number of trees in a forest, and their depth; deeper ones overfit single trials."""
Columns = Mapping[str, Sequence[Any]]
"""Parameter -> its values, numbers or words, in all trials."""


@dataclass(frozen=True, kw_only=True)
class ParameterImportance:
    """Share of the variance that one parameter explains alone."""

    name: str
    value: float
    low: float
    """Smallest value among the resamples."""
    high: float
    """Largest value among the resamples."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Importance of the parameters that all complete trials have."""

    state: str
    """few (too few trials) | flat (all trials have the same value) | none_shared (no parameter that
    all trials have varies) | done"""
    trials: int
    """Number of trials used."""
    enough: int
    """Minimum number of trials for a statement."""
    resamples: int
    rows: list[ParameterImportance]
    """The most important first."""
    left_out: list[str]
    """Parameters that only some trials have."""
    together: float
    """Share of the variance that no single parameter explains."""
    predicted: float
    """Share of the variance that a forest predicts for trials that it has not seen (out of bag)."""


def importance_info(trials: Sequence[Trial], names: Sequence[str]) -> Importance:
    """Importance of each parameter (Hutter et al. 2014).

    A random forest F is fitted to the trials. One parameter x alone explains the share Var_x(E[F |
    x]) / Var(F) of the forest's variance over the searched box; the rest is due to combinations of
    parameters. If the axis of a parameter is logarithmic (`scale_of`), its logarithm is used.

    Parameters
    ----------
    trials : complete ones, by number
    names : of all searched parameters
    """
    used = evenly(trials, MOST)
    shared = [n for n in names if all(n in trial.parameters for trial in used)]
    varied = [n for n in shared if len({str(t.parameters[n]) for t in used}) > 1]
    values = np.array([trial.macro_f1 for trial in used], float)
    state = "done"
    if len(used) < ENOUGH:
        state = "few"
    elif len(set(values)) < 2:
        state = "flat"
    elif not varied:
        state = "none_shared"
    rows, together, predicted = [], 0.0, 0.0
    if state == "done":
        columns = {name: _column([t.parameters[name] for t in used]) for name in varied}
        rng = np.random.default_rng(0)
        own = _shares(columns, values, np.arange(len(used)))
        resampled = [rng.integers(len(used), size=len(used)) for _ in range(RESAMPLES)]
        drawn = [own, *(_shares(columns, values, chosen) for chosen in resampled)]
        rows = [
            ParameterImportance(
                name=name,
                value=own[name],
                low=min(found[name] for found in drawn),
                high=max(found[name] for found in drawn),
            )
            for name in varied
        ]
        together = max(0.0, 1 - sum(own.values()))
        predicted = _predicted(columns, values)
    return Importance(
        state=state,
        trials=len(used),
        enough=ENOUGH,
        resamples=RESAMPLES,
        rows=sorted(rows, key=lambda r: (-r.value, r.name)),
        left_out=[n for n in names if n not in shared],
        together=together,
        predicted=predicted,
    )


def _column(values: Sequence[Any]) -> list[Any]:
    """A parameter's values as features of the forest."""
    scale = scale_of(values)
    if scale == "word":
        return [str(v) for v in values]
    return [math.log10(v) if scale == "log" else float(v) for v in values]


def _shares(columns: Columns, values: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Share that each parameter alone explains in these trials; 0 if their values are equal."""
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    if len(set(values[rows])) < 2:
        return dict.fromkeys(columns, 0.0)
    box = {name: _distribution(column) for name, column in columns.items()}
    with _quiet():
        study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: column[i] for name, column in columns.items()},
                distributions=box,
                value=float(values[i]),
            )
            for i in rows
        ]
    )
    evaluator = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=0)
    try:
        found = evaluator.evaluate(study, params=list(columns))
    except RuntimeError:  # all trees are constant
        return dict.fromkeys(columns, 0.0)
    return {name: round(float(found[name]), 12) for name in columns}


def _distribution(column: Sequence[Any]) -> Any:
    """The range of the numbers, or the set of words, as the space is not in trials.csv."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(column[0], str):
        return CategoricalDistribution(sorted(set(column)))
    return FloatDistribution(min(column), max(column))


def _predicted(columns: Columns, values: np.ndarray) -> float:
    """R^2 out of bag: a trial is predicted by the trees that were not fitted to it."""
    from sklearn.ensemble import RandomForestRegressor

    features = []
    for column in columns.values():
        if isinstance(column[0], str):
            features += [[float(v == word) for v in column] for word in sorted(set(column))]
        else:
            features.append([float(v) for v in column])
    forest = RandomForestRegressor(n_estimators=100, oob_score=True, random_state=0)
    return round(float(forest.fit(np.transpose(features), values).oob_score_), 12)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from logging that a study was created."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
