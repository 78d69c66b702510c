"""Which searched parameters mattered: functional ANOVA over the complete trials."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from reports.sections.search_space import evenly, scale_of

ENOUGH = 10
"""Complete trials from which on importance is told."""
RESAMPLES = 8
"""Bootstrap resamples of trials, which tell how far importance may be off."""
MOST = 300
"""Trials that are used, spread evenly over the search; more make it slow, and hardly another."""
TREES, DEPTH = 16, 7
"""Of the forests that variance is told apart in: deeper ones learn single trials by heart."""
Columns = Mapping[str, Sequence[Any]]
"""Of each parameter a number of every trial, or a word."""


def importance_info(trials: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Importance of each parameter that all complete trials have (Hutter et al. 2014).

    A random forest F is fitted to the trials. Of its variance over the searched box, each parameter
    alone explains Var_x(E[F | x]) / Var(F); what is left is due to parameters together. A
    parameter whose axis is logarithmic (`scale_of`) is taken by its logarithm.

    Parameters
    ----------
    trials : complete ones, by number, with `macro_f1` and `parameters`
    names : of all searched parameters

    Returns
    -------
    dict
        `state`: few (trials) | flat (all reached the same) | none_shared (no parameter that all
        have varies) | done. `rows`: most
        important first, `name`, `value` (share of the variance) and `low`, `high`, the least and
        the most of `resamples`; `together`: the share that no parameter explains alone.
        `predicted`: share of the trials' variance that a forest predicts of trials it has not seen
        (out of bag; 0 or less: nothing). `left_out`: parameters that only some trials have.
    """
    used = evenly(trials, MOST)
    shared = [n for n in names if all(n in trial["parameters"] for trial in used)]
    varied = [n for n in shared if len({str(t["parameters"][n]) for t in used}) > 1]
    info: dict[str, Any] = {"trials": len(used), "enough": ENOUGH, "resamples": RESAMPLES}
    info |= {"rows": [], "left_out": [n for n in names if n not in shared]}
    if len(used) < ENOUGH:
        return info | {"state": "few"}
    if len({trial["macro_f1"] for trial in used}) < 2:
        return info | {"state": "flat"}
    if not varied:
        return info | {"state": "none_shared"}
    columns = {name: _column([t["parameters"][name] for t in used]) for name in varied}
    values = np.array([trial["macro_f1"] for trial in used], float)
    rng = np.random.default_rng(0)
    own = _shares(columns, values, np.arange(len(used)))
    drawn = [
        _shares(columns, values, rng.integers(len(used), size=len(used))) for _ in range(RESAMPLES)
    ]
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "value": own[name],
            "low": min(found[name] for found in (own, *drawn)),
            "high": max(found[name] for found in (own, *drawn)),
        }
        for name in varied
    ]
    return info | {
        "state": "done",
        "rows": sorted(rows, key=lambda r: (-r["value"], r["name"])),
        "together": max(0.0, 1 - sum(own.values())),
        "predicted": _predicted(columns, values),
    }


def _column(values: Sequence[Any]) -> list[Any]:
    """A parameter as the forest sees it."""
    scale = scale_of(values)
    if scale == "word":
        return [str(v) for v in values]
    return [math.log10(v) if scale == "log" else float(v) for v in values]


def _shares(columns: Columns, values: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """What each parameter alone explains in these trials; 0 of all where they do not differ."""
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
    """As the table of trials knows no space: the range of numbers, or the choices of words."""
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
    """Optuna tells of every new study; this one is none of the reader's."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
