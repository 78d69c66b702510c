"""Folds and seeds are used where they may change the choice; without evidence the given recipe
stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from thyroid.errors import InputError
from thyroid.run_files.network import Network
from thyroid.runs.experiment import grid
from thyroid.tuning.held_out import HeldOut
from thyroid.tuning.recipe_race import GIVEN, race
from thyroid.tuning.search_config import SearchConfig

PATIENTS = 200
"""Number of images in each fold."""


class Recipes:
    """Recipes with different probabilities of a right answer.

    With `luck` every network errs independently; without it, a worse recipe makes all errors of a
    better one, and more.
    """

    def __init__(
        self, accuracy: dict[int, float], failing: Sequence[int] = (), luck: int | None = None
    ) -> None:
        self._accuracy, self._failing, self._luck = accuracy, failing, luck
        self.asked: list[tuple[list[int], list[Network]]] = []

    def __call__(self, numbers: Sequence[int], networks: Sequence[Network]) -> dict[int, HeldOut]:
        self.asked.append((list(numbers), list(networks)))
        return {n: self._predicted(n, networks) for n in numbers if n not in self._failing}

    def _predicted(self, number: int, networks: Sequence[Network]) -> HeldOut:
        folds = sorted({network.fold for network in networks})
        seeds = sorted({network.seed for network in networks})
        labels = np.tile(np.arange(2), PATIENTS // 2)

        def of_network(seed: int, fold: int) -> np.ndarray:
            own = () if self._luck is None else (self._luck, number + 1)
            rng = np.random.default_rng((*own, seed, fold))
            wrong = rng.random(PATIENTS) > self._accuracy[number]
            return np.where(wrong, 1 - labels, labels)

        return HeldOut(
            labels=np.tile(labels, len(folds)),
            predicted=np.stack([np.concatenate([of_network(s, f) for f in folds]) for s in seeds]),
            patients=np.arange(PATIENTS * len(folds)),
            is_cross=np.zeros(PATIENTS * len(folds), dtype=bool),
            classes=2,
            folds=1,
        )


LEVELS = [grid(1, folds) for folds in range(2, 6)]


def test_a_clearly_better_trial_is_chosen_after_the_first_level() -> None:
    recipes = Recipes({GIVEN: 0.7, 3: 0.95, 5: 0.6})
    raced = race([GIVEN, 3, 5], LEVELS, recipes)
    assert len(recipes.asked) == 1
    assert [(r.trial, r.state) for r in raced] == [(3, "chosen"), (None, "dropped"), (5, "dropped")]
    assert raced[0].behind == 0
    assert raced[1].behind == pytest.approx(raced[0].macro_f1 - raced[1].macro_f1)
    assert raced[1].behind > raced[1].behind_error > 0
    assert {r.folds for r in raced} == {2}


def test_the_given_recipe_stays_where_no_other_is_better_by_more_than_a_standard_error() -> None:
    equal = Recipes({GIVEN: 0.8, 0: 0.8, 1: 0.8, 2: 0.5}, luck=0)
    raced = race([GIVEN, 0, 1, 2], LEVELS, equal)
    assert raced[0].trial is None
    assert raced[-1].trial == 2
    best = max((r for r in raced if r.folds == raced[0].folds), key=lambda r: r.macro_f1)
    assert best.macro_f1 - raced[0].macro_f1 <= raced[0].behind_error


def test_only_contenders_are_trained_further() -> None:
    recipes = Recipes({GIVEN: 0.900, 0: 0.903, 1: 0.902, 2: 0.5})
    race([GIVEN, 0, 1, 2], LEVELS, recipes)
    first, *further = [numbers for numbers, _ in recipes.asked]
    assert first == [GIVEN, 0, 1, 2]
    assert further
    for before, after in zip([first, *further], further, strict=False):
        assert set(after) < set(before) or after == before
        assert 2 not in after
    assert [networks for _, networks in recipes.asked] == LEVELS[: len(recipes.asked)]


def test_what_cannot_be_trained_is_left_out_even_the_given_recipe() -> None:
    raced = race([GIVEN, 0, 1], LEVELS[-1:], Recipes({GIVEN: 1, 0: 0.9, 1: 0.5}, failing=[GIVEN]))
    assert [r.trial for r in raced] == [0, 1]
    assert race([GIVEN], LEVELS, Recipes({GIVEN: 1.0}, failing=[GIVEN])) == []


def test_it_ends_with_what_is_known_where_no_more_may_be_computed() -> None:
    recipes, calls = Recipes({GIVEN: 0.8, 0: 0.8}), []

    def until_the_budget_is_used_up(
        numbers: Sequence[int], networks: Sequence[Network]
    ) -> dict[int, HeldOut] | None:
        calls.append(networks)
        return recipes(numbers, networks) if len(calls) == 1 else None

    raced = race([GIVEN, 0], LEVELS, until_the_budget_is_used_up)
    assert len(calls) == 2
    assert {r.folds for r in raced} == {2}
    assert race([GIVEN, 0], LEVELS, lambda *_: None) == []


@pytest.mark.parametrize(
    ("options", "folds", "levels"),
    [
        ({}, 5, [(1, 2), (1, 3), (1, 4), (1, 5)]),
        ({}, 1, [(1, 1), (2, 1), (3, 1)]),
        ({"max_seeds": 1}, 1, [(1, 1)]),
        ({"first_folds": 5, "max_seeds": 2}, 5, [(1, 5), (2, 5)]),
        ({"first_folds": 9, "seeds": 2}, 3, [(2, 3)]),
    ],
)
def test_levels(options: dict[str, int], folds: int, levels: list[tuple[int, int]]) -> None:
    config = SearchConfig(**options)
    assert config.race_levels(folds) == levels
    assert config.first_level(folds) == levels[0]


def test_among_equal_recipes_the_given_one_stays_in_most_races() -> None:
    """One of three equal trials is ahead by more than a standard error in about a third of them."""
    equal = dict.fromkeys([GIVEN, 0, 1, 2], 0.85)
    races = [race(list(equal), [grid(1, 5)], Recipes(equal, luck=luck)) for luck in range(100)]
    assert sum(raced[0].trial is None for raced in races) >= 50


def test_no_fold_is_refused() -> None:
    with pytest.raises(InputError, match="--first-folds is 0"):
        SearchConfig(first_folds=0)


def test_a_recipe_that_cannot_be_trained_in_a_further_fold_has_dropped_out() -> None:
    equal = Recipes({GIVEN: 0.8, 0: 0.8}, luck=0)

    def failing_later(numbers: Sequence[int], networks: Sequence[Network]) -> dict[int, HeldOut]:
        found = equal(numbers, networks)
        return found if networks == LEVELS[0] else {n: p for n, p in found.items() if n == 0}

    raced = race([GIVEN, 0], LEVELS, failing_later)
    assert [(r.trial, r.state, r.folds) for r in raced] == [(0, "chosen", 3), (None, "dropped", 2)]
