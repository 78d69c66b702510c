"""Write docs/reference/commands.md and recipe.md from what `thyroid COMMAND --help` says.

`python docs/make_reference.py`, or `make docs`, which also builds the site.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from thyroid.cli import SUMMARIES, main

FOLDER = Path(__file__).parent / "reference"
OWN = ("positional arguments", "options")
"""Boxes of a help text that hold no fields of the recipe."""


@dataclass
class Section:
    """A box of the help text."""

    title: str
    about: str = ""
    options: list[list[str]] = field(default_factory=list)
    """Name with its values, and help."""


def help_of(command: str) -> str:
    """What `thyroid COMMAND --help` prints, 100 columns wide."""
    told = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
            main([command, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    told.seek(0)
    return told.read()


def sections_of(text: str) -> list[Section]:
    """Read the boxes of a help text."""
    found: list[Section] = []
    for line in text.splitlines():
        if line.startswith("╭"):
            found.append(Section(line.strip("╭╮─ ")))
        elif line.startswith("│"):
            _read(found[-1], line.strip("│").rstrip()[1:])
    return found


def _read(section: Section, line: str) -> None:
    """Add one line of a box: an option's name, its help, or what the section is about."""
    named = re.match(r"(-.*?|\[?[A-Z]+(?: \[[A-Z .]+\]\.*)?)(?:  +(.*))?$", line)
    if named:
        section.options.append([named[1], named[2] or ""])
    elif line and not line.startswith("─"):
        if section.options:
            section.options[-1][1] = f"{section.options[-1][1]} {line.strip()}".strip()
        else:
            section.about = f"{section.about} {line.strip()}".strip()


def table(options: list[list[str]]) -> list[str]:
    """Options as a Markdown table."""
    rows = ["| option | meaning |", "|---|---|"]
    for name, told in options:
        if name.startswith("-h"):
            continue
        shown = name.replace("{None}|", "").replace("|", "\\|")
        meaning = re.sub(r" \((required|default: (None)?)\)", "", told)
        rows.append(f"| `{shown}` | {meaning.replace('|', chr(92) + '|')} |")
    return [*rows, ""]


def commands() -> str:
    """The page of all commands, less the fields of the recipe."""
    lines = [
        "# Commands",
        "",
        "`thyroid COMMAND --help` prints the same. `train`, `search` and `compare` also take every "
        "field of [the recipe](recipe.md). `python -m thyroid` is the same program.",
        "",
        "This line, in `~/.bashrc` too, lets bash complete commands, options and their choices:",
        "",
        "```",
        'eval "$(thyroid --completion bash)"',
        "```",
        "",
        "zsh takes the same line after `autoload -U compinit bashcompinit && compinit && "
        "bashcompinit`.",
        "",
    ]
    for command, summary in SUMMARIES.items():
        lines += [f"## thyroid {command}", "", f"{summary[0].upper()}{summary[1:]}.", ""]
        sections = sections_of(help_of(command))
        own = [section.options for section in sections if section.title in OWN]
        lines += table([option for options in own for option in options])
    return "\n".join(lines)


def recipe() -> str:
    """The page of the recipe's fields."""
    lines = [
        "# Fields of the recipe",
        "",
        "Each is an option of `thyroid train`, `search` and `compare`, a field of recipe.json, "
        "and, with underscores in place of hyphens, a name that a search space may override. "
        "Defaults are those of `--recipe small`.",
        "",
    ]
    for section in sections_of(help_of("train")):
        if section.title not in OWN:
            name = section.title.removesuffix(" options")
            lines += [f"## {name}", "", *([section.about, ""] if section.about else [])]
            lines += table(section.options)
    return "\n".join(lines)


PAGES = {"commands.md": commands, "recipe.md": recipe}


if __name__ == "__main__":
    for page, content in PAGES.items():
        (FOLDER / page).write_text(content(), encoding="utf-8")
