"""The section of cases: predictions of the models, and pictures laid over each other."""

import json
import re

import numpy as np
import pytest

from reports.report import write_report
from reports.run import read_run
from reports.sections.cases import case_pictures
from thyroid.errors import InputError
from thyroid.run_files.predictions_csv import read_predictions


def read(run):
    out = write_report(run)
    return out.read_text(), json.loads(out.with_suffix(".json").read_text())


def test_each_case_is_told_with_all_seeds_answers(run):
    _, info = read(run)
    cases = info["cases"]
    assert (cases["part"], cases["seed"], cases["networks"]) == ("test", 0, 3)
    assert [group["why"] for group in cases["groups"]] == ["error", "uncertain"]
    classes = tuple(info["data"]["classes"])
    folder = run / "predictions"
    answers = [read_predictions(folder / f"test-seed{s}.csv", classes) for s in range(3)]
    for case in (case for group in cases["groups"] for case in group["cases"]):
        (row,) = np.flatnonzero(answers[0].images["image_id"] == case["image_id"])
        wrong = [p.probabilities[row].argmax() != p.labels[row] for p in answers]
        assert case["wrong"] == sum(wrong)
        assert wrong[0] == (case["named"] != case["label"])
        assert case["likeliest"][0]["name"] == case["named"]
        values = [one["value"] for one in case["likeliest"]]
        assert values == sorted(values, reverse=True)
        assert 0 < case["faded"] < 1


def test_pictures_are_there_for_each_case_and_no_patient_is_named(run):
    html, info = read(run)
    cases = [case for group in info["cases"]["groups"] for case in group["cases"]]
    assert set(case_pictures(read_run(run))) == {case["image_id"] for case in cases}
    section = html[html.index('id="cases"') : html.index('id="data"')]
    assert section.count("<img") == 3 * len(cases)
    assert not re.search(r"\bp\d{5}\b", section)


def test_a_run_without_cases_says_so(run):
    for file in (run / "cases").iterdir():
        file.unlink()
    html, info = read(run)
    assert info["cases"]["state"] == "missing"
    assert "This run has no maps of where its network looked" in html


@pytest.mark.parametrize("broken", ["cases.json", "heat.npy", "images.npy"])
def test_a_damaged_folder_is_one_sentence(run, broken):
    if broken == "heat.npy":
        np.save(run / "cases" / broken, np.array([{"object": 1}], dtype=object))
    else:
        (run / "cases" / broken).write_bytes(b"{")
    with pytest.raises(InputError, match="cases is damaged"):
        write_report(run)


def test_an_image_that_is_no_more_is_told_without_the_other_seeds(run):
    path = run / "cases" / "cases.json"
    path.write_text(path.read_text().replace('"image_id": "im', '"image_id": "of another run '))
    _, info = read(run)
    assert {c["wrong"] for g in info["cases"]["groups"] for c in g["cases"]} == {None}
