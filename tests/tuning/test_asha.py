"""Early stopping at rungs."""

from types import SimpleNamespace

import pytest

from thyroid.tuning.asha import AshaScheduler, Rungs
from thyroid.tuning.trial_result import Report


def report(value: float, epoch: int = 4, part: str = "single", training: str = "") -> Report:
    return Report(epoch=epoch, value=value, part=part, training=training or f"{value}")


def rungs() -> AshaScheduler:
    return AshaScheduler(Rungs(grace_epochs=4, factor=2))


def test_the_better_half_goes_on_and_earlier_trials_count() -> None:
    halving = rungs()
    halving.replay("first", [report(0.8)])
    halving.replay("second", [report(0.9)])
    assert not halving.passes("low", report(0.84))
    assert halving.passes("high", report(0.95))


def test_one_trial_in_factor_goes_on() -> None:
    halving = AshaScheduler(Rungs(grace_epochs=4, factor=4))
    halving.replay("all", [])
    for i in range(8):
        halving.replay(f"{i}", [report(i / 10)])
    assert not halving.passes("x", report(0.52))  # the upper quarter begins at 0.525
    assert halving.passes("y", report(0.53))


def test_no_trial_is_stopped_before_the_first_rung_or_between_two() -> None:
    halving = rungs()
    for epoch in (4, 8):
        halving.replay(f"good-{epoch}", [report(0.9, epoch)])
    assert halving.passes("bad", report(0.1, epoch=3))
    assert halving.passes("best", report(0.95, epoch=5))
    assert halving.passes("best", report(0.1, epoch=7))  # its rung, at 4, is behind it
    assert not halving.passes("best", report(0.1, epoch=9))


@pytest.mark.parametrize("part", ["mixed", "cross", "single-decay"])
def test_parts_of_the_schedule_are_not_compared(part: str) -> None:
    halving = rungs()
    halving.replay("other", [report(0.9, part=part)])
    assert halving.passes("single", report(0.1))
    assert not halving.passes("worse", report(0.05))


def test_trials_that_share_a_training_count_once_and_get_the_same_decision() -> None:
    halving = rungs()
    for i in range(5):
        assert halving.passes(f"{i}", report(0.5, training="the same"))
    assert halving.passes("better", report(0.6))
    assert not halving.passes("late", report(0.5, training="the same"))
    assert not halving.passes("worse", report(0.4))


def test_tune_gets_the_decision_and_failures_fill_no_rung() -> None:
    halving = rungs()
    halving.replay("good", [report(0.9)])
    result = {"number": 1, "epoch": 4, "rung_macro_f1": 0.1, "part": "single", "training": "x"}
    result["macro_f1"] = 0.95  # of all held-out images: no other trial at a rung has such a score
    assert halving.on_trial_result(None, SimpleNamespace(trial_id="low"), result) == "STOP"
    failed = {"number": 2, "epoch": 0, "failed": True}
    assert halving.on_trial_result(None, SimpleNamespace(trial_id="nan"), failed) == "CONTINUE"
    assert halving.stopped == {"low"}
