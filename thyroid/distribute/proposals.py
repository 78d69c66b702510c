"""Proposals that take the price of a trial into account: what has been computed is free.

After EEIPU (arXiv 2411.03731): a proposal's worth is its expected improvement over its new seconds,
among which stages that other trials have computed do not count, and prices count less as the search
goes on. Candidates are drawn by TPE; most of them are relatives of good trials, agree with these in
most parameters, and so share stages with them. No ray, no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.study._multi_objective import _fast_non_domination_rank
from optuna.trial import BaseTrial, FrozenTrial, TrialState
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.stats import norm

from thyroid.distribute.sketch import MEMORY, Sketch, seed_of

T = TypeVar("T")
Numbers = npt.NDArray[np.float64]

CANDIDATES = 24
"""Sketched per round."""

ROUNDS = 8
"""Of candidates, until one of them is new."""

STARTUP = 10
"""Trials before which TPE draws from its prior, as Optuna's does."""

PICKS = 24
"""Draws of which TPE takes the most promising, as Optuna's does."""

PARENTS = 8
"""Best trials that relatives are made of."""

FLOOR = 0.25
"""Every trial is charged this part of the dearest candidate's price on top of its own, be it free:
a trial is one of a limited number."""

SCALES, NOISES = (1.0, 3.0, 10.0), (0.1, 0.5, 2.0)
"""Of the surrogate: squared length scales, and variances relative to the signal's."""


def thrifty(
    study: optuna.Study,
    number: int,
    seed: int,
    sketch: Callable[[BaseTrial], T],
    new_seconds: Callable[[T], float],
    *,
    exponent: float = 1.0,
) -> dict[str, Any]:
    """The parameters that trial `number` shall have; nothing is written to the study.

    They follow from the seed, the number, the study's other trials and the prices alone. No
    earlier trial has had them, unless a small space has nothing else to offer.

    Parameters
    ----------
    sketch : the define-by-run space
    new_seconds : the price of what `sketch` returned; infinite where it must not be proposed, such
        as a recipe that another trial had under other parameters
    exponent : of the price: 1 takes improvement per second, 0 improvement alone
    """
    past = _Past(study, number)
    for turn in range(ROUNDS):
        fresh = [
            (trial, new_seconds(made))
            for trial, made in _candidates(past, (seed, number, turn), sketch)
            if not past.knows(trial.params)
        ]
        offers = [(trial, price) for trial, price in fresh if math.isfinite(price)]
        if offers:
            worth = _expected_improvement(past, [trial for trial, _ in offers])
            prices = np.array([price for _, price in offers])
            charged = prices + FLOOR * prices.max() + 1e-9
            best, _ = offers[int(np.argmax(worth / charged**exponent))]
            return best.params
    trial, _ = _candidates(past, (seed, number, ROUNDS), sketch)[0]
    return trial.params


class _Past:
    """The study's other trials: those that ended, the best first, and those that run."""

    def __init__(self, study: optuna.Study, number: int) -> None:
        trials = [t for t in study.get_trials(deepcopy=False) if t.number != number]
        self.study, self.number = study, number
        self.ended = _ranked(trials, study.directions)
        self.running = [t for t in trials if t.state is TrialState.RUNNING]
        self._known = {frozenset(t.params.items()) for t in trials}

    def knows(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial has had these parameters."""
        return frozenset(params.items()) in self._known


def _ranked(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]
) -> list[FrozenTrial]:
    """Trials that ended, the best first: complete ones, then pruned ones, the later the better,
    then failed ones. Of several objectives the first one orders the trials of one Pareto front.
    """
    signs = np.array([-1.0 if d is StudyDirection.MAXIMIZE else 1.0 for d in directions])
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    losses = np.array([t.values for t in complete]).reshape(len(complete), len(signs)) * signs
    order = np.lexsort((losses[:, 0], _fast_non_domination_rank(losses)))

    def fall(trial: FrozenTrial) -> tuple[int, float]:
        step, value = max(trial.intermediate_values.items(), default=(0, 0.0))
        return -step, value * signs[0]

    pruned = sorted((t for t in trials if t.state is TrialState.PRUNED), key=fall)
    failed = [t for t in trials if t.state is TrialState.FAIL]
    return [*(complete[i] for i in order), *pruned, *failed]


# Candidates


def _candidates(
    past: _Past, place: tuple[int, int, int], sketch: Callable[[BaseTrial], T]
) -> list[tuple[Sketch, T]]:
    """A third is drawn by TPE alone. The others are relatives of a good trial: they keep its first
    parameters, and so the first stages, or all but up to three of them.
    """
    rng = np.random.default_rng(seed_of(*place))
    drawn = _Draws(past, place)
    parents = [trial for trial in past.ended[:PARENTS] if trial.params]
    candidates = []
    for index in range(CANDIDATES):
        kept: dict[str, Any] = {}
        if parents and index >= CANDIDATES // 3:
            settings = list(parents[rng.integers(len(parents))].params.items())
            if index % 2:
                kept = dict(settings[: rng.integers(1, len(settings) + 1)])
            else:
                changed = rng.permutation(len(settings))[: rng.integers(1, 4)]
                kept = dict(setting for i, setting in enumerate(settings) if i not in changed)
        trial = Sketch(past.number, _keeping(kept, drawn, index))
        candidates.append((trial, sketch(trial)))
    return candidates


def _keeping(
    kept: Mapping[str, Any], drawn: _Draws, candidate: int
) -> Callable[[str, BaseDistribution], Any]:
    """Values that are kept where they are still offered, and else drawn."""

    def draw(name: str, distribution: BaseDistribution) -> Any:
        if name in kept:
            try:
                if distribution._contains(distribution.to_internal_repr(kept[name])):
                    return kept[name]
            except ValueError:
                pass  # no choice of it
        return drawn.value(name, distribution, candidate)

    return draw


class _Draws:
    """TPE's values (Bergstra 2011), of all candidates at once when the first asks for one: the
    draw from the good trials' density l that has the highest l / g, g being the others'.
    """

    def __init__(self, past: _Past, place: tuple[int, int, int]) -> None:
        sound = [t for t in past.ended if t.state is not TrialState.FAIL]
        count = min(math.ceil(0.1 * len(sound)), 25) if len(sound) >= STARTUP else 0
        good = {t.number for t in sound[:count]}
        others = [t for t in past.ended + past.running if t.number not in good] if good else []
        self._good = sorted(sound[:count], key=lambda t: t.number)
        self._others = sorted(others, key=lambda t: t.number)[-2 * MEMORY :]
        self._study, self._place = past.study, place
        self._tpe = optuna.samplers.TPESampler()
        self._values: dict[tuple[str, BaseDistribution], Numbers] = {}

    def value(self, name: str, distribution: BaseDistribution, candidate: int) -> Any:
        """One candidate's value of one parameter."""
        if (name, distribution) not in self._values:
            self._values[name, distribution] = self._draw(name, distribution)
        return distribution.to_external_repr(self._values[name, distribution][candidate].item())

    def _draw(self, name: str, distribution: BaseDistribution) -> Numbers:
        build, space = self._tpe._build_parzen_estimator, {name: distribution}
        good = build(self._study, space, self._good, handle_below=True)
        others = build(self._study, space, self._others, handle_below=False)
        rng = np.random.RandomState(seed_of(*self._place, name))
        values: Numbers = good.sample(rng, CANDIDATES * PICKS)[name]
        distinct, places = np.unique(values, return_inverse=True)  # grids have few
        ratio = good.log_pdf({name: distinct}) - others.log_pdf({name: distinct})
        best = ratio[places].reshape(CANDIDATES, PICKS).argmax(axis=1)
        picked: Numbers = values.reshape(CANDIDATES, PICKS)[np.arange(CANDIDATES), best]
        return picked


# The surrogate


def _expected_improvement(past: _Past, candidates: Sequence[BaseTrial]) -> Numbers:
    """Over the best trial's expected value, by a Gaussian process on the trials' ranks.

    Its values are the ranks' normal scores, which no collapse stretches. Running trials count as if
    they were to end as expected.
    """
    latest = {t.number for t in sorted(past.ended, key=lambda t: t.number)[-MEMORY:]}
    used = [t for i, t in enumerate(past.ended) if i < MEMORY or t.number in latest]
    if not used:
        return np.ones(len(candidates))
    scores = norm.isf((np.arange(len(used)) + 0.5) / len(used))
    points = _features([*used, *past.running, *candidates])
    apart = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    fits = [_fit(np.exp(-apart / scale), scores, noise) for scale in SCALES for noise in NOISES]
    _, kernel, noise, weights, amplitude = max(fits, key=lambda fit: fit[0])
    mean = kernel[:, : len(used)] @ weights
    seen = len(used) + len(past.running)
    lower = cholesky(kernel[:seen, :seen] + noise * np.eye(seen), lower=True)
    explained = (solve_triangular(lower, kernel[:seen, seen:], lower=True) ** 2).sum(axis=0)
    spread = np.sqrt(amplitude * np.clip(1 - explained, 1e-9, None))
    z = (mean[seen:] - mean[: len(used)].max()) / spread
    improvement: Numbers = spread * (z * norm.cdf(z) + norm.pdf(z))
    return improvement


def _fit(
    kernel: Numbers, scores: Numbers, noise: float
) -> tuple[float, Numbers, float, Numbers, float]:
    """Log evidence, kernel, noise, weights of the observations, and the best amplitude."""
    count = len(scores)
    lower = cholesky(kernel[:count, :count] + noise * np.eye(count), lower=True)
    weights = cho_solve((lower, True), scores)
    amplitude = max(float(scores @ weights) / count, 1e-9)
    evidence = -0.5 * count * math.log(amplitude) - float(np.log(np.diag(lower)).sum())
    return evidence, kernel, noise, weights, amplitude


def _features(trials: Sequence[BaseTrial]) -> Numbers:
    """Parameters as coordinates, (trials, features): numbers from 0 to 1, choices a distance of 1
    apart, and what a trial lacks in the middle of what others have.
    """
    given: dict[str, dict[int, tuple[Any, BaseDistribution]]] = {}
    for row, trial in enumerate(trials):
        params = trial.params
        for name, distribution in trial.distributions.items():
            given.setdefault(name, {})[row] = params[name], distribution
    columns = [np.zeros((len(trials), 1))]
    for settings in given.values():
        inner = np.array([d.to_internal_repr(value) for value, d in settings.values()])
        _, last = list(settings.values())[-1]
        if isinstance(last, CategoricalDistribution):
            places = (inner[:, None] == np.arange(len(last.choices))) / math.sqrt(2)
        else:
            inner = np.log(inner) if getattr(last, "log", False) else inner
            places = ((inner - inner.min()) / max(np.ptp(inner), 1e-12))[:, None]
        column = np.tile(places.mean(axis=0), (len(trials), 1))
        column[list(settings)] = places
        columns.append(column)
    return np.hstack(columns)
