"""The language in which a page is being written: English or Chinese.

Templates and figures have English texts; `languages/zh.po` has the Chinese texts that replace them.
A text that is not in a catalog stays English. Texts that are looked up by a value, such as the name
of a stage, are marked with `later` in the source, so that `make messages` adds them to the catalog.
"""

from __future__ import annotations

import contextlib
import gettext as stdlib
import io
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache
from importlib.resources import files

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from thyroid.run_files.rows_json import PARTS

_chosen: ContextVar[str] = ContextVar("language", default="en")


@contextlib.contextmanager
def written_in(language: str) -> Iterator[None]:
    """Texts in the block are in `language`: `en`, or a language that has a catalog."""
    before = _chosen.set(language)
    try:
        yield
    finally:
        _chosen.reset(before)


def gettext(message: str) -> str:
    """A text in the language of the page."""
    return _catalog(_chosen.get()).gettext(message) if message else ""  # "" gives the header


def ngettext(singular: str, plural: str, n: int) -> str:
    """A text that depends on a number, in the language of the page."""
    return _catalog(_chosen.get()).ngettext(singular, plural, n)


def translated(value: str) -> str:
    """A value that is a text, such as a row's title; each of its parts is translated."""
    return PARTS.join(map(gettext, value.split(PARTS)))


def later(message: str) -> str:
    """Mark a text for the catalog; `gettext` translates it later, when it is shown."""
    return message


@cache
def _catalog(language: str) -> stdlib.NullTranslations:
    if language == "en":
        return stdlib.NullTranslations()
    compiled = io.BytesIO()
    with (files("reports") / "languages" / f"{language}.po").open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return stdlib.GNUTranslations(compiled)
