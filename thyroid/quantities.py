"""Durations and sizes as people write them: `30m`, `20GB`."""

from __future__ import annotations

import math
import re

from thyroid.bounds import require_read
from thyroid.errors import InputError


def seconds(text: str, option: str) -> float:
    """`90s`, `30m`, `2h`, `30d` in seconds.

    Raises
    ------
    InputError
        When the text, which was given for `option`, is no duration.
    """
    found = _quantity(text, {"s": 1, "m": 60, "h": 3600, "d": 86400})
    if found is None:
        raise InputError(f"{option} '{text}' is not a duration: write 90s, 30m, 2h or 30d.")
    require_read(option, found, text, " seconds")
    return found


def size(text: str, option: str) -> int:
    """`500MB`, `20GB`, `1TB` in bytes.

    Raises
    ------
    InputError
        When the text, which was given for `option`, is no size.
    """
    found = _quantity(text, {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12})
    if found is None:
        raise InputError(f"{option} '{text}' is not a size: write 500MB, 20GB or 1TB.")
    require_read(option, found, text, " bytes")
    return int(found)


def _quantity(text: str, units: dict[str, float]) -> float | None:
    """A number and a unit."""
    parts = re.fullmatch(rf"([0-9]*\.?[0-9]+) ?({'|'.join(units)})", text)
    value = 0.0 if parts is None else float(parts[1]) * units[parts[2]]
    return value if parts is not None and value < math.inf else None
