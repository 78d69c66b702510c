"""The search's figures: importance, and the trials in the space."""

import re
import time
from dataclasses import replace

import numpy as np
import optuna
import pytest

from reports.sections.importance import ENOUGH, MOST, importance_info
from reports.sections.importance_figures import importance_chart
from reports.sections.search import LISTED, NAMED, REASONS
from reports.sections.search_space import AXES, LINES, PANELS, evenly, scale_of, search_space_info
from reports.sections.search_space_figures import parallel_chart, slice_chart
from tests.reports.made_runs import make_dataset, make_run
from tests.reports.made_searches import make_trials
from tests.reports.test_report import read
from thyroid.run_files.trials_csv import Trial, read_trials, write_trials


def trial(number, value, state="complete", **parameters):
    return Trial(number=number, state=state, macro_f1=value, epochs=1, parameters=parameters)


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
    assert info.state == "done"
    assert info.rows[0].name == "rate"
    assert {row.name for row in info.rows} == {"noise", "rate", "kind"}
    assert sum(row.value for row in info.rows) + info.together == pytest.approx(1)
    for row in info.rows:
        assert 0 <= row.low <= row.value <= row.high <= 1
    assert info.rows[0].low > 0.8
    assert info.predicted > 0.8
    assert info == importance_info(drawn(60), ("noise", "rate", "kind", "constant"))


def test_what_parameters_do_only_together_is_no_ones_own():
    rng = np.random.default_rng(0)
    trials = [
        trial(i, float((a > 0.5) == (b > 0.5)), a=float(a), b=float(b))
        for i, (a, b) in enumerate(rng.random((200, 2)))
    ]
    info = importance_info(trials, ("a", "b"))
    assert info.together > 0.6
    assert max(row.value for row in info.rows) < 0.3


def test_noise_is_told_not_to_be_believed():
    rng = np.random.default_rng(3)
    trials = [trial(i, float(rng.random()), a=float(rng.random())) for i in range(60)]
    assert importance_info(trials, ("a",)).predicted < 0


def test_a_rate_matters_by_its_logarithm():
    """On a linear axis, its lowest decades would take up a hundredth of the box."""
    rng = np.random.default_rng(1)
    trials = []
    for i in range(120):
        power, other = rng.uniform(-5, -1), float(rng.random())
        value = 0.5 * (power > -3.5) + 0.1 * other
        trials.append(trial(i, value, rate=10**power, other=other))
    info = importance_info(trials, ("other", "rate"))
    assert info.rows[0].name == "rate"
    assert info.rows[0].low > 0.8


def test_of_many_trials_importance_takes_some_from_all_along_the_search():
    info = importance_info(drawn(2 * MOST + 7), ("rate",))
    assert info.trials == MOST
    assert evenly(range(10), 4) == [0, 2, 5, 7]
    assert evenly(range(3), 4) == [0, 1, 2]


def test_importance_leaves_optunas_messages_as_they_were(recwarn):
    before = optuna.logging.get_verbosity()
    importance_info(drawn(20), ("rate", "kind"))
    assert optuna.logging.get_verbosity() == before
    assert not recwarn.list


def test_few_or_equal_trials_have_no_importance():
    assert importance_info(drawn(ENOUGH - 1), ("rate",)).state == "few"
    assert importance_info([], ("rate",)).state == "few"
    same = [replace(t, macro_f1=0.5) for t in drawn(20)]
    assert importance_info(same, ("rate", "kind")).state == "flat"


def test_a_parameter_that_only_some_trials_have_is_left_out():
    trials = drawn(20)
    del trials[3].parameters["kind"]
    info = importance_info(trials, ("rate", "kind"))
    assert info.left_out == ["kind"]
    assert [row.name for row in info.rows] == ["rate"]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1e-5, 1e-3, 1e-1], "log"),
        ([0.002, 0.4, 0.5, 0.6, 1.0], "number"),  # by chance one is small
        ([0, 1, 1000], "number"),
        ([-1.0, 0.001, 1.0], "number"),
        ([16, 32, 64, 128], "number"),
        ([3], "number"),
        ([], "number"),
        (["a", 3], "word"),
        ([True, False], "word"),
    ],
)
def test_what_lies_evenly_over_decades_is_logarithmic(values, scale):
    assert scale_of(values) == scale


def test_places_are_linear_logarithmic_or_of_words():
    trials = [
        trial(0, 0.1, lr=1e-5, n=2, kind="a"),
        trial(1, 0.2, "pruned", lr=1e-3, n=4, kind="b"),
        trial(2, 0.9, lr=1e-1, n=6),
        trial(3, None, "failed", lr=5.0, n=100, kind="c"),
    ]
    info = search_space_info(trials, ("lr", "n", "kind"), chosen=1)
    assert [axis.kind for axis in info.axes] == ["log", "number", "word"]
    assert info.axes[1].ticks == [(0.0, "2"), (0.5, "4"), (1.0, "6")]
    assert info.axes[2].ticks == [(0.25, "a"), (0.75, "b")]
    places = {line.number: line.places for line in info.lines}
    assert places == {0: [0.0, 0.0, 0.25], 1: [0.5, 0.5, 0.75], 2: [1.0, 1.0, None]}
    assert info.lines[-1].number == 1  # the chosen one lies over the others
    assert {line.number: line.shade for line in info.lines} == {0: 0, 1: None, 2: 2}
    assert (info.low, info.high) == (0.1, 0.9)
    assert (info.complete, info.drawn, info.valued, info.marked) == (2, 2, 3, 3)


def test_shades_are_fifths_of_the_complete_trials():
    info = search_space_info(drawn(50), ("rate",), None)
    shades = [line.shade for line in info.lines]
    assert [shades.count(shade) for shade in range(5)] == [10] * 5
    assert [shade.shade for shade in info.shades] == list(range(5))
    assert info.shades[0].low == info.low
    assert info.shades[-1].high == info.high


def test_long_axes_have_round_ticks_within_their_ends():
    lr = [10 ** (-4.9 + 0.1 * i) for i in range(30)]
    trials = [trial(i, i / 30, lr=v, n=0.013 + i) for i, v in enumerate(lr)]
    log, number = search_space_info(trials, ("lr", "n"), None).axes
    assert [label for _, label in log.ticks] == ["1.26e-5", "0.0001", "0.001", "0.01"]
    assert [label for _, label in number.ticks] == ["0.013", "10", "20", "29"]


def test_charts_have_a_mark_for_each_trial_that_has_the_parameter():
    trials = drawn(12)
    del trials[5].parameters["kind"]
    trials[2] = replace(trials[2], state="pruned")
    info = search_space_info(trials, ("rate", "kind"), chosen=7)
    chart = parallel_chart(info)
    assert chart.count('<path class="trial') == 11  # without the one that was stopped
    assert set(re.findall(r'data-trial="(\d+)"', chart)) == {str(i) for i in range(12)} - {"2"}
    assert chart.count('class="trial best" data-trial="7"') == 1
    assert chart.count(">not used<") == 1
    assert chart.count('class="unused"') == 1
    kind = slice_chart(info, 1)
    assert kind.count('class="mark complete"') == 10
    assert kind.count('class="mark pruned"') == 1
    assert kind.count('class="mark chosen"') == 1
    rows = importance_info(drawn(20), ("rate", "kind")).rows
    chart = importance_chart(rows, together=0.25)
    assert (chart.count('class="bar"'), chart.count('class="whisker"')) == (2, 2)
    assert chart.count('class="together"') == 1
    assert ">0.25<" in chart


def test_while_nothing_is_chosen_the_best_complete_trial_is_bold():
    trials = drawn(12)
    best = max(trials, key=lambda t: t.macro_f1).number
    trials.append(trial(12, 0.99, "pruned", rate=0.5))
    assert f'class="trial best" data-trial="{best}"' in parallel_chart(
        search_space_info(trials, ("rate",), None)
    )


def test_words_without_room_stand_in_two_rows_and_none_is_lost():
    words = ("resnet_small", "resnet_large", "vgg_small")
    trials = [trial(i, i / 10, kind=words[i % 3]) for i in range(9)]
    chart = slice_chart(search_space_info(trials, ("kind",), None), 0)
    assert all(f">{word}<" in chart for word in words)
    assert {'y="141"', 'y="156"'} <= set(re.findall(r'y="\d+"', chart))


def test_of_many_trials_the_best_and_some_others_are_drawn():
    trials = drawn(1000)
    worst = min(trials, key=lambda t: t.macro_f1).number
    info = search_space_info(trials, ("rate",), chosen=worst)
    assert (info.drawn, info.complete) == (LINES, 1000)
    numbers = [line.number for line in info.lines]
    assert len(set(numbers)) == LINES
    assert numbers[-1] == worst  # chosen by another objective, and never left out
    best = sorted(trials, key=lambda t: -t.macro_f1)[: LINES // 3 - 1]
    assert {t.number for t in best} <= set(numbers)


def test_a_line_has_few_bytes():
    rng = np.random.default_rng(0)
    names = [f"group.parameter_{i}" for i in range(AXES + 3)]
    trials = [
        trial(i, float(rng.random()), **dict(zip(names, rng.random(len(names)), strict=True)))
        for i in range(2000)
    ]
    info = search_space_info(trials, names, None)
    chart = parallel_chart(info)
    assert max(len(path) for path in re.findall(r'<path class="trial[^>]*>', chart)) <= 200
    assert chart.count('class="axis"') == AXES + 1
    assert (info.crossed, info.panels, info.parameters) == (AXES, PANELS, AXES + 3)


def test_one_value_or_none_draws_nothing():
    assert search_space_info([trial(0, 0.4, rate=1)], ("rate",), None) is None
    failed = [trial(i, None, "failed", rate=1) for i in range(3)]
    assert search_space_info(failed, ("rate",), None) is None
    equal = [trial(i, 0.4, rate=1) for i in range(3)]
    info = search_space_info(equal, ("rate",), None)
    assert parallel_chart(info).count('<path class="trial') == 3
    assert slice_chart(info, 0).count("circle") == 3


def all_with(trials, **changes):
    return [replace(trial, **changes) for trial in trials]


def page(run, trials):
    write_trials(run, trials)
    html, info = read(run)
    section = html[html.index('<section id="search"') :]
    return section[: section.index("</section>")], info["search"]


def test_a_search_of_which_nothing_was_complete_is_a_page(run):
    trials = make_trials(12)
    failed = all_with(trials, state="failed", macro_f1=None, reason="out of memory")
    section, info = page(run, failed)
    assert info["places"] is None
    assert "Trials that failed" in section
    assert "Parallel coordinates" not in section

    section, info = page(run, all_with(trials, state="pruned", macro_f1=0.5))
    assert "Each parameter alone" in section
    assert "Parallel coordinates" not in section
    assert "Importance is shown once" in section


def test_one_trial_is_a_page(run):
    section, info = page(run, all_with(make_trials(1), state="complete", macro_f1=0.5))
    assert info["places"] is None
    assert "All trials" not in section


def test_a_trial_is_linked_across_charts_and_tables(run):
    section, info = page(run, make_trials(40))
    number = info["best"]["number"]
    bearers = re.findall(rf'<(\w+)[^>]* data-trial="{number}"', section)
    assert bearers.count("tr") == 2  # among the best, and among all
    assert bearers.count("path") == 1
    assert bearers.count("circle") == 1 + len(info["parameters"])


def test_many_reasons_are_told_by_how_often(run):
    trials = make_trials(100)
    failed = all_with(trials, state="failed", macro_f1=None, reason="often")
    failed = [replace(t, reason=f"odd {t.number}") if t.number % 2 else t for t in failed]
    section, info = page(run, failed)
    assert len(info["failed"]) == REASONS
    assert info["failed"][0] == {
        "reason": "often",
        "numbers": list(range(0, 2 * NAMED, 2)),
        "more": 50 - NAMED,
    }
    assert info["more_reasons"] == {"failed": 51 - REASONS, "stopped": 0}
    assert "further reasons are in trials.csv" in section


def test_a_reason_from_outside_does_no_harm(run):
    trials = all_with(make_trials(12), reason="<script>alert(1)</script>")
    section, _ = page(run, trials)
    assert "<script>" not in section
    assert "&lt;script&gt;" in section


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
    section = html[html.index('<section id="search"') :]
    assert section.index("</section>") < 900_000


def test_without_a_parameter_that_all_have_and_that_varies_nothing_is_said_to_matter():
    trials = [trial(i, i / 20, **{"a" if i % 2 else "b": float(i)}) for i in range(20)]
    info = importance_info(trials, ("a", "b"))
    assert (info.state, info.left_out) == ("none_shared", ["a", "b"])
    constant = importance_info([replace(t, parameters={"a": 1}) for t in trials], ("a",))
    assert constant.state == "none_shared"


def test_trees_without_any_variance_cost_no_report(monkeypatch):
    from optuna.importance import FanovaImportanceEvaluator

    def none(*_args, **_kwargs):
        raise RuntimeError("Encountered zero total variance in all trees.")

    monkeypatch.setattr(FanovaImportanceEvaluator, "evaluate", none)
    info = importance_info(drawn(20), ("rate", "kind"))
    assert {row.value for row in info.rows} == {0.0}


def test_the_chosen_trial_is_among_those_listed(tmp_path):
    dataset = make_dataset(tmp_path / "data")
    run = make_run(tmp_path / "run", dataset, trials=2 * LISTED)
    trials = read_trials(run)
    complete = [trial for trial in trials if trial.state == "complete"]
    worst = min(complete, key=lambda trial: trial.macro_f1).number
    write_trials(run, [replace(trial, chosen=int(trial.number == worst)) for trial in trials])
    _, info = read(run)
    assert len(info["search"]["all"]) == LISTED
    assert worst in {t["number"] for t in info["search"]["all"]}
