"""The Pareto front agrees with brute force; the page describes it and the final race."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from reports.run import read_run
from reports.sections.front import AIMS, front_info, non_dominated
from reports.sections.search import search_info
from tests.reports.made_runs import make_run
from tests.reports.made_searches import add_objectives
from tests.reports.test_comparison import shown
from tests.reports.test_report import read
from thyroid.run_files.race_json import read_race, write_race
from thyroid.run_files.trials_csv import Trial, read_trials, write_trials


def dominates(a: dict, b: dict, objectives: list[str]) -> bool:
    pairs = [(AIMS[name] * a[name], AIMS[name] * b[name]) for name in objectives]
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def brute_force(trials: list[dict], objectives: list[str]) -> list[bool]:
    whole = [t for t in trials if all(t[name] is not None for name in objectives)]
    return [t in whole and not any(dominates(o, t, objectives) for o in whole) for t in trials]


@pytest.mark.parametrize("objectives", [list(AIMS)[:n] for n in (1, 2, 3)])
@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_that_of_brute_force(objectives, seed):
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 6, (40, 3)) / 5  # coarse: there are ties
    trials = [
        {name: None if rng.random() < 0.1 else value for name, value in zip(AIMS, row, strict=True)}
        for row in drawn
    ]
    found = non_dominated(trials, objectives)
    assert found == brute_force(trials, objectives)
    assert any(found)


def trial(number, macro_f1, cross_recall, compute) -> Trial:
    return Trial(
        number=number,
        state="complete",
        macro_f1=macro_f1,
        cross_recall=cross_recall,
        compute=compute,
        epochs=1,
        parameters={},
    )


def test_equal_trials_are_on_the_front_together_and_less_compute_is_better():
    trials = [trial(0, 0.8, 0.5, 10), trial(1, 0.8, 0.5, 10), trial(2, 0.8, 0.5, 11)]
    assert [p.front for p in front_info(trials, list(AIMS), None).points] == [True, True, False]
    assert non_dominated([], list(AIMS)) == []


def test_a_trial_without_a_value_is_left_out():
    trials = [trial(0, 0.9, None, 1), trial(1, 0.8, 0.5, 10)]
    info = front_info(trials, list(AIMS), chosen=0)
    assert [p.number for p in info.points] == [1]
    assert (info.trials, info.left_out, info.size) == (1, 1, 1)
    assert info.chosen_on is False


def test_an_objective_that_no_trial_has_is_left_out():
    trials = [trial(0, 0.9, None, 5), trial(1, 0.8, None, 1), trial(2, 0.8, None, 7)]
    info = front_info(trials, list(AIMS), chosen=None)
    assert info.objectives == ["macro_f1", "compute"]
    assert info.without == ["cross_recall"]
    assert [row.number for row in info.rows] == [0, 1]


def test_of_one_objective_there_is_no_front():
    assert front_info([trial(0, 0.9, 0.5, 5)], ["macro_f1"], None) is None


def test_a_long_front_is_cut_in_the_table_alone():
    trials = [trial(i, 0.5 + i / 100, 0.5, 10.0 + i) for i in range(30)]
    info = front_info(trials, ["macro_f1", "compute"], None)
    assert (info.size, info.listed, len(info.rows), len(info.points)) == (
        30,
        20,
        20,
        30,
    )
    assert [row.number for row in info.rows] == list(range(29, 9, -1))


@pytest.mark.parametrize("objectives", [("macro_f1", "compute"), ("macro_f1", *list(AIMS)[1:])])
def test_the_page_shows_the_front(run, objectives):
    before = read(run)[0].count("<svg")
    html, info = read(add_objectives(run, *objectives))
    front = info["search"]["front"]
    assert html.count("<svg") == before + len(objectives) - 1
    assert 0 < front["size"] < front["trials"] == info["search"]["states"]["complete"]
    slices = html[html.index('class="slices"') :].count('class="mark chosen"')
    section = html[html.index("Several objectives") :]
    assert section.count('class="mark chosen"') == len(objectives) - 1 < slices
    assert "good by several objectives at once" in html
    assert "learning_rate" in str(front["rows"][0]["parameters"])


def test_a_single_objective_shows_nothing_of_it(run):
    html, info = read(run)
    assert info["search"]["front"] is None
    assert info["search"]["chosen"] is None
    assert "Several objectives" not in html
    assert "What decided" not in html


def test_no_cross_images_and_no_other_objective_is_said(run):
    add_objectives(run, "macro_f1", "cross_recall")
    write_trials(run, [replace(trial, cross_recall=None) for trial in read_trials(run)])
    html, info = read(run)
    assert info["search"]["front"]["objectives"] == ["macro_f1"]
    assert "No complete trial has a value for the recall on cross images" in html
    assert "Fewer than two objectives" in html


def test_the_best_is_the_chosen_one(run):
    before = search_info(read_run(run))
    html, info = read(add_objectives(run, "macro_f1", raced=3))
    search = info["search"]
    assert search["best"]["number"] == before.top[1].number == search["chosen"]
    assert [r["trial"] for r in search["race"]][:2] == [before.top[1].number, before.top[0].number]
    assert [r["state"] for r in search["race"]] == ["chosen", "contender", "dropped", "dropped"]
    rest = [t["macro_f1"] for t in search["top"][1:]]
    assert rest == sorted(rest, reverse=True)
    assert "The chosen trial, number" in html
    assert "the best of those that did not drop out" in shown(html)
    assert "the recipe that the search started from dropped out." in shown(html)
    assert "the others are trained in further folds, then with further seeds" in shown(html)
    assert search["front"] is None


def test_the_given_recipe_may_stay(run):
    add_objectives(run, "macro_f1", raced=3)
    raced = read_race(run)
    given = replace(raced[0], trial=None)
    write_race(run, [given, *(replace(r, state="contender") for r in raced[:1])])
    write_trials(run, [replace(trial, chosen=0) for trial in read_trials(run)])
    html, info = read(run)
    assert info["search"]["chosen"] is None
    assert "The recipe that the search started from is kept" in shown(html)
    assert "The best trial, number" in html
    assert "The chosen trial" not in html
    assert "the best trial so far" not in html


def test_a_given_recipe_that_could_not_be_trained_is_said_so(run):
    add_objectives(run, "macro_f1", raced=3)
    write_race(run, [raced for raced in read_race(run) if raced.trial is not None])
    text = shown(read(run)[0])
    assert "the recipe that the search started from could not be trained." in text
    assert "the recipe that the search started from dropped out." not in text


def test_without_a_race_the_choice_is_named(run):
    html, info = read(add_objectives(run, "macro_f1"))
    assert info["search"]["race"] == []
    chosen = info["search"]["chosen"]
    assert f"The recipe is that of trial {chosen}; it was not compared" in shown(html)
    assert "What decided" not in html


def test_old_trials_have_no_new_columns(run):
    info = search_info(read_run(run))
    assert info.objectives == ["macro_f1"]
    assert {t.compute for t in info.top} == {None}
    assert not math.isnan(info.best.macro_f1)


def test_the_command_names_objectives_and_seeds(run):
    _, info = read(add_objectives(run, "macro_f1", "compute"))
    command = info["provenance"]["command"]
    assert "--first-folds 2 --seeds 1 --max-seeds 5 --objectives macro_f1,compute" in command


def test_a_search_that_failed_throughout_has_no_front(tmp_path, dataset):
    run = add_objectives(make_run(tmp_path / "run", dataset), "macro_f1", "compute")
    write_trials(run, [trial for trial in read_trials(run) if trial.state == "failed"])
    html, info = read(run)
    assert info["search"]["front"]["objectives"] == []
    assert json.dumps(info["search"]["best"]) == "null"
    assert "Fewer than two objectives" in html
