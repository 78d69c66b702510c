"""Seeds go where they may change the choice."""

from collections.abc import Sequence

import numpy as np
import pytest

from thyroid.tuning.seed_racing import contenders, race_seeds, seed_spread


class Seeds:
    """Values of a recipe: its mean plus a seed's luck, fixed by (trial, seed)."""

    def __init__(self, means: Sequence[float], spread: float) -> None:
        self._means, self._spread = means, spread
        self.asked: list[tuple[int, int]] = []

    def __call__(self, asked: Sequence[tuple[int, int]]) -> list[float]:
        self.asked += asked
        return [
            self._means[trial] + self._spread * np.random.default_rng((trial, seed)).normal()
            for trial, seed in asked
        ]


def test_only_those_that_are_close_get_more_seeds() -> None:
    seeds = Seeds([0.9, 0.89, 0.5, 0.4, 0.3], spread=0.01)
    values = race_seeds({i: seeds([(i, 0)]) for i in range(5)}, seeds, max_seeds=6)
    assert {i: len(values[i]) for i in range(2, 5)} == {2: 2, 3: 2, 4: 1}  # four learn the spread
    assert len(values[0]) > 2
    assert all(len(of_trial) <= 6 for of_trial in values.values())
    assert len(set(seeds.asked)) == len(seeds.asked)


def test_a_lucky_seed_is_found_out() -> None:
    means = [0.80, 0.85]
    seeds = Seeds(means, spread=0.02)
    lucky = {0: [0.87], 1: [0.84]}
    values = race_seeds(lucky, seeds, max_seeds=8)
    assert np.mean(values[1]) > np.mean(values[0])


def test_it_ends_at_the_most_seeds() -> None:
    seeds = Seeds([0.8, 0.8, 0.8], spread=0.0)
    values = race_seeds({i: seeds([(i, 0)]) for i in range(3)}, seeds, max_seeds=3)
    assert [len(of_trial) for of_trial in values.values()] == [3, 3, 3]


def test_one_alone_needs_no_more() -> None:
    assert race_seeds({4: [0.7]}, Seeds([], 0), max_seeds=5) == {4: [0.7]}


def test_who_is_behind_by_more_than_the_luck_is_out() -> None:
    assert seed_spread([[0.8], [0.7]]) is None
    assert seed_spread([[0.8, 0.9], [0.7]]) == pytest.approx(0.05 * 2**0.5)
    assert contenders({0: [0.9, 0.92], 1: [0.905, 0.895], 2: [0.8, 0.81]}) == [0, 1]
    assert contenders({0: [0.90], 1: [0.89], 2: [0.8], 3: [0.7], 4: [0.6]}) == [0, 1, 2, 3]


def test_it_ends_with_what_is_known_where_no_more_may_be_computed() -> None:
    given = [[0.5, 0.7], None]
    values = race_seeds({0: [0.5], 1: [0.6]}, lambda _: given.pop(0), max_seeds=9)
    assert values == {0: [0.5, 0.7], 1: [0.6, 0.5]}  # the best so far is asked first
    assert not given
