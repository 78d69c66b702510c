"""Proposals: the space runs on a trial of a study in memory before the real study has the trial."""

from __future__ import annotations

import hashlib
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

REMEMBERED_TRIALS = 64
"""TPE learns from this many of the best and as many of the latest trials, so that the cost of a
proposal does not grow with the study."""


class _IndependentTPE(BaseSampler):
    """TPE (Bergstra 2011) for each parameter separately, seeded by (seed, trial number, name)."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return no parameter, because no parameters are sampled together."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return no value."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Sample one parameter with its own TPE sampler."""
        tpe = TPESampler(seed=proposal_seed(self._seed, trial.number, param_name))
        return tpe.sample_independent(study, trial, param_name, param_distribution)


def tpe_trial(study: optuna.Study, number: int, seed: int) -> Trial:
    """Return a trial outside the study, whose parameters TPE draws when the space asks for them.

    They depend only on the seed, the number and the study's trials before that number.
    """
    trials = study.get_trials(deepcopy=False)[:number]
    kept = _remembered(study, trials)
    memory = optuna.create_study(directions=study.directions, sampler=_IndependentTPE(seed))
    unseen = create_trial(state=TrialState.FAIL)  # keeps the numbering; TPE skips failed trials
    for before in range(number):
        memory.add_trial(trials[before] if before in kept else unseen)
    return memory.ask()


def _remembered(study: optuna.Study, trials: list[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials that TPE learns from."""
    running = {t.number for t in trials if not t.state.is_finished()}
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    if len(ended) > 2 * REMEMBERED_TRIALS:
        best = sorted(ended, key=lambda t: _first_value(study, t), reverse=True)
        ended = best[:REMEMBERED_TRIALS] + ended[-REMEMBERED_TRIALS:]
    return running | {t.number for t in ended}


def _first_value(study: optuna.Study, trial: FrozenTrial) -> float:
    """Return a trial's first objective (higher is better), or its last report if it was pruned."""
    if trial.values:
        value: float = trial.values[0]
    elif trial.intermediate_values:
        value = trial.intermediate_values[max(trial.intermediate_values)]
    else:
        return -float("inf")
    return value if study.directions[0] is optuna.study.StudyDirection.MAXIMIZE else -value


def proposal_seed(*place: int | str) -> int:
    """Return a 32-bit seed derived from a place such as (seed, number, parameter)."""
    digest = hashlib.sha256("/".join(map(str, place)).encode()).digest()
    return int.from_bytes(digest[:4], "big")
