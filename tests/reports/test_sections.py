"""The list of sections: their files, their numbers, and when they are shown."""

from dataclasses import replace
from pathlib import Path

import pytest

from reports.report import OPTIONAL, TITLES, contents, report_info
from reports.run import read_run

SECTIONS = Path(__file__).parents[2] / "reports" / "sections"


def test_a_section_has_a_template_and_one_with_numbers_a_module_and_a_place_in_the_json(run):
    info = vars(report_info(read_run(run)))
    for name in TITLES:
        assert (SECTIONS / f"{name}.html").is_file()
        assert (SECTIONS / f"{name}.py").is_file() == (name in info)
    modules = {path.stem for path in SECTIONS.glob("*.py")} - {"__init__"}
    assert set(info) - {"format_version"} <= modules


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_section_is_left_out_where_it_has_nothing_to_show(run, name):
    report = replace(report_info(read_run(run)), **dict.fromkeys(OPTIONAL, "something"))
    assert [found for found, _title in contents(report)] == list(TITLES)
    names = [found for found, _title in contents(replace(report, **{name: None}))]
    assert names == [each for each in TITLES if each != name]
