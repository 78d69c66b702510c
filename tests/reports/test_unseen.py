"""A combination that was never seen, in the report: recall, differences, words."""

import numpy as np
import pytest

from reports.run import read_run
from reports.sections.results import results_info
from reports.sections.unseen import TITLES, unseen_info
from tests.reports.made_predictions import ROWS, add_comparison
from tests.reports.made_runs import make_run
from tests.reports.test_comparison import shown
from tests.reports.test_report import read
from tests.stub_config import with_config
from thyroid.recipe import RECIPES, override
from thyroid.run_files.predictions_csv import read_predictions, write_predictions
from thyroid.runs.unseen_recipes import unseen_rows

COMBINATION = "graves+cold_nodule"
GIVEN = {
    "method": ROWS["method"],
    "unseen-never": ("unseen", "never given", {}, (2.0, -1.0)),
    "unseen-superposed": ("unseen", "superposed", {}, (2.0, 2.0)),
    "unseen-eigen": ("unseen", "eigen-scintigrams", {}, (2.0, -1.0)),
    "unseen-real": ("unseen", "real images of it", {}, (2.0, 2.5)),
}


def add_unseen(run, dataset, rows=GIVEN, *, done=True):
    add_comparison(run, dataset, rows, done=done)
    with_config(run, comparison__unseen=COMBINATION)
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory, dataset):
    run = make_run(tmp_path_factory.mktemp("unseen") / "run", dataset, seeds=range(5))
    return add_unseen(run, dataset)


def recall(content, name, chosen):
    row = next(row for row in content.rows if row.name == name)
    right = [p.probabilities.argmax(1) == p.labels for p in row.predictions.values()]
    return np.mean([r[chosen].mean() for r in right])


def test_recall_is_of_the_combinations_test_images(folder):
    content = read_run(folder)
    info = unseen_info(content, results_info(content))
    images = content.predictions["test"][0].images
    chosen = (images["findings"] == "graves;cold_nodule").to_numpy()
    assert (info.combination, info.images) == ("graves;cold_nodule", int(chosen.sum()))
    assert info.patients == images["patient_id"][chosen].nunique()
    assert info.never.recall == pytest.approx(recall(content, "unseen-never", chosen))
    assert info.never.accuracy == pytest.approx(recall(content, "unseen-never", ~chosen))
    assert [row.name for row in info.given] == list(GIVEN)[2:]
    for row in info.given:
        assert row.recall == pytest.approx(recall(content, row.name, chosen))
        assert row.difference.value == pytest.approx(row.recall - info.never.recall)
        assert row.others.value == pytest.approx(row.accuracy - info.never.accuracy)
        assert row.detectable > 0
        assert row.difference.low <= row.difference.value <= row.difference.high
    raw = sorted(row.uncorrected_p_value for row in info.given)
    for row in info.given:
        p = row.uncorrected_p_value
        assert row.p_value == pytest.approx(
            min(1, max(q * (3 - raw.index(q)) for q in raw if q <= p))
        )
    assert [row.state for row in info.given] == ["higher", "undecided", "higher"]


def test_the_words(folder):
    html, info = read(folder)
    assert info["comparison"] is None
    text = shown(html).replace("\N{NO-BREAK SPACE}", " ")
    assert "Patients who show graves + cold nodule are in neither the training nor" in text
    assert "Superposed: recognised better than without, by +" in text
    assert "Eigen-scintigrams: no difference could be shown:" in text
    assert "points or more would have been shown in four of five such runs" in text


def test_few_networks_prove_nothing(tmp_path, dataset):
    run = add_unseen(make_run(tmp_path / "run", dataset), dataset)
    assert "open, as so few networks prove nothing; 5 are needed." in shown(read(run)[0])


def test_rows_wait_and_other_runs_have_no_such_section(tmp_path, dataset, run):
    waiting = add_unseen(make_run(tmp_path / "run", dataset), dataset, done=False)
    html, info = read(waiting)
    assert (info["unseen"]["waiting"], info["unseen"]["never"]) == (4, None)
    assert "4 of 4 rows have no predictions yet." in shown(html)
    html, info = read(run)
    assert info["unseen"] is None
    assert 'id="unseen"' not in html


def test_a_triple_that_contains_the_pair_counts(tmp_path, dataset):
    run = add_unseen(make_run(tmp_path / "run", dataset, seeds=range(5)), dataset)
    for path in run.rglob("test-*.csv"):
        found = read_predictions(path, dataset.info.classes)
        found.images["findings"] = found.images["findings"].replace(
            "graves;hot_nodule", "graves;hot_nodule;cold_nodule"
        )
        write_predictions(path, found)
    content = read_run(run)
    info = unseen_info(content, results_info(content))
    shows = content.predictions["test"][0].images["findings"].str.startswith("graves;")
    assert info.images == shows.sum()


def test_titles_are_translated():
    recipe = override(RECIPES["paper"](), {"execution.precision": "fp32"})
    assert {row.title for row in unseen_rows(recipe, COMBINATION, ())} == set(TITLES)
