"""What sharing stages saves in a search of the `joint` space, and what thrifty proposals add.

No training: a trial's stages take the seconds measured below, and its value is a synthetic function
of the recipe plus noise per recipe, as large as that of seeds. `pytest -s` shows the tables.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import BaseTrial, FixedTrial, TrialState, create_trial
from scipy import stats

from thyroid import pipeline
from thyroid.distribute.proposals import thrifty
from thyroid.distribute.sketch import by_tpe
from thyroid.recipe import RECIPES, Recipe, override
from thyroid.space import load_space
from thyroid.stage import Stage

SEEDS = range(10)
TRIALS = 32
BUDGET_S = 1600.0
DIGEST = "0" * 64
BASE = override(RECIPES["small"](), {"execution.device": "cpu", "execution.precision": "bf16"})

# Seconds per epoch of `small` on thyroid7 (544 training images): one thread of a two-core Intel
# Xeon (avx512_bf16), little else running, 2026-11-23; of two to four epochs each.
DCGAN = {16: 2.1, 32: 5.9, 64: 21.6}  # by the pictures' side; 100 steps of 64
SRGAN = {(2, False): 5.7, (2, True): 8.25, (4, False): 4.2, (4, True): 6.6}  # 50 steps of 32
CLASSIFIER = {"none": 0.79, "input": 0.92, "stem": 1.0, "context": 1.07}  # by x_i
TRAINABLE = {"all": 1.0, "last_stages": 0.7, "head": 0.5}  # of that, in the cross phase
SYNTHESIS, PREDICTION, STARTING = 4.5, 0.14, 0.2


def seconds(stage: Stage) -> float:
    config = stage.config
    match stage.kind:
        case "dcgan":
            return STARTING + float(config.epochs * DCGAN[config.size])
        case "srgan":
            return STARTING + float(config.epochs * SRGAN[config.srgan.scale, config.adversarial])
        case "classifier":
            thinned = 1 + 0.15 * config.augmentation.thinning
            part = TRAINABLE[config.cross.trainable] if config.cross else 1.0
            rate = CLASSIFIER[config.network.cross_feature] * thinned * part
            return STARTING + float(config.epochs * rate)
        case "synthesis":
            return SYNTHESIS
        case _:
            return PREDICTION


# What a recipe is worth


def landscape(recipe: Recipe, seed: int, *, dear: bool) -> float:
    """Macro-F1 of a recipe: effects of the size that RESULTS.md knows, saturating in the length.

    The seed moves the optimum of the augmentation. Where `dear`, generators of large pictures and
    long trainings are what is best, so that the best recipes cost most; else generators of medium
    pictures are, by less.
    """
    place = np.random.default_rng(seed)
    best_magnitude, best_thinning = place.choice([0.5, 1.0, 1.5]), place.choice([0.0, 0.5, 1.0])
    augmentation, mixing, cross = recipe.augmentation, recipe.mixing, recipe.cross
    length = recipe.schedule.constant_epochs / BASE.schedule.constant_epochs
    value = 0.86 - 0.05 * (math.exp(-2.5 * length) - math.exp(-2.5))
    value += 0.03 * (length - 0.5) if dear else 0.0
    value -= 0.02 * (augmentation.rotation_deg / 10 - best_magnitude) ** 2
    value -= 0.01 * abs(augmentation.thinning - best_thinning)
    value += 0.004 if augmentation.mirror else 0.0
    if recipe.synthetic:
        by_scale = {1: 0.024, 2: 0.016, 4: -0.008} if dear else {1: -0.004, 2: 0.006, 4: 0.004}
        value += by_scale[recipe.srgan.scale] - (0.02 if mixing.synthetic_share > 0.7 else 0.0)
        value -= 0.004 * abs(mixing.class_exponent) + 0.004 * (recipe.synthesis.rejection > 0.5)
        value += 0.006 if (mixing.cross_share or 0) >= 0.5 else 0.0
    source = {"none": 0.0, "input": 0.006, "stem": 0.004, "context": 0.01}
    value += source[recipe.network.cross_feature]
    if cross.order == "retrain":
        value += 0.006 - 0.06 * (cross.share - 0.4) ** 2 - 0.004 * abs(math.log2(cross.rate) + 1)
        value += {"constant": 0.0, "linear": 0.003, "cosine": 0.004}[cross.ramp]
        value += {"all": 0.0, "last_stages": -0.004, "head": -0.02}[cross.trainable]
        value += 0.01 * (cross.synthetic - cross.superposed)
    return value


def noise(recipe: Recipe, seed: int) -> float:
    """The luck of one training, always the same for one recipe; seeds of `small` spread so."""
    digest = hashlib.sha256(f"{seed}/{recipe}".encode()).digest()
    return 0.013 * float(np.random.default_rng(list(digest)).normal())


# A search


@dataclass(frozen=True)
class Search:
    """What a search came to."""

    trials: int
    found: float
    """True worth of the recipe with the best observed value."""
    spent: float
    unshared: float
    """Stage-seconds, had every trial computed all it needs."""
    rival: float
    """Had trials shared generators and judges, but no part of a classifier's training."""


Sampler = Callable[[optuna.Study, int, int, Callable[[BaseTrial], Recipe], Any, float], Any]


def plain(study: Any, number: int, seed: int, sketch: Any, *_: Any) -> dict[str, Any]:
    trial = by_tpe(study, number, seed)
    sketch(trial)
    return trial.params


def greedy(study: Any, number: int, seed: int, sketch: Any, price: Any, left: float) -> Any:
    return thrifty(study, number, seed, sketch, price)


def cooled(study: Any, number: int, seed: int, sketch: Any, price: Any, left: float) -> Any:
    return thrifty(study, number, seed, sketch, price, exponent=left)


ARMS: dict[str, Sampler] = {
    "plain TPE": plain,
    "thrifty, exponent 1": greedy,
    "thrifty, cooled": cooled,
}


@functools.cache
def needs(recipe: Recipe) -> dict[str, tuple[float, bool]]:
    """Seconds of each stage that a recipe needs, and whether it is its own classifier's."""
    last = pipeline.prediction(recipe, DIGEST, 0, "validation")
    own = {stage.key for stage in pipeline.classifier(recipe, DIGEST, 0)}
    return {s.key: (seconds(s), s.key in own) for s in last.lineage()}


class Fixed:
    """A trial whose order is given."""

    def __init__(self, trial: Any, order: str) -> None:
        self._trial, self._order = trial, order

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._order if name == "order" else self._trial.suggest_categorical(name, choices)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)


def search(
    arm: str,
    seed: int,
    *,
    dear: bool,
    order: str | None = None,
    trials: int = TRIALS,
    budget_s: float = math.inf,
    store: bool = True,
) -> Search:
    joint, study = load_space("joint"), optuna.create_study(direction="maximize")

    def sketch(trial: Any) -> Recipe:
        return joint(trial if order is None else Fixed(trial, order), BASE)

    computed: set[str] = set()
    shared: dict[str, float] = {}
    tried: set[Recipe] = set()
    spent = unshared = own = 0.0
    ended: list[tuple[float, float]] = []

    def price(recipe: Recipe) -> float:
        stages = needs(recipe).items()
        return sum(s for key, (s, _) in stages if key not in computed or not store)

    def offer(recipe: Recipe) -> float:
        return math.inf if recipe in tried else price(recipe)

    while len(ended) < trials:
        left = 1 - (len(ended) / trials if math.isinf(budget_s) else spent / budget_s)
        params = ARMS[arm](study, len(ended), seed, sketch, offer, left)
        trial = FixedTrial(params)
        recipe = sketch(trial)
        if spent + price(recipe) > budget_s:
            break
        spent += price(recipe)
        computed |= needs(recipe).keys()
        tried.add(recipe)
        unshared += sum(s for s, _ in needs(recipe).values())
        own += sum(s for s, is_own in needs(recipe).values() if is_own)
        shared |= {key: s for key, (s, is_own) in needs(recipe).items() if not is_own}
        worth = landscape(recipe, seed, dear=dear)
        value = worth + noise(recipe, seed)
        ended.append((value, worth))
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=value,
                params=trial.params,
                distributions=trial.distributions,
            )
        )
    _, found = max(ended, default=(0.0, 0.0))
    rival = own + sum(shared.values())
    return Search(trials=len(ended), found=found, spent=spent, unshared=unshared, rival=rival)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Recipes by the thousand: pools of synthetic images are planned once."""
    monkeypatch.setattr(pipeline, "synthesis", functools.lru_cache(pipeline.synthesis))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    needs.cache_clear()


def spread(values: list[float], digits: int) -> str:
    """Mean and 95 % interval (Student's t) over seeds."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{np.mean(values):.{digits}f} +- {half:.{digits}f}"


def against(searches: list[Search], rivals: list[Search]) -> str:
    pairs = zip(searches, rivals, strict=True)
    return spread([a.found - b.found for a, b in pairs], 4)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dear", [False, True], ids=["cheap is good", "dear is good"])
def test_within_a_budget(dear: bool) -> None:
    """Candidates, and the best recipe, within so many stage-seconds."""
    runs = {
        (arm, store): [
            search(arm, seed, dear=dear, trials=1000, budget_s=BUDGET_S, store=store)
            for seed in SEEDS
        ]
        for arm, store in [(ARM, True) for ARM in ARMS] + [("plain TPE", False)]
    }
    print(f"\n{BUDGET_S:.0f} stage-seconds, {'dear' if dear else 'cheap'} recipes are good")
    for (arm, store), found in runs.items():
        print(
            f"| {arm}, {'store' if store else 'no store'}"
            f" | {spread([r.trials for r in found], 1)} | {spread([r.found for r in found], 4)}"
            f" | {against(found, runs['plain TPE', True])} |"
        )
    count = {key: np.mean([r.trials for r in found]) for key, found in runs.items()}
    assert count["plain TPE", False] < count["plain TPE", True]
    assert count["thrifty, exponent 1", True] > 2 * count["plain TPE", True]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dear", [False, True], ids=["cheap is good", "dear is good"])
@pytest.mark.parametrize("order", [None, "retrain"])
def test_of_so_many_trials(order: str | None, dear: bool) -> None:
    """Stage-seconds of 32 trials, without and with sharing, and of the fair rival."""
    runs = {arm: [search(arm, seed, dear=dear, order=order) for seed in SEEDS] for arm in ARMS}
    usual = runs["plain TPE"]
    print(f"\n{TRIALS} trials, order {order or 'searched'}, {'dear' if dear else 'cheap'} is good")
    print("| arm | spent | unshared / spent | rival / spent | found | to plain |")
    for arm, found in runs.items():
        print(
            f"| {arm} | {spread([r.spent for r in found], 0)}"
            f" | {spread([r.unshared / r.spent for r in found], 2)}"
            f" | {spread([r.rival / r.spent for r in found], 2)}"
            f" | {spread([r.found for r in found], 4)} | {against(found, usual)} |"
        )
    assert all(
        r.spent <= r.rival + 1e-6 <= r.unshared + 1e-6 for found in runs.values() for r in found
    )
    cheaper = np.mean([r.spent for r in runs["thrifty, cooled"]])
    assert cheaper < np.mean([r.spent for r in usual])
