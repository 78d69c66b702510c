"""A stratified design of trials, which covers the whole range of each parameter."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial


class LatinHypercube(BaseSampler):
    """Proposes a Latin hypercube (McKay, Beckman & Conover 1979), one point per trial number.

    The range of each parameter is divided into as many strata as there are trials, in logarithms if
    the space suggests them, and each trial gets the middle of a different stratum. All choices are
    proposed equally often, give or take one. The order of strata depends only on the parameter's
    name, so that the other parameters of a space do not change it.

    Parameters
    ----------
    trials : number of trials, at least 1
    """

    def __init__(self, trials: int) -> None:
        self._trials = trials

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return no parameter, because each is proposed separately."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return no value, because there is no such parameter."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the middle of this trial's stratum."""
        digest = hashlib.sha256(param_name.encode()).digest()
        strata = np.random.default_rng(int.from_bytes(digest, "little")).permutation(self._trials)
        share = (int(strata[trial.number % self._trials]) + 0.5) / self._trials
        return value_at(param_distribution, share)


def value_at(distribution: BaseDistribution, share: float) -> Any:
    """Return the value below which `share` of a distribution lies, 0 <= share < 1."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(share * len(distribution.choices))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    elif step is not None:
        value = low + step * int(share * (round((high - low) / step) + 1))
    else:
        value = low + share * (high - low)
    value = min(max(value, low), high)
    return round(value) if isinstance(distribution, IntDistribution) else value
