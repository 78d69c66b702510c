"""Names of patients: which spellings are one person's, and which may be."""

import re
import unicodedata

MISSING = frozenset(("", "nan", "none", "null", "nil", "n/a", "#n/a", "#na", "<na>", "nat", "-"))
"""Words that spreadsheets and scripts write into empty cells."""
UNKNOWN = MISSING | {"na", "n.a.", "--", ".", "?", "unknown", "missing", "undefined"}
"""The same, and what people write where nothing is known."""


def is_missing(text: str) -> bool:
    """Return whether a cell is empty, or says so in a word that is no name."""
    return text.strip().casefold() in MISSING


def spelled(name: str) -> str:
    """Return one spelling of a patient's name or number: without case, form and spare blanks.

    Empty if nothing is known.
    """
    if name.strip().casefold() in UNKNOWN:
        return ""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split())


def without_zeros(name: str) -> str:
    """Return a name without what spreadsheets add or drop: leading zeros of numbers, and ".0"."""
    whole = re.sub(r"(?<=[0-9])\.0+$", "", name)
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", whole)
