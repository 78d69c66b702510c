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
"""Least complete trials for a statement."""
RESAMPLES = 8
"""Bootstrap resamples of trials, for the range of an importance."""
MOST = 300
"""Most trials that are used, spread evenly over the search; more take longer and change little."""
TREES, DEPTH = 16, 7
"""Size of the forests; deeper ones overfit single trials."""
Columns = Mapping[str, Sequence[Any]]
"""Parameter -> a number or a word of every trial."""


@dataclass(frozen=True, kw_only=True)
class ParameterImportance:
    """Share of the variance that one parameter explains alone."""

    name: str
    value: float
    low: float
    """Least of the resamples."""
    high: float
    """Most of the resamples."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Importance of the parameters that all complete trials have."""

    state: str
    """few (trials) | flat (all reached the same) | none_shared (no parameter that all have varies)
    | done"""
    trials: int
    """Number of trials used."""
    enough: int
    """Least trials for a statement."""
    resamples: int
    rows: list[ParameterImportance]
    """The most important first."""
    left_out: list[str]
    """Parameters that only some trials have."""
    together: float
    """Share that no parameter explains alone."""
    predicted: float
    """Share of the variance that a forest predicts of trials it has not seen (out of bag)."""


def importance_info(trials: Sequence[Trial], names: Sequence[str]) -> Importance:
    """Importance of each parameter (Hutter et al. 2014).

    A random forest F is fitted to the trials. Of its variance over the searched box, each parameter
    alone explains Var_x(E[F | x]) / Var(F); the rest is due to parameters together. A parameter
    whose axis is logarithmic (`scale_of`) enters by its logarithm.

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
    """Share that each parameter alone explains in these trials; 0 where they do not differ."""
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
    except RuntimeError:  # no tree has any variance
        return dict.fromkeys(columns, 0.0)
    return {name: round(float(found[name]), 12) for name in columns}


def _distribution(column: Sequence[Any]) -> Any:
    """The range of the numbers, or the choices of words: trials.csv does not hold the space."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(column[0], str):
        return CategoricalDistribution(sorted(set(column)))
    return FloatDistribution(min(column), max(column))


def _predicted(columns: Columns, values: np.ndarray) -> float:
    """R^2 out of bag: each trial is predicted by the trees that were not grown on it."""
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
