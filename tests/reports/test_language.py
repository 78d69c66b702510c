"""Chinese pages: every text has a translation with the same numbers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from reports.language import gettext, later, ngettext, written_in
from reports.page import environment, plain_name
from reports.report import write_report
from tests.reports.test_report import Page

REPORTS = Path(__file__).parents[2] / "reports"
KEYWORDS = {"_": None, "gettext": None, "later": None, "ngettext": (1, 2), "plural": (2, 3)}
METHODS = [("**.py", "python"), ("**.html", "jinja2")]
OPTIONS = {
    "**.html": {
        "trim_blocks": "true",
        "lstrip_blocks": "true",
        "newstyle_gettext": "true",
    }
}


@pytest.fixture(scope="module")
def used() -> Catalog:
    """The messages of templates and figures."""
    catalog = Catalog()
    found = extract_from_dir(REPORTS, METHODS, OPTIONS, keywords=KEYWORDS)
    for _file, _line, message, _comments, context in found:
        catalog.add(message, context=context)
    return catalog


@pytest.fixture(scope="module")
def chinese() -> Catalog:
    with (REPORTS / "languages" / "zh.po").open("rb") as file:
        return read_po(file, locale="zh")


def key(message: Message) -> tuple[object, str | None]:
    return message.id, message.context


def texts(message: Message, of: str) -> list[str]:
    value = getattr(message, of)
    return [value] if isinstance(value, str) else list(value or [""])


def test_every_text_has_a_translation_and_none_is_left_over(used, chinese):
    """`make messages` brings the catalog up to date."""
    assert len(list(used)) > 300
    assert {key(m) for m in used} == {key(m) for m in chinese}
    assert [m.id for m in chinese if m.id and not all(texts(m, "string"))] == []
    assert not any(m.fuzzy for m in chinese if m.id)


def test_a_translation_has_the_same_values_and_markup(chinese):
    def parts(text: str) -> list[str]:
        named = re.findall(r"%\(\w+\)s|%%", text)
        fields = (
            [field for _, field, _, _ in Formatter().parse(text) if field] if "{" in text else []
        )
        return sorted([*named, *fields, *re.findall(r"<[^>]+>", text)])

    for message in chinese:
        if message.id:
            wanted = parts(texts(message, "id")[-1])
            for text in texts(message, "string"):
                assert parts(text) == wanted, text


def words(text: str) -> set[str]:
    """Words of at least two Latin letters."""
    return set(re.findall(r"[A-Za-z]{2,}", text))


def told(tree: object) -> Iterator[str]:
    """The texts in a tree of JSON values, without the keys."""
    if isinstance(tree, str):
        yield tree
    branches = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for branch in branches:
        yield from told(branch)


SAME_IN_CHINESE = words(
    "thyroid compare JSON csv trials ROC AUROC AUPRC PSNR SSIM dB mm DCGAN SRGAN CNN GPU Wang Zhang"
    " McNemar Holm Graves python"
)
"""Names, abbreviations, commands and files."""


@pytest.mark.parametrize(
    "kind", ["run", "synthetic_run", "compared_run", "shared_run", "folded_run"]
)
def test_a_chinese_page_has_the_same_numbers_and_no_english_sentence(request, kind):
    run = request.getfixturevalue(kind)
    pages = {lang: write_report(run, lang=lang) for lang in ("en", "zh")}
    assert pages["zh"].name == "report.zh.html"
    info = pages["en"].with_suffix(".json").read_bytes()
    assert pages["zh"].with_suffix(".json").read_bytes() == info
    english, page = (Page(pages[lang].read_text()) for lang in ("en", "zh"))
    assert sorted(v for v, _ in page.data) == sorted(v for v, _ in english.data)
    assert '<html lang="zh-Hans">' in pages["zh"].read_text()
    numbers = json.loads(info)
    fields = [*numbers["provenance"]["recipe"], *numbers["provenance"]["machine"]]
    fields += [name for name in told(numbers) if re.fullmatch(r"\w+(\.\w+)+", name)]
    known = SAME_IN_CHINESE | words(" ".join(fields))
    values = sorted({value for value in told(numbers) if words(value)}, key=len, reverse=True)
    for text in page.text:
        own = text
        for value in values:
            for shown in (value, value.replace("_", " ")):
                own = re.sub(rf"(?<![A-Za-z]){re.escape(shown)}(?![A-Za-z])", "", own)
        assert words(own) <= known, text


def test_a_page_does_not_remember_the_language_of_the_one_before(run):
    pages = [write_report(run, lang=lang).read_bytes() for lang in ("en", "zh", "en", "zh")]
    environment.cache_clear()
    again = [write_report(run, lang=lang).read_bytes() for lang in ("zh", "en")]
    assert pages[:2] == pages[2:]
    assert again == [pages[1], pages[0]]
    assert 'title="不可用"'.encode() in pages[1]
    assert "不可用".encode() not in pages[0]


def test_no_value_is_taken_for_markup():
    """`_(...)` in a template does not escape what it is given: it may be given constants only."""
    for template in (REPORTS).rglob("*.html"):
        calls = re.findall(r"\b_\(\s*(.)", template.read_text())
        assert set(calls) <= {'"', "'"}, template.name


def test_the_language_ends_with_the_page():
    with written_in("zh"):
        assert gettext("Verdict") == "结论"
        assert plain_name("graves;cold_nodule") == "Graves病 + 冷结节"
        assert gettext("") == ""
        assert ngettext("%(num)s image", "%(num)s images", 1) == "%(num)s幅图像"
        assert plain_name("a_class;another") == "a class + another"
        assert later("Verdict") == "Verdict"
    assert gettext("Verdict") == "Verdict"
