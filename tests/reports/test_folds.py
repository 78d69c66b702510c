"""Reports of runs with folds: figures of single networks, and figures of their ensemble."""

import functools
import importlib
import itertools
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from reports.report import report_info, write_report
from reports.run import read_run
from reports.sections.calibration import calibration_info
from reports.sections.data import data_info
from reports.sections.provenance import command, training_command
from reports.sections.results import results_info
from reports.sections.stage_tree import MOST_ROWS, stage_tree_info
from reports.sections.stage_tree_figures import tree_chart
from reports.sections.training_figures import loss_chart
from reports.sections.verdict import verdict_line
from tests.reports.made_predictions import add_comparison
from tests.reports.made_runs import add_cross_phase, add_synthetic, make_run
from tests.reports.made_searches import make_stages
from tests.reports.test_comparison import shown
from tests.reports.test_report import read
from tests.stub_config import changed, stub_comparison, stub_search, with_config
from thyroid.cli import main
from thyroid.evaluate.metrics import calibration_error
from thyroid.evaluate.paired import macro_f1_difference
from thyroid.evaluate.temperature import ensemble_temperature, fit_temperature, tempered


@pytest.fixture(scope="module")
def content(tmp_path_factory, dataset):
    folder = tmp_path_factory.mktemp("folds") / "run"
    return read_run(make_run(folder, dataset, seeds=(0, 1), folds=5))


@pytest.fixture(scope="module")
def compared(tmp_path_factory, dataset):
    """A comparison with all its parts, of five folds and one seed, and its page."""
    run = make_run(tmp_path_factory.mktemp("folds") / "run", dataset, seeds=(0,), folds=5)
    add_comparison(add_synthetic(add_cross_phase(run, dataset), dataset), dataset)
    return read_run(run), *read(run)


def without_test_part(run):
    for path in run.rglob("test-*.csv"):
        path.unlink()
    return run


def macro(labels, probabilities):
    return f1_score(labels, probabilities.argmax(axis=1), average="macro")


# What is read


def test_each_image_outside_of_the_test_part_is_validated_once(content):
    assert content.folds == 5
    assert set(content.parts.values()) == {"development", "test"}
    for predictions in content.predictions["validation"].values():
        names = list(predictions.images["image_id"])
        assert dict(zip(names, predictions.folds, strict=True)) == content.fold_of
        assert len(names) == len(set(names)) == 144


def test_test_predictions_are_the_mean_of_the_networks(content):
    assert list(content.networks) == [(s, f) for s in (0, 1) for f in range(5)]
    for seed in (0, 1):
        mean = np.mean([content.networks[seed, f].probabilities for f in range(5)], axis=0)
        assert content.predictions["test"][seed].probabilities == pytest.approx(mean)


def test_folds_are_counted(content):
    info = data_info(content)
    assert info.columns == ["development", "test"]
    assert [t["images"] for t in info.column_totals] == [144, 36]
    assert [f.fold for f in info.folds] == list(range(5))
    assert sum(f.images for f in info.folds) == 144
    assert sum(f.patients for f in info.folds) == 72


# Results


def test_results_are_those_of_the_ensemble_of_all_networks(content):
    info, networks = results_info(content), list(content.networks.values())
    labels = networks[0].labels
    mean = np.mean([p.probabilities for p in networks], axis=0)
    assert info.ensemble
    assert (info.folds, info.networks, info.seeds) == (5, 10, [0, 1])
    assert info.overall.macro_f1.value == pytest.approx(macro(labels, mean))
    assert info.overall.accuracy.value == pytest.approx(np.mean(mean.argmax(1) == labels))
    assert np.sum(info.confusion.counts) == info.images == 36


def test_single_networks_stand_beside_the_ensemble(content):
    info = results_info(content)
    for row in info.by_network:
        p = content.networks[row.seed, row.fold]
        assert row.macro_f1 == pytest.approx(macro(p.labels, p.probabilities))
    values = [row.macro_f1 for row in info.by_network]
    assert len(values) == 10
    assert info.single.overall.macro_f1.value == pytest.approx(np.mean(values))
    assert info.single.overall.macro_f1.value < info.overall.macro_f1.value


def test_out_of_fold_results_are_of_the_pooled_images(content, tmp_path, dataset):
    beside = results_info(content).out_of_fold
    pooled = content.predictions["validation"].values()
    wanted = np.mean([macro(p.labels, p.probabilities) for p in pooled])
    assert (beside.images, beside.patients) == (144, 72)
    assert beside.macro_f1.value == pytest.approx(wanted)
    run = make_run(tmp_path / "run", dataset, seeds=(0, 1), folds=5)
    info = results_info(read_run(without_test_part(run)))
    assert (info.part, info.ensemble, info.single, info.out_of_fold) == (
        "validation",
        False,
        None,
        None,
    )
    assert info.overall.macro_f1.value == pytest.approx(wanted)
    assert [(row.seed, row.fold) for row in info.by_network] == [(0, None), (1, None)]


def test_the_page_says_which_figure_is_whose(compared):
    content, html, info = compared
    text = shown(html)
    single = np.mean([macro(p.labels, p.probabilities) for p in content.networks.values()])
    ensemble = info["results"]["overall"]["macro_f1"]["value"]
    assert "5 networks of each recipe were trained, with 1 seed in each of 5 folds of the" in text
    assert "each network learned from the other folds and was validated on the patients of its" in (
        text
    )
    assert f"single networks reach a macro-F1 of {single:.3f} on average" in text
    assert f"Macro-F1, ensemble{ensemble:.3f}" in text
    assert f"Macro-F1, single networks{single:.3f}" in text
    assert "Unless stated otherwise" in text
    assert "macro mean, single networks" in text
    assert "The method’s ensemble" in text
    assert "ensemble of 5 networks" in verdict_line(info["verdict"])
    assert "(95 % interval " in verdict_line(info["verdict"])
    flat = dict.fromkeys(("value", "low", "high"), 1.0)
    told = verdict_line(info["verdict"] | {"macro_f1": flat})
    assert told.startswith("macro-F1 1.000 (too few errors to say how far it may be off) on ")
    assert "few_networks" not in info["verdict"]["cautions"]


def test_without_a_test_part_the_page_says_that_figures_are_out_of_fold(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=(0,), folds=5)
    with_config(run, command="train", search=None)
    (run / "trials.csv").unlink()
    html, info = read(without_test_part(run))
    text = shown(html)
    assert "that were classified only by networks not trained on them" in text
    assert "each image is classified by the network that was not trained on its patient" in text
    assert "also used to choose" not in text
    assert info["verdict"]["folds"] == 5
    assert "each by the network that was not trained on it (5 folds)" in verdict_line(
        info["verdict"]
    )


def test_folds_that_are_centres_are_called_so(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=(0,), folds=3)
    with_config(run, recipe__split__folds_by="centre")
    html, info = read(run)
    assert "in each of 3 folds, which are centres: each network learned from the" in shown(html)
    assert "few_networks" in info["verdict"]["cautions"]


# Differences


def test_differences_are_of_networks_that_were_trained_on_the_same_patients(compared):
    content, _, info = compared
    table = info["comparison"]["tables"][0]
    for row in table["rows"][1:]:
        other = next(r for r in content.rows if r.name == row["name"])
        labels = next(iter(other.networks.values())).labels
        values = {
            network: macro(labels, content.networks[network].probabilities)
            - macro(labels, other.networks[network].probabilities)
            for network in content.networks
        }
        assert len(values) == row["shared_networks"] == 5
        assert row["difference"]["value"] == pytest.approx(np.mean(list(values.values())))
        own = content.predictions["test"][0].probabilities
        theirs = other.predictions[0].probabilities
        together = macro(labels, own) - macro(labels, theirs)
        assert row["ensembles"]["value"] == pytest.approx(together)
        right = own.argmax(1) == labels, theirs.argmax(1) == labels
        only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
        assert (row["mcnemar"]["only_method"], row["mcnemar"]["only_row"]) == only
        p = binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0
        assert row["mcnemar"]["uncorrected_p_value"] == pytest.approx(p)
        assert row["single"]["low"] <= row["single"]["macro_f1"] <= row["single"]["high"]


def test_five_folds_of_one_seed_are_enough_for_a_verdict(compared, tmp_path, dataset):
    _, _, info = compared
    states = {row["name"]: row["state"] for row in info["comparison"]["tables"][0]["rows"][1:]}
    assert states["lenet5"] == "higher"
    assert "few_networks" not in states.values()
    run = add_synthetic(make_run(tmp_path / "run", dataset, seeds=(0, 1), folds=2), dataset)
    html, few = read(run)
    assert few["synthetic_gain"]["networks"] == 4
    assert few["verdict"]["synthetic"]["state"] == "few_networks"
    assert "so few networks prove nothing; 5 are needed" in shown(html)
    assert "open because there are too few networks to tell" in verdict_line(few["verdict"])


def test_the_best_baseline_is_that_of_single_networks(compared):
    verdict, rows = compared[2]["comparison"]["verdict"], compared[2]["comparison"]["tables"][0]
    best = max(rows["rows"][1:], key=lambda row: row["single"]["macro_f1"])
    assert verdict["best"] == best["title"]
    assert verdict["best_macro_f1"] == best["single"]["macro_f1"]
    assert verdict["ensembles"] == best["ensembles"]
    assert "These figures are means of single networks; the method’s ensemble" in shown(compared[1])


def test_what_could_have_been_found_is_said_where_nothing_was(compared):
    info = compared[2]
    row = next(r for r in info["comparison"]["tables"][0]["rows"] if r.get("state") == "undecided")
    d = row["difference"]
    assert row["detectable"] > (d["high"] - d["low"]) / 2
    assert f"A true difference of {info['synthetic_gain']['detectable']:.3f} or more would" in (
        shown(compared[1])
    )


def test_gain_and_retention_are_of_single_networks(compared):
    content, html, info = compared
    gain = info["synthetic_gain"]
    for row in gain["by_network"]:
        network = row["seed"], row["fold"]
        for name, networks in (
            ("with_synthetic", content.networks),
            ("without_synthetic", content.networks_without_synthetic),
        ):
            p = networks[network]
            assert row[name] == pytest.approx(macro(p.labels, p.probabilities))
    assert gain["difference"]["value"] == pytest.approx(
        np.mean([row["difference"] for row in gain["by_network"]])
    )
    assert gain["ensembles"]["with_synthetic"] == pytest.approx(
        info["results"]["overall"]["macro_f1"]["value"]
    )
    assert info["retention"]["networks"] == 5
    for row, cross in zip(info["retention"]["rows"], (False, True), strict=True):
        before = [
            np.mean((p.probabilities.argmax(1) == p.labels)[p.is_cross == cross])
            for p in content.networks_before_cross.values()
        ]
        assert row["before"] == pytest.approx(np.mean(before))
    assert "as single networks, and" in shown(html)


def test_out_of_fold_differences_are_widened_for_training_sets(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=(0,), folds=5)
    (run / "trials.csv").unlink()
    add_synthetic(run, dataset, skill=-1.0)
    content = read_run(without_test_part(run))
    info = report_info(content)
    gain = info.synthetic_gain
    own, other = (p["validation"][0] for p in (content.predictions, content.without_synthetic))
    named = [p.probabilities.argmax(1)[None] for p in (own, other)]
    wanted = macro_f1_difference(own.labels, *named, own.images["patient_id"], classes=4, folds=5)
    assert (gain.networks, gain.ensembles) == (5, None)
    assert gain.difference.value == pytest.approx(wanted.value)
    assert (gain.difference.low, gain.difference.high) == pytest.approx((wanted.low, wanted.high))
    assert info.verdict.synthetic.state == "raised"


def test_a_row_whose_networks_are_not_all_there_is_not_done(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=(0,), folds=5)
    add_comparison(run, dataset)
    (run / "rows/lenet5/predictions/networks/test-fold3-seed0.csv").unlink()
    _, info = read(run)
    waiting = [row["name"] for row in info["comparison"]["plan"] if not row["done"]]
    assert waiting == ["lenet5"]
    assert info["verdict"]["comparison"] == {"state": "running"}


# Figures and the rest


def test_the_ensemble_is_calibrated_as_an_exported_model_is(content):
    info = calibration_info(content)
    assert (info.ensemble, info.networks, info.validation_images) == (True, 10, 144)
    held_out = content.predictions["validation"]
    known = held_out[0].labels
    fitted_on = (held_out[0].probabilities + held_out[1].probabilities) / 2
    fitted = fit_temperature(known, fitted_on)
    temperature = ensemble_temperature(fitted, averaged=2, members=10)
    assert info.fitted_temperature == pytest.approx(fitted)
    assert info.temperature["mean"] == pytest.approx(temperature)
    assert temperature < fitted
    networks = content.networks.values()
    tested = np.mean([p.probabilities for p in networks], axis=0)
    labels = content.networks[0, 0].labels
    once = np.ones((len(labels), 1))
    for row, p in zip(info.rows, (tested, tempered(tested, temperature)), strict=True):
        assert row.ece.value == pytest.approx(calibration_error(labels, p, once)[0])
    assert [row.seed for row in info.by_seed] == [None]


def test_cases_are_of_the_first_network(compared):
    content, html, info = compared
    cases = info["cases"]
    assert (cases["seed"], cases["fold"], cases["networks"]) == (0, 0, 5)
    first = content.networks[0, 0]
    for case in (case for group in cases["groups"] for case in group["cases"]):
        (row,) = np.flatnonzero(first.images["image_id"] == case["image_id"])
        answers = [p.probabilities[row].argmax() for p in content.networks.values()]
        assert content.classes[answers[0]] == case["named"]
        assert case["wrong"] == sum(answer != first.labels[row] for answer in answers)
    assert "the first network (fold 0, seed 0)" in shown(html)


def test_each_network_has_a_line_in_the_colour_of_its_fold(compared):
    content, html, _ = compared
    training = report_info(content).training
    assert [(n.seed, n.fold) for n in training.networks] == [(0, fold) for fold in range(5)]
    chart = str(loss_chart(training))
    for fold in range(5):
        assert chart.count(f'class="line solid fold{fold}"') == 1
        assert chart.count(f'class="line dashed fold{fold}"') == 1
    assert "5 networks." in chart
    assert html.count('class="swatch fold4"') == 5
    many = [replace(training.networks[0], fold=fold) for fold in range(9)]
    assert "fold0" not in str(loss_chart(replace(training, networks=many)))


def test_trees_are_grouped_by_fold():
    stages = make_stages(trials=4, segments=4, folds=5)
    tree = stage_tree_info(stages)
    roots = [box for box in tree.boxes if box.follows is None]
    folds = [box.fold for box in roots]
    assert folds == sorted(folds)
    assert set(folds) == set(range(5))
    for box in tree.boxes:
        if box.follows is not None:
            assert tree.boxes[box.follows].fold == box.fold
    chart = tree_chart(tree)
    assert "classifier, fold 4, seed 0" in chart
    long = replace(tree.boxes[-1], users=["lenet5, seed 0, fold 4, without synthetic images"])
    wide = tree_chart(replace(tree, boxes=[*tree.boxes[:-1], long]))
    assert min(map(float, re.findall(r'<text class="tick" x="([.\d]+)" [^>]*>lenet5', wide))) < 700
    assert (tree.folds, tree.alone) == (5, None)


def test_where_there_is_no_room_for_all_folds_one_is_drawn():
    stages = make_stages(trials=60, segments=10, folds=5, spread=10)
    tree = stage_tree_info(stages)
    assert (tree.folds, tree.alone) == (5, 0)
    assert {box.fold for box in tree.boxes} == {0}
    assert {"dcgan", "classifier"} <= {box.role for box in tree.boxes}
    drawable = [s for s in stages if s.kind in ("dcgan", "srgan", "synthesis", "classifier")]
    assert tree.stages == len(drawable) == tree.drawn + tree.hidden
    assert tree.hidden == tree.hidden_roots + sum(box.hidden for box in tree.boxes)
    assert tree.rows <= MOST_ROWS


ASKED = [
    ("train", 5, "patient", ["--folds", "5", "--seeds", "2"]),
    ("train", 1, "patient", ["--folds", "1", "--seeds", "2"]),
    ("train", 3, "centre", ["--folds", "centre", "--seeds", "2"]),
    ("search", 5, "patient", ["--folds", "5", "--final-seeds", "2"]),
    ("search", 3, "centre", ["--folds", "centre", "--final-seeds", "2"]),
    ("compare", 5, "patient", ["--folds", "5", "--seeds", "2"]),
]


@pytest.mark.parametrize(("kind", "folds", "by", "words"), ASKED)
def test_the_commands_repeat_the_folds(content, tmp_path, monkeypatch, kind, folds, by, words):
    """The commands on the page are parsed as they are shown."""
    monkeypatch.chdir(tmp_path)
    base = {"split": {"folds": folds, "folds_by": by, "fold": 0}, "input": {"size": 32}}
    config = changed(
        content.config,
        command=kind,
        recipe__split__folds=folds,
        recipe__split__folds_by=by,
        search=stub_search(first_folds=2, base=base) if kind == "search" else None,
        comparison=stub_comparison(base=base) if kind == "compare" else None,
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text("{}")
    for typed in (command(config, "run"), training_command(config, "run")):
        asked, given = shlex.split(typed), {}
        module = importlib.import_module(f"thyroid.commands.{asked[1]}")

        def keep(*_, given=given, **named):
            given |= named

        own = functools.wraps(getattr(module, asked[1]))(keep)
        monkeypatch.setattr(module, asked[1], own)
        assert main(asked[1:]) == 0, typed
        pairs = list(itertools.pairwise(asked))
        if asked[1] == kind:
            for pair in zip(words[::2], words[1::2], strict=True):
                assert pair in pairs
        assert str(given["options"].folds) == (str(folds) if by == "patient" else "centre")
        assert "split.folds" not in typed


def test_a_chinese_page_of_folds_out_of_fold(tmp_path, dataset):
    run = without_test_part(make_run(tmp_path / "run", dataset, seeds=(0,), folds=5))
    assert "折外" in write_report(run, lang="zh").read_text()
