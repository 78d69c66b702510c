"""How many trials run at the same time."""

import pytest

from thyroid.tuning.tune_rounds import trials_at_once


@pytest.mark.parametrize(
    ("trainings", "networks", "trials"),
    [(0.5, 1, 1), (2, 1, 2), (2, 2, 1), (4, 2, 2), (7, 1, 7), (8, 1, 9), (32, 1, 36), (32, 2, 18)],
)
def test_large_clusters_run_more_trials_than_they_have_room_for(
    trainings: float, networks: int, trials: int
) -> None:
    assert trials_at_once(trainings, networks) == trials
