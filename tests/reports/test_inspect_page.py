"""The inspection of a data set: the same numbers for the terminal and for the page."""

import json
from dataclasses import asdict

from reports.inspect_page import DOUBTFUL, inspection_lines, write_inspection
from reports.sections.data import dataset_info
from tests.reports.made_runs import make_dataset
from tests.reports.test_comparison import shown


def test_lines_for_the_terminal(dataset):
    lines = inspection_lines(dataset)
    assert lines[0] == "synthetic 4: 180 images of 90 patients, counts, 32 x 32 pixels of 2 mm"
    table = [line.split() for line in lines]
    assert ["graves", "90", "45"] in table
    assert ["graves", "+", "hot", "nodule", "30", "15"] in table
    assert any(row[:1] == ["A"] for row in table)
    assert any(line.startswith("  warning: 5 of 180 images: a coloured") for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_page_holds_the_numbers_and_a_sheet(dataset, tmp_path):
    out = write_inspection(dataset, tmp_path / "page.html")
    html = out.read_text()
    data = json.loads(out.with_suffix(".json").read_text())["data"]
    assert data == asdict(dataset_info(dataset))
    assert html.count("<img") == 36 + 5  # of the flag colour
    assert "colour: a coloured picture, reduced to its brightness" in html
    assert "Not for clinical use" in html
    assert "http:" not in html
    assert str(tmp_path) not in html
    assert write_inspection(dataset, tmp_path / "again.html").read_text() == html


def test_simulated_images_are_named(dataset, tmp_path):
    assert not any("simulated" in line for line in inspection_lines(dataset))
    made = make_dataset(tmp_path / "data", per_group=4)
    made.images["flags"] = ["simulated"] * 3 + [""] * (len(made) - 3)
    assert inspection_lines(made)[1] == "simulated: 3 images, by what their files say"
    page = write_inspection(made, tmp_path / "page.html").read_text()
    assert "; 3 images are simulated" in shown(page)


def test_doubtful_images_have_a_sheet_of_their_own(dataset, tmp_path):
    doubtful = dataset.images["image_id"].iloc[[3, 170]].tolist()
    html = write_inspection(dataset, tmp_path / "page.html", doubtful=doubtful).read_text()
    assert html.count("<img") == 36 + 5 + 2
    assert DOUBTFUL in html


def test_display_pictures_have_no_counts(tmp_path):
    dataset = make_dataset(tmp_path / "display", kind="display")
    lines = inspection_lines(dataset)
    assert lines[0].endswith("display, 32 x 32 pixels of unknown size")
    assert not any("counts per image" in line for line in lines)
    assert "unknown size" in write_inspection(dataset, tmp_path / "page.html").read_text()


def test_a_class_named_as_a_script_does_nothing(tmp_path):
    dataset = make_dataset(tmp_path / "evil", ("<script>alert(1)</script>", "b"), (), per_group=4)
    html = write_inspection(dataset, tmp_path / "page.html").read_text()
    assert html.count("<script") == 1  # the page's own
    assert "&lt;script&gt;" in html
