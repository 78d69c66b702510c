"""A trial before it is one: the space is run on a sketch, which no study knows of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

MEMORY = 64
"""So many of the best, and of the latest, trials are learned from: what a proposal costs then does
not grow with the study."""

Draw = Callable[[str, BaseDistribution], Any]
"""A parameter's value, from its name and distribution."""


class DetachedTrial(FixedTrial):
    """A trial outside of any study, whose parameters are drawn as the space asks for them."""

    def __init__(self, number: int, draw: Draw) -> None:
        super().__init__({}, number)
        self._draw = draw

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self._params:
            self._params[name] = self._draw(name, distribution)
        return super()._suggest(name, distribution)


def tpe_trial(study: optuna.Study, number: int, seed: int) -> DetachedTrial:
    """A sketch whose values are drawn by TPE (Bergstra 2011), each parameter by itself.

    They follow from the seed, the number and the study's other trials alone.
    """
    remembered = _Remembered(study, number)
    itself = create_trial(state=TrialState.RUNNING)
    itself.number = number

    def draw(name: str, distribution: BaseDistribution) -> Any:
        tpe = optuna.samplers.TPESampler(seed=proposal_seed(seed, number, name), multivariate=False)
        return tpe.sample_independent(remembered, itself, name, distribution)  # type: ignore[arg-type]

    return DetachedTrial(number, draw)


class _Remembered:
    """A study of which only some trials are seen."""

    def __init__(self, study: optuna.Study, number: int) -> None:
        self._study = study
        trials = [t for t in study.get_trials(deepcopy=False) if t.number != number]
        running = [t for t in trials if not t.state.is_finished()]
        ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        if len(ended) > 2 * MEMORY:
            best = sorted(ended, key=lambda t: first_value(study, t), reverse=True)[:MEMORY]
            kept = {t.number for t in best} | {t.number for t in ended[-MEMORY:]}
            ended = [t for t in ended if t.number in kept]
        self._trials = sorted(ended + running, key=lambda t: t.number)

    def _get_trials(self, deepcopy: bool, states: Any, use_cache: bool) -> list[FrozenTrial]:
        return [t for t in self._trials if t.state in states]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


def first_value(study: optuna.Study, trial: FrozenTrial) -> float:
    """The first objective of a trial, higher being better; of a pruned one the last value."""
    if trial.values:
        value: float = trial.values[0]
    elif trial.intermediate_values:
        value = trial.intermediate_values[max(trial.intermediate_values)]
    else:
        return -float("inf")
    return value if study.directions[0] is optuna.study.StudyDirection.MAXIMIZE else -value


def proposal_seed(*place: int | str) -> int:
    """A 32-bit seed of a place such as (seed, number, parameter)."""
    digest = hashlib.sha256("/".join(map(str, place)).encode()).digest()
    return int.from_bytes(digest[:4], "big")
