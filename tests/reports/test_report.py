"""The page: numbers, guarantees (self-contained, escaped, the same bytes), missing parts."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports.report import write_report
from tests.reports.made_runs import make_dataset, make_run
from tests.stub_config import with_config
from thyroid.errors import InputError


class Page(HTMLParser):
    """Text, numbers, tags and attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "wbr", "path", "circle"):
            self.inside.append(tag)
        if tag == "data":
            self.data.append((dict(attrs)["value"], ""))

    def handle_endtag(self, tag):
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass

    def handle_data(self, text):
        if "data" in self.inside:
            value, shown = self.data[-1]
            self.data[-1] = (value, shown + text)
        elif not {"svg", "style", "script"} & set(self.inside):
            self.text.append(text)


def leaves(tree):
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key
            yield from leaves(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from leaves(value)
    else:
        yield tree


def read(run: Path) -> tuple[str, dict]:
    out = write_report(run)
    return out.read_text(), json.loads(out.with_suffix(".json").read_text())


@pytest.fixture(params=["run", "synthetic_run", "compared_run", "shared_run", "folded_run"])
def any_run(request) -> Path:
    return request.getfixturevalue(request.param)


def test_every_number_of_the_page_is_in_the_json(any_run):
    html, info = read(any_run)
    page, known = Page(html), list(leaves(info))
    numbers = {json.dumps(n) for n in known if isinstance(n, int | float)}
    assert len(page.data) > 150
    for value, shown in page.data:
        assert value in numbers, (value, shown)
        figure = shown.replace(",", "").replace("−", "-")
        digits = len(figure.partition(".")[2])
        scaled = (float(value), 100 * float(value))
        ok = any(abs(float(figure) - v) <= 0.5000001 * 10**-digits for v in scaled)
        assert ok or f"{float(value):.4g}" == figure, (value, shown)


def test_no_number_stands_outside_such_an_element(any_run):
    html, info = read(any_run)
    page = Page(html)
    named = [s for s in leaves(info) if isinstance(s, str)]
    texts = " ".join([*named, *(s.replace("_", " ") for s in named)])
    texts += " Macro-F1 macro-F1 F1"
    for text in page.text:
        for word in re.findall(r"\S*\d\S*", text):
            assert word.strip("(),.;:·?†") in texts, (word, text)


def test_sentences_do_not_run_into_each_other(any_run):
    html, _ = read(any_run)
    for paragraph in re.findall(r"<p.*?</p>|<li.*?</li>", html, re.S):
        words = re.sub(r"<[^>]+>", "", paragraph)
        assert not re.search(r"[\w)%][.;:][A-Z][a-z]", words), words


def test_sections_in_the_order_of_a_paper(run):
    html, _ = read(run)
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", html)
    assert titles == [
        "Verdict",
        "Results on test images",
        "Training",
        "Search",
        "Cases",
        "Data",
        "How to reproduce",
        "Limits",
    ]
    assert html.index("Not for clinical use") < html.index("<h2")
    assert "not yet" not in html.lower()
    assert html.count('class="pending"') == 1  # importance, of eight trials


def test_same_run_same_bytes(any_run, tmp_path):
    html, _ = read(any_run)
    numbers = (any_run / "report.json").read_bytes()
    code = f"from reports.report import write_report; write_report({str(any_run)!r})"
    (any_run / "report.html").unlink()
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONHASHSEED": "7"})
    assert (any_run / "report.html").read_text() == html
    assert (any_run / "report.json").read_bytes() == numbers
    elsewhere = write_report(any_run, tmp_path / "new" / "page.html")
    assert elsewhere.read_text() == html
    assert (tmp_path / "new" / "page.json").read_bytes() == numbers


def test_nothing_is_loaded_and_nothing_runs(any_run):
    html, _ = read(any_run)
    page = Page(html)
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert script == (Path(__file__).parents[2] / "reports/templates/page.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in html
    for tag, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs), (tag, attrs)
        for name in ("src", "href"):
            assert (attrs.get(name) or "#").startswith(("data:", "#")), (tag, attrs)
    assert "default-src 'none'" in html


def test_images_have_alternatives_and_tables_have_headings(run):
    html, _ = read(run)
    page = Page(html)
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    charts = [attrs for tag, attrs in page.tags if tag == "svg"]
    # three for each of four classes and two crosses; four cases, and over each its map
    assert len(images) == 18 + 4 * 3
    assert len(charts) >= 9
    assert [attrs["alt"] for attrs in images].count("") == 4  # scintigrams that lie under a map
    assert all(attrs["aria-label"] and attrs["role"] == "img" for attrs in charts)
    assert html.count("<table") == html.count("<thead>")
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")
    assert html.count("<h1") == 1


def test_ids_are_unique_and_links_find_them(any_run):
    html, _ = read(any_run)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)


EVIL = ("<script>alert(1)</script>", "say \"x\" & 'y'", "</style><img src=x onerror=alert(1)>")


def test_text_from_outside_is_escaped(tmp_path):
    folder = tmp_path / "run '\"><script>alert(2)</script>".replace("/", "")
    dataset = make_dataset(tmp_path / "evil", EVIL, (";".join(EVIL[:2]),), per_group=12)
    make_run(folder, dataset)
    with_config(
        folder,
        machine__cpu="<b onclick=x>cpu</b>",
        dataset__source="<i>source</i>",
        search__space="</code><script>alert(3)</script>",
    )
    trials = (folder / "trials.csv").read_text()
    (folder / "trials.csv").write_text(trials.replace("out of memory", "<script>alert(4)</script>"))
    page = Page(write_report(folder).read_text())
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 1  # the page's own
    assert not {"b", "i"} & set(tags)
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert any(EVIL[0] in text for text in page.text)
    assert all((attrs.get("src") or "data:").startswith("data:") for _, attrs in page.tags)


MISSING = [
    ("trials.csv", "No trial has ended yet"),
    ("metrics.jsonl", "No epoch of the final model has ended yet"),
    ("predictions", "There are no predictions yet"),
    ("split.csv", ""),
]


@pytest.mark.parametrize(("name", "words"), MISSING)
def test_a_run_at_work_has_a_report(run, name, words):
    target = run / name
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    html, _ = read(run)
    assert words in html


def test_a_run_that_has_only_begun_has_a_report(run):
    for name, _ in MISSING:
        shutil.rmtree(run / name, ignore_errors=True)
        (run / name).unlink(missing_ok=True)
    html, info = read(run)
    assert info["verdict"]["state"] == "running"
    assert "no verdict" in html
    assert html.count('class="pending"') == 3


def test_without_the_data_set_the_section_says_so(run):
    with_config(run, dataset__folder="gone/away")
    html, info = read(run)
    assert "no longer in the folder where the run used it" in html
    assert "Training scintigram" not in html
    assert info["data"]["images"] == 180


def test_a_data_set_that_changed_is_not_shown(run):
    with_config(run, dataset__digest="of another data set")
    html, _ = read(run)
    assert "has changed since this run" in html
    assert "Training scintigram" not in html


def test_display_scaled_pictures_are_named_as_such(tmp_path):
    dataset = make_dataset(tmp_path / "pictures", kind="display")
    html, info = read(make_run(tmp_path / "run", dataset))
    assert "display-scaled pictures" in html
    assert "display" in info["verdict"]["cautions"]


def test_a_training_run_has_no_search_section(run):
    with_config(run, command="train", search=None)
    (run / "trials.csv").unlink()
    html, info = read(run)
    assert 'id="search"' not in html
    assert info["search"] is None
    assert "The run as a whole" not in html
    assert "thyroid train synthetic4 run1-again --recipe run1/recipe.json --seeds 3" in html


def test_no_path_of_this_machine_is_in_the_report(any_run, dataset):
    html, info = read(any_run)
    for secret in (str(dataset.folder.parent), str(any_run.parent)):
        assert secret not in html
        assert secret not in json.dumps(info)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", None, "is not a run (it has no config.json)"),
        ("config.json", "{", "config.json cannot be read"),
        ("config.json", '{"dataset": {}}', "config.json cannot be read"),
        ("metrics.jsonl", "not json\n{}\n", "metrics.jsonl, line 1"),
        ("trials.csv", "number,state\n0,complete\n", "no column 'macro_f1'"),
        ("split.csv", "image,part\na,train\n", "split.csv is not a table"),
        ("stages.json", "{", "stages.json is damaged: run the command that made it again."),
        ("usage.json", "{}", "usage.json is damaged"),
        ("predictions/test-seed0.csv", "image_id\n", "no column 'patient_id'"),
    ],
)
def test_a_damaged_run_is_one_sentence(run, name, content, words):
    path = run / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=re.escape(words)):
        write_report(run)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("kind", "names", "words"),
    [
        ("run", "predictions/test-seed1.csv", "test images of seeds 0 and 1 differ"),
        (
            "synthetic_run",
            "predictions/without-synthetic/test-*.csv",
            "with and without synthetic training images differ",
        ),
        (
            "compared_run",
            "predictions/before-cross/test-*.csv",
            "before and after the cross phase differ",
        ),
        ("compared_run", "rows/lenet5/**/*.csv", "lenet5: its test images and the method's differ"),
        ("folded_run", "predictions/networks/*.csv", r"are not those of test-seed0\.csv"),
    ],
)
def test_predictions_of_other_images_are_refused(request, kind, names, words):
    run = request.getfixturevalue(kind)
    for path in run.glob(names):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=words):
        write_report(run)
    assert not (run / "report.html").exists()


def test_a_page_that_cannot_be_written_is_one_sentence(run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="Cannot write"):
        write_report(run, tmp_path / "file" / "report.html")
    with pytest.raises(InputError, match=r"choose one ending in \.html"):
        write_report(run, tmp_path / "report.json")
    assert not list(run.glob(".report*"))


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "paper"),
    [(t, p) for t in ("ink", "soft", "accent", "second") for p in ("paper", "raised")]
    + [("caution", "caution-paper"), ("ink", "caution-paper"), ("ink", "tint")],
)
def test_contrast_is_at_least_four_and_a_half(scheme, text, paper):
    """WCAG 2.2, 1.4.3: (L1 + 0.05) / (L2 + 0.05)."""
    css = (Path(__file__).parents[2] / "reports/templates/page.css").read_text()
    colours = [
        luminance(re.findall(rf"--{name}: (#\w{{6}})", css)[scheme]) for name in (text, paper)
    ]
    assert (max(colours) + 0.05) / (min(colours) + 0.05) >= 4.5
