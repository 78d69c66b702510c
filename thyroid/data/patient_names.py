"""Names of patients: spellings that are one person's, and spellings that may be."""

import re
import unicodedata

MISSING = frozenset(
    (
        "", "nan", "none", "null", "nil", "n/a", "#n/a", "#na", "<na>", "nat", "-", "#value!",
        "#ref!", "#name?", "#null!", "#num!", "#div/0!",
    )
)  # fmt: skip
"""Words that spreadsheets and scripts write into empty cells."""
UNKNOWN = MISSING | {
    "na", "n.a.", "--", ".", "/", "?", "??", "???", "unknown", "missing", "undefined",
    "not available", "not known", "unbekannt", "nicht bekannt", "k.a.", "k. a.", "inconnu",
    "inconnue", "desconocido", "desconocida", "sconosciuto", "sconosciuta", "desconhecido",
    "desconhecida", "未知", "不详", "不明", "无",
}  # fmt: skip
"""MISSING, and words that people write where nothing is known."""


def is_missing(text: str) -> bool:
    """Return whether a cell is empty, or holds a word of MISSING."""
    return text.strip().casefold() in MISSING


def is_unknown(text: str) -> bool:
    """Return whether a cell is empty, or says that nothing is known."""
    return text.strip().casefold() in UNKNOWN


def is_rounded(name: str) -> bool:
    """Return whether a spreadsheet has rounded a long number, as in 1.23457E+11."""
    return re.fullmatch(r"\d([.,]\d+)?e\+\d+", name.casefold()) is not None


def spelled(name: str) -> str:
    """Return a patient's name or number in one spelling: one case, one form, no spare blanks.

    Empty if nothing is known.
    """
    if is_unknown(name):
        return ""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = "".join(letter for letter in folded if unicodedata.category(letter) != "Cf")
    return " ".join(seen.split())


def without_zeros(name: str) -> str:
    """Return a name without leading zeros of numbers and ".0", which spreadsheets drop or add.

    ",0" and commas between thousands are removed, too.
    """
    whole = re.sub(r"(?<=[0-9])[.,]0+$", "", name)
    if re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+", whole):
        whole = whole.replace(",", "")
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", whole)
