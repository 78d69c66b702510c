"""Images that were used to choose among recipes do not show which of two things is better."""

import json

import pytest

from reports.report import write_report
from reports.run import read_run
from reports.sections.verdict import verdict_line
from tests.reports.made_predictions import ROWS, add_comparison
from tests.reports.made_runs import add_cross_phase, add_synthetic, make_run
from tests.reports.test_comparison import shown
from tests.reports.test_report import read
from tests.stub_config import with_config


@pytest.fixture
def untested(tmp_path, dataset):
    """A run without a test part, whose method is clearly better than everything with which it is
    compared.
    """
    run = make_run(tmp_path / "run", dataset, seeds=range(5), trials=24)
    add_cross_phase(add_synthetic(run, dataset, skill=-2.0), dataset, skill=(-9.0, -9.0))
    for path in (run / "predictions").rglob("test-*.csv"):
        path.unlink()
    return run


def compared(run, dataset, method=0, baseline=0):
    """The same run as a comparison, with a number of recipes tried for each row."""
    rows = {name: row for name, row in ROWS.items() if name in ("method", "lenet5", "mixed")}
    add_comparison(run, dataset, rows, parts=("validation",))
    content = json.loads((run / "rows.json").read_text())
    for row in content["rows"]:
        row["trials"] = {"method": method, "baseline": baseline}.get(row["kind"], 0)
    (run / "rows.json").write_text(json.dumps(content))
    return run


def set_searched(run, number):
    with_config(run, search=None, searched=number)


BOASTS = ("raised the macro-F1", "beats every", "own part helped", "shown to help", ": shown")


def test_a_search_without_a_test_part_has_no_verdict_on_synthetic_images(untested):
    html, info = read(untested)
    assert read_run(untested).tried == 24
    assert info["synthetic_gain"]["difference"]["low"] > 0
    assert info["verdict"]["synthetic"]["state"] == "selected"
    assert {info["claims"][name]["state"] for name in ("enlarged", "kept")} == {"open"}
    text = shown(html)
    assert "It is open whether synthetic images helped" in text
    assert "these images were used to choose among 24 recipes, and part of the lead of" in text
    assert "so part of the changes is chance" in text
    assert not [boast for boast in BOASTS if boast in text]
    assert (
        ", which is open because these images were used to choose among 24 recipes"
        in verdict_line(info["verdict"])
    )
    assert "合成图像是否有帮助尚无定论" in write_report(untested, lang="zh").read_text()


def test_images_that_chose_nothing_do_say(untested):
    (untested / "trials.csv").unlink()
    _, info = read(untested)
    assert read_run(untested).tried == 1
    assert info["verdict"]["synthetic"]["state"] == "raised"
    assert info["claims"]["kept"]["state"] == "yes"


def test_a_recipe_that_an_earlier_run_chose_by_them_is_chosen_by_them(untested):
    (untested / "trials.csv").unlink()
    set_searched(untested, 16)
    _, info = read(untested)
    assert info["results"]["chance"]["tried"] == 16
    assert info["verdict"]["synthetic"]["state"] == "selected"


@pytest.mark.parametrize(("method", "baseline"), [(16, 0), (3, 3), (1, 3)])
def test_a_comparison_without_a_test_part_has_no_verdict_where_recipes_were_chosen(
    untested, dataset, method, baseline
):
    html, info = read(compared(untested, dataset, method, baseline))
    tables = {table["kind"]: table["rows"][1] for table in info["comparison"]["tables"]}
    assert tables["baseline"]["difference"]["low"] > 0
    verdict = info["verdict"]["comparison"]
    assert (verdict["state"], verdict["beaten"]) == ("selected", 0)
    assert tables["baseline"]["state"] == "selected"
    assert tables["ablation"]["state"] == ("selected" if method > 1 else "higher")
    assert info["claims"]["better"]["state"] == "open"
    text = shown(html)
    assert "It is open whether the method is better than other networks" in text
    assert not [boast for boast in ("beats every", "it beats") if boast in text]
    assert ("open, as these images were also used to choose the method’s recipe." in text) == (
        method > 1
    )
    assert (
        "; open, because these images were used to choose recipes: the difference to the best"
        in (verdict_line(info["verdict"]))
    )


def test_a_comparison_of_recipes_as_given_has_its_verdict(untested, dataset):
    info = read(compared(untested, dataset))[1]
    assert info["verdict"]["comparison"]["state"] == "higher"


def test_test_images_choose_nothing(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=range(5), trials=24)
    add_synthetic(run, dataset, skill=-2.0)
    set_searched(run, 16)
    assert read_run(run).tried == 1
    assert read(run)[1]["verdict"]["synthetic"]["state"] == "raised"
