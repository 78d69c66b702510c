"""What the search's figures draw: importance, and where trials lie in the space."""

import time

import numpy as np
import pytest

from reports.importance import ENOUGH, importance_info
from reports.search import LISTED, NAMED
from reports.space_figures import importance_chart, parallel_chart, slice_chart
from reports.spaces import LINES, space_info
from tests.reports.conftest import make_dataset, make_run
from tests.reports.test_report import read


def trial(number, value, state="complete", **parameters):
    return {"number": number, "state": state, "macro_f1": value, "parameters": parameters}


def drawn(count, seed=0, weight=0.5):
    """Macro-F1 follows `rate`, hardly `kind`, and not `noise`."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        rate, noise, kind = rng.random(), rng.random(), rng.choice(["a", "b"])
        value = float(np.clip(weight * rate + 0.02 * (kind == "a"), 0, 1))
        rows.append(trial(i, value, rate=rate, noise=noise, kind=kind, constant=3))
    return rows


def test_what_matters_is_told_first_and_the_rest_within_its_range():
    info = importance_info(drawn(60), ("noise", "rate", "kind", "constant"))
    assert info["state"] == "done"
    assert info["rows"][0]["name"] == "rate"
    assert {row["name"] for row in info["rows"]} == {"noise", "rate", "kind"}
    assert sum(row["value"] for row in info["rows"]) == pytest.approx(1)
    for row in info["rows"]:
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert info["rows"][0]["low"] > 0.8
    assert info == importance_info(drawn(60), ("noise", "rate", "kind", "constant"))


def test_few_or_equal_trials_have_no_importance():
    assert importance_info(drawn(ENOUGH - 1), ("rate",))["state"] == "few"
    assert importance_info(drawn(20, weight=0), ("constant",))["state"] == "flat"
    same = [t | {"macro_f1": 0.5} for t in drawn(20)]
    assert importance_info(same, ("rate", "kind"))["state"] == "flat"


def test_a_parameter_that_only_some_trials_have_is_left_out():
    trials = drawn(20)
    del trials[3]["parameters"]["kind"]
    info = importance_info(trials, ("rate", "kind"))
    assert info["left_out"] == ["kind"]
    assert [row["name"] for row in info["rows"]] == ["rate"]


def test_places_are_linear_logarithmic_or_of_words():
    trials = [
        trial(0, 0.1, lr=1e-5, n=2, kind="a"),
        trial(1, 0.2, "pruned", lr=1e-3, n=4, kind="b"),
        trial(2, 0.9, lr=1e-1, n=6),
        trial(3, None, "failed", lr=5.0, n=100, kind="c"),
    ]
    info = space_info(trials, ("lr", "n", "kind"), chosen=1)
    assert [axis["kind"] for axis in info["axes"]] == ["log", "number", "word"]
    places = {line["number"]: line["places"] for line in info["lines"]}
    assert places == {0: [0.0, 0.0, 0.25], 1: [0.5, 0.5, 0.75], 2: [1.0, 1.0, None]}
    assert info["lines"][-1]["number"] == 1  # the chosen one lies over the others
    assert {line["number"]: line["shade"] for line in info["lines"]} == {0: 0, 1: 1, 2: 3}
    assert (info["low"], info["high"], info["trials"]) == (0.1, 0.9, 3)


def test_charts_have_a_mark_for_each_trial_that_has_the_parameter():
    trials = drawn(12)
    del trials[5]["parameters"]["kind"]
    trials[2] |= {"state": "pruned"}
    info = space_info(trials, ("rate", "kind"), chosen=7)
    chart = parallel_chart(info)
    assert chart.count('<path class="trial') == 12
    assert chart.count(" best") == 1
    assert "not used" in chart
    kind = slice_chart(info, 1)
    assert kind.count('class="mark complete"') == 10
    assert kind.count('class="mark pruned"') == 1
    assert kind.count('class="mark chosen"') == 1
    rows = importance_info(drawn(20), ("rate", "kind"))["rows"]
    assert importance_chart(rows).count('class="bar"') == 2


def test_of_many_trials_the_best_and_some_others_are_drawn():
    trials = drawn(1000)
    info = space_info(trials, ("rate",), chosen=None)
    assert info["drawn"] == LINES
    numbers = {line["number"] for line in info["lines"]}
    best = sorted(trials, key=lambda t: -t["macro_f1"])[: LINES // 3]
    assert {t["number"] for t in best} <= numbers
    assert len(parallel_chart(info)) < 200 * LINES


def test_one_value_or_none_draws_nothing():
    assert space_info([trial(0, 0.4, rate=1)], ("rate",), None) is None
    equal = [trial(i, 0.4, rate=1) for i in range(3)]
    info = space_info(equal, ("rate",), None)
    assert parallel_chart(info).count('<path class="trial') == 3
    assert slice_chart(info, 0).count("circle") == 3


def test_a_thousand_trials_are_written_in_ten_seconds_and_two_hundred_in_3_mb(tmp_path):
    classes = tuple(f"class_{i}" for i in range(7))
    dataset = make_dataset(tmp_path / "large", classes, (), per_group=20, size=128)
    run = make_run(tmp_path / "run", dataset, seeds=range(5), trials=1000, epochs=100)
    began = time.perf_counter()
    html, info = read(run)
    assert time.perf_counter() - began < 10
    assert len(html) < 4_000_000
    assert len(info["search"]["all"]) == LISTED
    assert info["search"]["trials_in_all"] == 1000
    for group in (*info["search"]["stopped"], *info["search"]["failed"]):
        assert len(group["numbers"]) <= NAMED
    assert "trials.csv has all" in html
