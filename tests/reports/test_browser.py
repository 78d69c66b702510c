"""The pages in Chromium: opened from disk, used by mouse, keyboard and screen reader.

`make test-browser`; it needs Debian's chromium (or another, at $CHROMIUM).
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.inspect_page import write_inspection
from reports.report import write_report
from tests.data.make_dicom import save_nm
from tests.reports import conftest as made
from tests.short_trainings import MIXED, cross_data
from thyroid.data.dataset import Dataset

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

WIDTHS = (390, 1440)
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    place = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert place, "No Chromium is here: apt-get install chromium, or name one in $CHROMIUM."
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=place, args=["--no-sandbox"])
        yield opened
        opened.close()


def thyroid(*words: str) -> None:
    """Run a command in a separate process, because the browser's event loop runs in this one."""
    command = [sys.executable, "-m", "thyroid.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of each kind of run, in both languages where it matters, and the other pages.

    `searched` is a real, small run; the others are made of random numbers.
    """
    folder = tmp_path_factory.mktemp("pages")
    data = cross_data(folder / "toy")
    run = folder / "searched"
    command = ["search", str(data), str(run), "--space", "joint", "--trials", "4"]
    command += ["--final-seeds", "2", "--max-seeds", "1", "--grace-epochs", "1", *MIXED]
    thyroid(*command)
    thyroid("report", str(run), "--lang", "zh")

    thyroid("export", str(run), str(folder / "model"))
    named = folder / "im'age\" <img src=x onerror=alert(5)>.dcm"
    save_nm(named, Dataset.open(data).counts[3], PixelSpacing=[2.0, 2.0])
    explained = ["--out", str(folder / "p.csv"), "--explain", str(folder / "explained.html")]
    thyroid("predict", str(folder / "model"), str(named), *explained)

    dataset = made.make_dataset(folder / "made")
    full = made.make_run(folder / "full", dataset, seeds=range(5), trials=200)
    made.add_synthetic(full, dataset)
    made.add_objectives(full, "macro_f1", "cross_recall", "compute", raced=3)
    made.add_stages(full, trials=24, segments=6, found=("dcgan",))
    compared = made.make_run(folder / "compared", dataset, seeds=(0,), folds=5)
    made.add_synthetic(made.add_cross_phase(compared, dataset), dataset)
    made.add_comparison(compared, dataset)
    made.add_stages(compared, trials=1, folds=5)
    begun = made.make_run(folder / "begun", dataset)
    for name in ("trials.csv", "metrics.jsonl", "split.csv"):
        (begun / name).unlink()
    shutil.rmtree(begun / "predictions")
    return {
        "searched": run / "report.html",
        "searched, Chinese": run / "report.zh.html",
        "full": write_report(full),
        "full, Chinese": write_report(full, lang="zh"),
        "compared": write_report(compared),
        "compared, Chinese": write_report(compared, lang="zh"),
        "begun": write_report(begun),
        "explained": folder / "explained.html",
        "inspection": write_inspection(dataset, folder / "inspection.html"),
        "inspection, Chinese": write_inspection(dataset, folder / "inspection.zh.html", "zh"),
    }


NAMES = (
    "searched",
    "searched, Chinese",
    "full",
    "full, Chinese",
    "compared",
    "compared, Chinese",
    "begun",
    "explained",
    "inspection",
    "inspection, Chinese",
)


class Opened:
    """A page in a new context, with all its messages and requests."""

    def __init__(self, browser, path: Path, width: int = 1440, **context) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_opens_from_disk_without_a_word_or_a_request(browser, pages, name):
    with Opened(browser, pages[name]) as opened:
        opened.page.wait_for_load_state("load")
        assert opened.said == []
        foreign = [url for url in opened.asked if not url.startswith("data:")]
        assert foreign == [pages[name].as_uri()]
        broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
        assert opened.page.evaluate(broken) == 0


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_its_window(browser, pages, name, width):
    with Opened(browser, pages[name], width) as opened:
        opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        over = opened.page.evaluate(
            "[...document.querySelectorAll('body *')].filter(e => !e.closest('.table, svg') &&"
            " e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90))"
        )
        assert over == []
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_no_serious_fault(browser, pages, name, scheme):
    from axe_playwright_python.sync_playwright import Axe

    with Opened(browser, pages[name], color_scheme=scheme, bypass_csp=True) as opened:
        opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        found = Axe().run(opened.page).response
        assert len(found["passes"]) > 10
        faults = [
            (fault["id"], fault["help"], [node["html"][:120] for node in fault["nodes"][:3]])
            for fault in found["violations"]
            if fault["impact"] in SERIOUS
        ]
        assert faults == []


def test_every_section_is_there_and_can_be_reached_from_the_contents(browser, pages):
    expected = ["verdict", "results", "training", "generators", "search"]
    expected += ["sharing", "usage", "cases", "data", "provenance", "limits"]
    for name in ("searched", "searched, Chinese"):
        with Opened(browser, pages[name]) as opened:
            ids = opened.page.evaluate("[...document.querySelectorAll('section')].map(s => s.id)")
            assert [id_ for id_ in ids if id_ != "claims"] == expected
            for id_ in ids:
                opened.page.click(f"nav a[href='#{id_}']")
                assert opened.page.evaluate("location.hash") == f"#{id_}"
                assert opened.page.locator(f"#{id_} h2").first.is_visible()
            shown = opened.page.locator("#cases img")
            assert shown.count() >= 2


def test_without_scripts_all_of_it_can_be_read(browser, pages):
    texts = []
    for scripted in (True, False):
        with Opened(browser, pages["full"], java_script_enabled=scripted) as opened:
            texts.append(opened.page.locator("main").inner_text())
    assert len(texts[1]) > 5000
    assert texts[0] == texts[1]


def column(table, i: int) -> list[float]:
    cells = table.locator(f"tbody tr td:nth-child({i}) > data:first-child")
    return [float(value) for value in cells.evaluate_all("all => all.map(d => d.value)")]


def test_tables_sort_by_a_heading_with_mouse_and_keyboard(browser, pages):
    with Opened(browser, pages["full"]) as opened:
        table = opened.page.locator("#results table.sortable").first
        heading = table.locator("thead th").nth(2)
        before = column(table, 3)
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == "descending"
        assert column(table, 3) == sorted(before, reverse=True) != before
        heading.locator("button").press("Enter")
        assert heading.get_attribute("aria-sort") == "ascending"
        assert column(table, 3) == sorted(before)
        name = table.locator("thead th").first
        name.locator("button").click()
        assert heading.get_attribute("aria-sort") is None
        names = table.locator("tbody th").all_inner_texts()
        assert names == sorted(names, key=str.lower, reverse=True)
        assert opened.said == []


def test_what_is_of_one_trial_lights_up_together(browser, pages):
    with Opened(browser, pages["full"]) as opened:
        row = opened.page.locator("#search tbody tr[data-trial]").first
        trial = row.get_attribute("data-trial")
        row.hover()
        lit = opened.page.locator(".lit")
        numbers = set(lit.evaluate_all("all => all.map(e => e.dataset.trial)"))
        assert numbers == {trial}
        assert opened.page.locator("svg .lit").count() >= 2
        opened.page.mouse.move(0, 0)
        assert lit.count() == 0


def test_it_prints_to_sensible_pages(browser, pages):
    from pypdf import PdfReader

    for name in ("full", "searched, Chinese"):
        with Opened(browser, pages[name]) as opened:
            pdf = opened.page.pdf(format="A4", margin={"top": "15mm", "bottom": "15mm"})
        printed = PdfReader(io.BytesIO(pdf)).pages
        assert 5 <= len(printed) <= 40
        texts = [page.extract_text() for page in printed]
        shown = zip(texts, printed, strict=True)
        assert all(len(text.strip()) > 20 or page.images for text, page in shown)
        words = ("Verdict", "Not for clinical use") if name == "full" else ("结论",)
        for word in words:
            assert word in texts[0]


EVIL = ("<script>alert(1)</script>", "say \"x\" & 'y'", "</style><img src=x onerror=alert(1)>")


def test_text_from_outside_does_no_harm(browser, tmp_path):
    dataset = made.make_dataset(tmp_path / "evil", EVIL, (";".join(EVIL[:2]),), per_group=12)
    run = made.make_run(tmp_path / "run '\"><script>alert(2)<\\", dataset)
    made.add_stages(run, trials=24, segments=3)
    trials = (run / "trials.csv").read_text()
    (run / "trials.csv").write_text(trials.replace("out of memory", "<script>alert(4)</script>"))
    written = [write_report(run, lang=lang) for lang in ("en", "zh")]
    written.append(write_inspection(dataset, tmp_path / "in'sp\"ect.html"))
    for page in written:
        with Opened(browser, page) as opened:
            assert opened.said == []
            assert opened.page.locator("script").count() == 1
            assert opened.page.get_by_text(EVIL[0]).count() > 0


def test_even_a_script_that_slipped_in_would_not_run(browser, pages, tmp_path):
    html = pages["begun"].read_text()
    page = tmp_path / "page.html"
    page.write_text(
        html.replace("</main>", "<script>alert(1)</script><img src=x onerror=alert(2)>")
    )
    with Opened(browser, page) as opened:
        assert not {"1", "2"} & set(opened.said)
        assert any("Content Security Policy" in text for text in opened.said)
