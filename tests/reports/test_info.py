"""The numbers behind the page, before anything is drawn."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from reports.page import p_value, points, signed
from reports.report import write_report
from reports.run import read_run
from reports.sections.data import centre_relation, data_info, dataset_info
from reports.sections.provenance import command, dotted_fields, training_command, without_folder
from reports.sections.results import results_info
from reports.sections.search import search_info
from reports.sections.training import training_info
from reports.sections.verdict import verdict_info
from reports.svg import Axis
from tests.reports.made_runs import make_run
from tests.reports.made_searches import make_trials
from tests.stub_config import changed
from thyroid.files import sha256_of
from thyroid.model.starting_point import FOLDER, file_name
from thyroid.run_files.trials_csv import write_trials


@pytest.fixture(scope="module")
def content(tmp_path_factory, dataset):
    return read_run(make_run(tmp_path_factory.mktemp("info") / "run1", dataset, trials=24))


def test_results_are_means_over_seeds(content):
    info = results_info(content)
    predictions = content.predictions["test"]
    wanted = [
        f1_score(p.labels, p.probabilities.argmax(1), average="macro") for p in predictions.values()
    ]
    assert [s.macro_f1 for s in info.by_network] == pytest.approx(wanted)
    assert info.overall.macro_f1.value == pytest.approx(np.mean(wanted))
    recall = np.mean(
        [
            recall_score(p.labels, p.probabilities.argmax(1), average=None)
            for p in predictions.values()
        ],
        0,
    )
    assert [c.recall.value for c in info.per_class] == pytest.approx(list(recall))
    for c in info.per_class:
        assert c.recall.low <= c.recall.value <= c.recall.high


def test_confusion_has_every_image_once_per_seed(content):
    info = results_info(content)
    counts = np.array(info.confusion.counts)
    assert counts.sum() == info.images * len(info.seeds)
    assert np.array(info.confusion.shares).sum(axis=1) == pytest.approx(np.ones(4))
    diagonal = np.diag(info.confusion.shares)
    assert [c.recall.value for c in info.per_class] == pytest.approx(list(diagonal))


def test_single_and_cross_images_are_apart(content):
    info = results_info(content)
    assert [s.name for s in info.subsets] == ["single", "cross"]
    assert sum(s.images for s in info.subsets) == info.images
    p = content.predictions["test"][0]
    assert info.subsets[1].images == p.is_cross.sum()
    by_seed = [
        np.mean((q.labels == q.probabilities.argmax(1))[p.is_cross])
        for q in content.predictions["test"].values()
    ]
    assert info.subsets[1].accuracy.value == pytest.approx(np.mean(by_seed))


def test_the_guess_names_the_most_frequent_class(content):
    info = results_info(content)
    labels = content.predictions["test"][0].labels
    often = np.bincount(labels).argmax()
    assert info.guess.name == content.classes[often]
    assert info.guess.accuracy == pytest.approx(np.mean(labels == often))


def test_data_are_counted_by_part(content):
    info = data_info(content)
    assert info.columns == ["train", "validation", "test"]
    assert [t["images"] for t in info.column_totals] == [108, 36, 36]
    assert sum(row.total for row in info.classes_table) == info.images == 180
    graves = next(row for row in info.classes_table if row.name == "graves")
    assert (graves.total, graves.patients) == (90, 45)
    assert {row.name: row.total for row in info.crosses} == {
        "graves;cold_nodule": 30,
        "graves;hot_nodule": 30,
    }
    assert ("colour", "warning", 5) in [(q.kind, q.severity, q.images) for q in info.quality]


def test_a_data_set_alone_is_counted_whole(dataset):
    info = dataset_info(dataset)
    assert info.columns == ["all"]
    assert info.column_totals == [{"images": 180, "patients": 90, "cross": 60}]


@pytest.mark.parametrize(
    ("centres", "relation"),
    [
        ({"A": [5, 1, 2]}, "one"),
        ({"A": [5, 1, 2], "B": [5, 1, 2]}, "same"),
        ({"A": [5, 1, 0], "B": [0, 0, 2]}, "other"),
        ({"A": [5, 1, 1], "B": [0, 0, 2]}, "mixed"),
        ({"unknown": [5, 1, 2]}, "none"),
        ({}, "none"),
    ],
)
def test_centre_relation(centres, relation):
    rows = [SimpleNamespace(name=name, images=images) for name, images in centres.items()]
    data = SimpleNamespace(columns=["train", "validation", "test"], centres=rows)
    assert centre_relation(data) == relation


def test_centre_relation_without_data_is_unknown():
    assert centre_relation(SimpleNamespace(columns=[])) == "unknown"


def test_training_has_a_curve_per_seed(content):
    info = training_info(content)
    assert [s.seed for s in info.networks] == [0, 1, 2]
    assert info.networks[0].epoch == list(range(1, 13))
    assert info.networks[0].last["train_loss"] == info.networks[0].train_loss[-1]


def test_warm_started_trials_are_shown_and_not_counted(run):
    trials = make_trials(24)
    first = next(trial.number for trial in trials if trial.state == "complete")
    trials[first] = replace(trials[first], reason="warm start from earlier trial 3")
    write_trials(run, trials)
    info = search_info(read_run(run))
    assert (info.ended, info.warm_started) == (23, 1)
    assert sum(info.states.values()) == 23
    assert len(info.history) == 24
    own = [trial.computed_stages for trial in trials if trial.number != first]
    assert info.computed_stages == sum(own)
    assert "further one came from earlier runs (warm start)" in write_report(run).read_text()


def test_search_history(content):
    info, trials = search_info(content), make_trials(24)
    best = max((t for t in trials if t.state == "complete"), key=lambda trial: trial.macro_f1)
    assert info.best.number == best.number
    assert info.history[-1].best_so_far == pytest.approx(best.macro_f1)
    values = [h.best_so_far for h in info.history if h.best_so_far is not None]
    assert values == sorted(values)
    assert sum(info.states.values()) == info.ended == 24
    assert info.warm_started == 0
    assert len(info.failed) == 1
    assert len(info.failed[0].numbers) == info.states["failed"]
    assert [t.macro_f1 for t in info.top] == sorted((t.macro_f1 for t in info.top), reverse=True)
    for t in info.top:
        active = "augmentation.thinning_floor" in t.parameters
        assert active == (t.parameters["augmentation.thinning"] > 0)
    assert info.needed_stages == sum(t.reused_stages + t.computed_stages for t in trials)


def verdict(content, **changes):
    data, results = data_info(content), results_info(content)
    config = changed(content.config, **changes)
    return verdict_info(config, data, results, search_info(content).parameters)


def test_verdict_names_what_to_be_careful_with(content, monkeypatch):
    found = verdict(content)
    assert found.state == "done"
    assert found.split == "same"
    assert found.cautions == ["few_networks", "few_images", "few_per_class", "same_centres"]
    assert found.weakest is found.strongest is None  # few images per class

    monkeypatch.setattr("reports.sections.verdict.ENOUGH_PER_CLASS", 1)
    found = verdict(content)
    by_f1 = sorted(results_info(content).per_class, key=lambda c: c.f1.value)
    assert found.weakest.name == by_f1[0].name
    assert found.strongest.name == by_f1[-1].name
    assert found.weakest.taken_for.name != by_f1[0].name


def test_verdict_of_a_centre_left_out(content):
    found = verdict(content, recipe__split__leave_out_centre="C")
    assert (found.split, found.centre) == ("left_out", "C")
    assert "same_centres" not in found.cautions


def test_verdict_of_simulated_or_unnamed_patients(content):
    data = replace(data_info(content), simulated_images=3, unnamed_patients=2)
    found = verdict_info(content.config, data, results_info(content), None)
    assert {"simulated", "unnamed_patients"} <= set(found.cautions)
    assert "own_simulator" not in found.cautions
    weights = sha256_of(FOLDER / file_name("resnet_small", "counts"))
    config = changed(content.config, recipe__network__weights=weights)
    assert "own_simulator" in verdict_info(config, data, results_info(content), None).cautions
    assert found.unnamed_patients == 2


def test_verdict_on_validation_images_says_so(content):
    content.predictions["test"], kept = {}, content.predictions["test"]
    try:
        found = verdict(content)
    finally:
        content.predictions["test"] = kept
    assert found.state == "validated"
    assert "validation_only" in found.cautions


def test_command_is_what_one_would_type(content):
    config = content.config
    assert command(config, "run1") == (
        "thyroid search synthetic4 run1 --space augmentation --trials 24 --first-folds 1 --seeds 1 "
        "--objectives macro_f1 --final-seeds 3 --seed 0 --grace-epochs 8 --reduction-factor 3.0 "
        "--input.size 32"
    )
    again = "thyroid train synthetic4 run1-again --recipe run1/recipe.json --seeds 3"
    assert training_command(config, "run1") == again
    assert command(replace(config, command="train", search=None), "run1") == again
    assert command(replace(config, command="demo"), "run1") == "thyroid demo --trials 24"


def test_command_names_the_weights_that_the_recipe_needs(content):
    recipe = {"srgan": {"vgg19": "0a1b"}}
    config = changed(content.config, recipe=recipe, search__base=recipe)
    for typed in (command(config, "run1"), training_command(config, "run1")):
        assert typed.endswith("--vgg19 vgg19.pth")


def test_paths_lose_their_folders():
    assert without_folder("/home/name/weights.safetensors") == "weights.safetensors"
    assert without_folder("C:\\Users\\name\\space.py") == "space.py"
    assert without_folder("augmentation") == "augmentation"
    assert without_folder(3) == 3


def test_flat_has_dotted_names():
    assert dotted_fields({"a": {"b": 1, "c": {"d": None}}, "e": 2}) == {
        "a.b": 1,
        "a.c.d": None,
        "e": 2,
    }


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.31, 0.87), (1, 12), (0, 0.001), (3, 2000)])
def test_ticks_are_round_and_inside(low, high):
    ticks = Axis(low=low, high=high, start=0, end=1).ticks()
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in ticks)
    steps = np.diff(ticks)
    assert steps == pytest.approx(np.full(len(steps), steps[0]))


def test_differences_have_their_sign_unless_they_round_to_zero():
    assert signed(-0.0124) == '<data value="-0.0124">−0.012</data>'
    assert signed(-0.0001) == '<data value="-0.0001">0.000</data>'
    assert points(0.0181) == '<data value="0.0181">+1.8</data>'


def test_tiny_p_values_are_no_zero():
    assert p_value(0.0321) == '<data value="0.0321">0.032</data>'
    assert p_value(0.0006) == '<data value="0.0006">0.0006</data>'
    assert p_value(5.7e-10) == '<data value="5.7e-10">5.7e−10</data>'
