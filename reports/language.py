"""English or Chinese: the language that a page is being written in.

Templates and figures hold English; `languages/zh.po` holds what stands in its place. What a catalog
lacks stays English. Texts that are looked up by a value, such as the name of a stage, are marked
with `later` where they are listed, so that they get into the catalog.
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
    """The block's texts are in `en`, or in a language that has a catalog."""
    before = _chosen.set(language)
    try:
        yield
    finally:
        _chosen.reset(before)


def gettext(message: str) -> str:
    """A text in the language of the page."""
    return _catalog(_chosen.get()).gettext(message) if message else ""  # "" is the catalog's head


def ngettext(singular: str, plural: str, n: int) -> str:
    """A text that depends on a number, in the language of the page."""
    return _catalog(_chosen.get()).ngettext(singular, plural, n)


def translated(value: str) -> str:
    """A text that is a value, such as a row's title, in the language of the page, part by part."""
    return PARTS.join(map(gettext, value.split(PARTS)))


def later(message: str) -> str:
    """Mark a text that `gettext` gets when it is shown."""
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
