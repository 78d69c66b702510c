"""Which searched parameters mattered: functional ANOVA over the complete trials."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

ENOUGH = 10
"""Complete trials from which on importance is told."""
RESAMPLES = 8
"""Bootstrap resamples of trials, which tell how far importance may be off."""
MOST = 300
"""Trials that are used: the latest ones; more make it slow, and hardly another."""


def importance_info(trials: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Importance of each parameter that all complete trials have (Hutter et al. 2014).

    Parameters
    ----------
    trials : complete ones, with `macro_f1` and `parameters`
    names : of all searched parameters

    Returns
    -------
    dict
        `state`: few (trials) | flat (all reached the same, or nothing varies) | done. `rows`: most
        important first, `name`, `value` (share of the explained variance) and `low`, `high`, the
        least and the most of `resamples`. `left_out`: parameters that only some trials have.
    """
    used = list(trials)[-MOST:]
    info: dict[str, Any] = {"trials": len(used), "enough": ENOUGH, "resamples": RESAMPLES}
    shared = [n for n in names if all(n in trial["parameters"] for trial in used)]
    varied = [n for n in shared if len({str(t["parameters"][n]) for t in used}) > 1]
    info |= {"rows": [], "left_out": [n for n in names if n not in shared]}
    if len(used) < ENOUGH:
        return info | {"state": "few"}
    if not varied or len({trial["macro_f1"] for trial in used}) < 2:
        return info | {"state": "flat"}
    own = _importances(used, varied)
    rng = np.random.default_rng(0)
    drawn = [
        _importances([used[i] for i in rng.integers(len(used), size=len(used))], varied)
        for _ in range(RESAMPLES)
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
    return info | {"state": "done", "rows": sorted(rows, key=lambda r: (-r["value"], r["name"]))}


def _importances(trials: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, float]:
    """Of each parameter; 0 of all where these trials show no difference."""
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: _distribution([t["parameters"][name] for t in trials]) for name in names}
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={n: _told(t["parameters"][n], distributions[n]) for n in names},
                distributions=distributions,
                value=t["macro_f1"],
            )
            for t in trials
        ]
    )
    if len({t["macro_f1"] for t in trials}) < 2:
        return dict.fromkeys(names, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = get_param_importances(
            study, evaluator=FanovaImportanceEvaluator(n_trees=32, seed=0), params=list(names)
        )
    return {name: round(float(found.get(name, 0.0)), 12) for name in names}


def _distribution(values: Sequence[Any]) -> Any:
    """As the table of trials knows no space: the range of numbers, or the choices of words."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return FloatDistribution(float(min(values)), float(max(values)))
    return CategoricalDistribution(sorted({str(v) for v in values}))


def _told(value: Any, distribution: Any) -> Any:
    return str(value) if hasattr(distribution, "choices") else float(value)
