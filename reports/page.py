"""Writes pages from numbers, each with a JSON file of these numbers.

A template shows each number through a filter that keeps the full value beside the rounded one:
`<data value="0.81234">0.812</data>`. The JSON file has the same numbers that the template gets.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports import language
from reports.language import gettext as _
from reports.language import later
from thyroid.errors import InputError
from thyroid.files import cannot_write, replace_text

FINDINGS = (
    later("normal"),
    later("graves"),
    later("subacute thyroiditis"),
    later("hashimoto"),
    later("hot nodule"),
    later("cold nodule"),
    later("multinodular goitre"),
)
"""Names of classes that have translations."""
MACHINE = (later("cpu"), later("cores"), later("platform"))
"""Fields that describe the machine in config.json, in addition to versions."""


def write_page(
    template: str, info: Mapping[str, object], out: Path, lang: str = "en", **beside: object
) -> Path:
    """Render a template in a language, and write its numbers as JSON beside the page.

    Parameters
    ----------
    info
        Numbers by their names in the template: dataclasses, or types that JSON has.
    out
        Path of the page. The numbers are written beside it, with the suffix .json.
    beside
        Other things that the template shows, such as pictures; they are not in the JSON file.

    Raises
    ------
    InputError
        When the name ends in .json, or the folder cannot be written to.
    """
    numbers = out.with_suffix(".json")
    if numbers == out:
        raise InputError(f"{out}: the page's numbers take this name; choose one ending in .html.")
    text = json.dumps(info, indent=1, ensure_ascii=False, allow_nan=False, default=vars) + "\n"
    with language.written_in(lang):
        page = environment(lang).get_template(template).render(**info, **beside)
    for path, content in ((numbers, text), (out, page)):
        with cannot_write(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, content)
    return out


@cache
def environment(lang: str) -> Environment:
    """The environment of the templates in one language; it escapes all text from outside.

    Constants in a template are translated when the template is compiled. `_("a text of ours")` in a
    template is taken for markup; a value goes through `translated`.
    """
    env = Environment(
        loader=ChoiceLoader([PackageLoader("reports"), PackageLoader("reports", "sections")]),
        autoescape=True,
        extensions=["jinja2.ext.i18n"],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        number=number,
        signed=signed,
        percent=percent,
        points=points,
        p_value=p_value,
        setting=setting,
        plain=plain_name,
        dotted=dotted,
        translated=language.translated,
    )
    env.install_gettext_callables(  # type: ignore[attr-defined]  # of the extension
        language.gettext, language.ngettext, newstyle=True
    )
    script = _script()
    env.globals.update(
        plural=plural,
        language=lang,
        script=script,
        script_digest=_digest(script),
    )
    return env


def _script() -> Markup:
    """The page's own script, which contains no text from outside."""
    source = files("reports") / "templates" / "page.js"
    return Markup(source.read_text(encoding="utf-8"))  # safe: part of this package


def _digest(script: str) -> str:
    """The source that the page's content security policy allows to run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def plural(n: int, singular: str, plural: str) -> Markup:
    """A number of things: `plural(3, "%(num)s image", "%(num)s images")`."""
    return Markup(language.ngettext(singular, plural, n)) % {"num": number(n)}


def number(value: float | None, digits: int = 3) -> Markup:
    """A rounded number; whole numbers are not rounded, and thousands are separated."""
    if value is None:
        missing = language.gettext("not available")
        return Markup('<span class="none" title="{}">–</span>').format(missing)
    shown = f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"
    return _data(value, shown)


def signed(value: float, digits: int = 3) -> Markup:
    """A difference, with its sign."""
    return _data(value, _plus(value, digits))


def percent(value: float | None, digits: int = 0, sign: str = "\N{NO-BREAK SPACE}%") -> Markup:
    """A share as per cent."""
    return number(None) if value is None else _data(value, f"{100 * value:.{digits}f}") + sign


def points(value: float, digits: int = 1) -> Markup:
    """A difference of shares in percentage points, with its sign."""
    return _data(value, _plus(100 * value, digits))


def _plus(value: float, digits: int) -> str:
    """A number with its sign; a number that rounds to zero has no sign."""
    shown = f"{value:+.{digits}f}"
    return shown if float(shown) else shown[1:]


def p_value(value: float) -> Markup:
    """A p-value, with more digits if it is small."""
    digits = 3 if value >= 0.01 else 4
    return _data(value, f"{value:.{digits}f}" if value >= 0.0001 else f"{value:.1e}")


def setting(value: Any) -> Markup:
    """A value of a recipe, as one would type it."""
    if isinstance(value, bool) or value is None:
        words = {True: _("yes"), False: _("no"), None: _("none")}
        return Markup("{}").format(words[value])
    if isinstance(value, int | float):
        return _data(value, f"{value:.4g}" if isinstance(value, float) else str(value))
    return Markup("{}").format(value)


def plain_name(name: str) -> str:
    """A class or a cross in words, such as graves;cold_nodule -> graves + cold nodule."""
    return " + ".join(_(part.replace("_", " ")) for part in name.split(";"))


def dotted(name: str) -> Markup:
    """A field of a recipe, which may be broken after its dots and underscores."""
    parts = [Markup("_<wbr>").join(part.split("_")) for part in name.split(".")]
    return Markup(".<wbr>").join(parts)


def _data(value: float, shown: str) -> Markup:
    return Markup('<data value="{}">{}</data>').format(json.dumps(value), shown.replace("-", "−"))
