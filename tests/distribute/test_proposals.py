"""Proposals that take the price of a trial into account."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import BaseTrial, FixedTrial, TrialState, create_trial

from thyroid.distribute.proposals import thrifty

Recipe = dict[str, Any]


def conditional(trial: BaseTrial) -> Recipe:
    """First the generator, then an optimiser with parameters of its own."""
    recipe: Recipe = {"generator": trial.suggest_categorical("generator", ["none", "small", "big"])}
    if recipe["generator"] != "none":
        recipe["share"] = trial.suggest_float("share", 0.0, 1.0, step=0.25)
    recipe["rate"] = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    recipe["length"] = trial.suggest_int("length", 1, 8)
    if recipe["length"] > 4:
        recipe["ramp"] = trial.suggest_int("ramp", 1, recipe["length"])
    return recipe


def value_of(recipe: Recipe) -> float:
    closeness = -abs(float(np.log10(recipe["rate"])) + 2)
    return closeness + 0.1 * recipe["length"] + (0.3 if recipe["generator"] == "small" else 0.0)


def tell(
    study: optuna.Study,
    params: dict[str, Any],
    space: Callable[[BaseTrial], Any] = conditional,
    state: TrialState = TrialState.COMPLETE,
    values: list[float] | None = None,
    steps: dict[int, float] | None = None,
) -> None:
    trial = FixedTrial(params)
    space(trial)
    study.add_trial(
        create_trial(
            state=state,
            values=values,
            params=trial.params,
            distributions=trial.distributions,
            intermediate_values=steps,
        )
    )


def searched(trials: int, seed: int = 0, storage: Any = None) -> optuna.Study:
    study = optuna.create_study(direction="maximize", storage=storage)
    for number in range(trials):
        params = thrifty(study, number, seed, conditional, lambda recipe: 1.0)
        tell(study, params, values=[value_of(conditional(FixedTrial(params)))])
    return study


def test_proposals_follow_from_the_seed_the_number_the_trials_and_the_prices() -> None:
    first, again = searched(14), searched(14)
    assert [t.params for t in first.trials] == [t.params for t in again.trials]
    for change in ({"seed": 1}, {"number": 15}):
        place = {"number": 14, "seed": 0} | change
        other = thrifty(first, **place, sketch=conditional, new_seconds=lambda recipe: 1.0)
        assert other != thrifty(first, 14, 0, conditional, lambda recipe: 1.0)


def test_a_trial_that_is_there_already_does_not_change_its_own_proposal() -> None:
    study = searched(12)
    before = thrifty(study, 12, 0, conditional, lambda recipe: 1.0)
    tell(study, before, state=TrialState.RUNNING)
    assert thrifty(study, 12, 0, conditional, lambda recipe: 1.0) == before


def test_every_proposal_is_what_the_space_asks_for() -> None:
    for trial in searched(40).trials:
        again = FixedTrial(trial.params)
        conditional(again)
        assert again.params == trial.params
        assert again.distributions == trial.distributions


def test_no_trial_is_proposed_twice_until_a_small_space_is_exhausted() -> None:
    def few(trial: BaseTrial) -> tuple[int, bool]:
        return trial.suggest_int("a", 0, 3), trial.suggest_categorical("b", [False, True])

    study = optuna.create_study(direction="maximize")
    for number in range(8):
        params = thrifty(study, number, 0, few, lambda made: 1.0)
        tell(study, params, few, values=[float(params["a"])])
    assert {(t.params["a"], t.params["b"]) for t in study.trials} == set(
        itertools.product(range(4), [False, True])
    )
    assert set(thrifty(study, 8, 0, few, lambda made: 1.0)) == {"a", "b"}


def test_an_infinite_price_excludes_a_recipe() -> None:
    study = searched(12)
    for number in range(12, 22):
        params = thrifty(
            study,
            number,
            0,
            conditional,
            lambda recipe: float("inf") if recipe["generator"] == "small" else 1.0,
        )
        assert params["generator"] != "small"


def test_among_equals_the_cheap_one_is_taken() -> None:
    def equals(trial: BaseTrial) -> int:
        trial.suggest_float("x", 0, 1)
        return int(trial.suggest_int("stage", 0, 9))

    def dear(seed: int, exponent: float) -> float:
        study = optuna.create_study(direction="maximize")
        for number in range(12):
            params = thrifty(
                study, number, seed, equals, lambda stage: 1.0 + 50 * stage, exponent=exponent
            )
            tell(study, params, equals, values=[0.5])
        return float(np.mean([t.params["stage"] for t in study.trials]))

    assert np.mean([dear(seed, 1.0) for seed in range(3)]) < 0.6 * np.mean(
        [dear(seed, 0.0) for seed in range(3)]
    )


def test_without_finished_trials_the_cheapest_is_proposed_first() -> None:
    study = optuna.create_study(direction="maximize")
    prices: list[float] = []

    def price(recipe: Recipe) -> float:
        prices.append(float(recipe["length"]))
        return prices[-1]

    params = thrifty(study, 0, 0, conditional, price)
    assert params["length"] == min(prices)


def test_shared_stages_are_sought_and_good_values_found() -> None:
    """The generator costs 100, a length of n another n; the best has the small one."""
    spent = {}
    for exponent in (0.0, 1.0):
        spent[exponent] = 0.0
        for seed in range(2):
            study, computed = optuna.create_study(direction="maximize"), {"none"}

            def price(recipe: Recipe, computed: set[str] = computed) -> float:
                return float(recipe["length"] + 100 * (recipe["generator"] not in computed))

            for number in range(16):
                params = thrifty(study, number, seed, conditional, price, exponent=exponent)
                recipe = conditional(FixedTrial(params))
                spent[exponent] += price(recipe)
                computed.add(recipe["generator"])
                tell(study, params, values=[value_of(recipe)])
            assert study.best_value > 0.3  # of 1.1
    assert spent[1.0] < spent[0.0]


def test_pruned_and_failed_trials_are_learned_from_and_may_be_all_there_is() -> None:
    for states in ([TrialState.FAIL], [TrialState.PRUNED], [TrialState.PRUNED, TrialState.FAIL]):
        study = optuna.create_study(direction="maximize")
        for number, state in zip(range(14), itertools.cycle(states), strict=False):
            params = thrifty(study, number, 0, conditional, lambda recipe: 1.0)
            steps = {number: 0.1 * number} if state is TrialState.PRUNED and number else None
            tell(study, params, state=state, steps=steps)
        assert thrifty(study, 14, 0, conditional, lambda recipe: 1.0)["length"] >= 1


def test_what_fails_is_left_alone() -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(40):
        params = thrifty(study, number, 0, conditional, lambda recipe: 1.0, exponent=0.0)
        failed = params["generator"] == "big"
        state = TrialState.FAIL if failed else TrialState.COMPLETE
        value = value_of(conditional(FixedTrial(params)))
        tell(study, params, state=state, values=None if failed else [value])
    assert sum(t.state is TrialState.FAIL for t in study.trials[20:]) <= 5


def test_several_objectives() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(14):
        params = thrifty(study, number, 0, conditional, lambda recipe: 1.0)
        recipe = conditional(FixedTrial(params))
        tell(study, params, values=[value_of(recipe), float(recipe["length"])])
    assert len({tuple(sorted(t.params.items())) for t in study.trials}) == 14


def test_a_journal_is_not_written_to(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    study = searched(12, storage=JournalStorage(JournalFileBackend(str(journal))))
    before = journal.read_bytes()
    thrifty(study, 12, 0, conditional, lambda recipe: 1.0)
    assert journal.read_bytes() == before
    assert len(study.trials) == 12


def test_time_does_not_grow_with_the_study() -> None:
    def of(trials: int) -> float:
        study, rng = optuna.create_study(direction="maximize"), np.random.default_rng(0)
        distributions: Any = None
        for _ in range(trials):
            params = {
                "generator": "small",
                "share": float(rng.integers(5)) / 4,
                "rate": float(10 ** rng.uniform(-4, -1)),
                "length": int(rng.integers(1, 5)),
            }
            if distributions is None:
                trial = FixedTrial(params)
                conditional(trial)
                distributions = trial.distributions
            study.add_trial(
                create_trial(value=rng.normal(), params=params, distributions=distributions)
            )
        began = time.process_time()
        for number in range(trials, trials + 5):
            thrifty(study, number, 0, conditional, lambda recipe: 1.0)
        return (time.process_time() - began) / 5

    assert of(1000) < 5 * of(150)


@pytest.mark.parametrize("module", ["torch", "ray"])
def test_it_imports_neither_torch_nor_ray(module: str) -> None:
    code = f"import sys, thyroid.distribute.proposals; assert {module!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
