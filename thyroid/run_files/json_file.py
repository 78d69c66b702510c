"""JSON files of a run, converted to and from frozen dataclasses whose fields are checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from thyroid.configuration import from_json, to_json
from thyroid.errors import InputError

T = TypeVar("T")

AGAIN = "run the command that made it again."
"""Advice for a damaged file."""


def text_of(record: Any, indent: int = 1) -> str:
    """Return a dataclass as JSON.

    Raises
    ------
    ValueError
        When a number is infinite or NaN.
    """
    return json.dumps(to_json(record), indent=indent, allow_nan=False)


def read_json(kind: type[T], path: Path, advice: str = AGAIN) -> T | None:
    """Return the dataclass in a file that `text_of` made; None if there is no file.

    Raises
    ------
    InputError
        When the file cannot be read, or a field is missing, unknown or wrong.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
        return from_json(kind, plain)
    except FileNotFoundError:
        return None
    except OSError as refusal:
        raise InputError(f"{path} cannot be read ({refusal.strerror}): check the path.") from None
    except (InputError, ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path} is damaged: {advice}") from None


def refuse(constant: str) -> Any:
    """Raise ValueError for NaN and infinity, which Python's reader accepts but JSON excludes."""
    raise ValueError(f"{constant} is no number")
