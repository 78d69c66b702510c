"""A section of one's own is a module and its template in one folder, entered nowhere."""

import json
import subprocess
import sys

import pytest

from reports.report import ALONE, contents, report_info
from reports.run import read_run
from tests.reports.test_report import Page

MODULE = """
from reports.language import later

TITLE = later("Patients of each part")
AFTER = "cases"


def info(run):
    return {"seeds": len(run.predictions[run.part])}


def pictures(run):
    return "a picture of <it>"
"""
TEMPLATE = (
    "<p>{{ plural(own_section.seeds, '%(num)s seed', '%(num)s seeds') }},"
    " {{ pictures.own_section }}</p>"
)


def test_a_section_of_ones_own_takes_a_module_and_its_template(run, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "own_section.py").write_text(MODULE)
    (own / "own_section.html").write_text(TEMPLATE)
    code = f"""
import reports.sections
reports.sections.__path__.append({str(own)!r})
from reports.report import write_report
write_report({str(run)!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    html = (run / "report.html").read_text()
    info = json.loads((run / "report.json").read_text())
    assert info["own_section"] == {"seeds": len(info["results"]["by_seed"])}
    assert '<a href="#own_section">Patients of each part</a>' in html
    assert ", a picture of &lt;it&gt;" in html
    ids = [about["id"] for tag, about in Page(html).tags if tag == "section"]
    assert ids.index("own_section") == ids.index("cases") + 1


@pytest.mark.parametrize("name", sorted(ALONE))
def test_a_section_has_its_place_where_it_has_something_to_show(run, name):
    info = report_info(read_run(run)) | {each: {} for each in ALONE}
    names = [found for found, _title in contents(info)]
    assert names.index(name) > names.index(ALONE[name].AFTER)
    assert name not in [found for found, _title in contents(info | {name: None})]
    assert len(names) == len(set(names))
