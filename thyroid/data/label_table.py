"""The rows of labels.csv, and other names that its columns may have."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from thyroid.errors import InputError

COLUMNS = ("file", "label", "patient", "centre", "findings")
READ = (*COLUMNS, "part")
OTHER_NAMES = {
    "file": ("filename", "filepath", "path", "image", "imagepath",
             "dicom", "datei", "fichier", "archivo", "imagen", "文件", "文件名"),
    "label": ("labels", "class", "diagnosis", "dx", "target", "category", "diagnose", "diagnostic",
              "diagnostico", "diagnosi", "klasse", "classe", "clase", "标签", "诊断"),
    "patient": ("patientid", "patid", "pid", "mrn", "subjectid", "participantid", "patientenid",
                "患者id", "patientnumber", "patientno", "patientnr", "patient#", "patientcode",
                "patnumber", "patno", "patnr", "pat#", "patientennummer", "patientennr", "patients",
                "pat", "subject", "participant", "person", "paciente", "paziente", "患者", "病人",
                "patientname"),
    "centre": ("center", "centreid", "centerid", "siteid", "centres", "centers", "site",
               "hospital", "institution", "clinic",
               "zentrum", "centro", "klinik", "中心", "医院"),
    "findings": ("finding", "allfindings", "diagnoses", "befunde", "hallazgos", "所见"),
    "part": ("split", "subset", "set", "partition"),
}  # fmt: skip
"""Column -> what others call it, without blanks and the like. The first that a table has is taken:
a patient's number before the name. Of several that may be the label none is taken."""


def read_table(labels: Path) -> bytes:
    try:
        return labels.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the labels file {labels}: {error.strerror}; check the path"
        ) from None


def rows_of(content: bytes, labels: Path, notes: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (row number as in a spreadsheet, column -> text) of each row that is not blank.

    Appends a note about columns that are not used, or that have another name than thyroid's.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{labels} is not UTF-8 text; save it as CSV UTF-8") from None
    first, _, rest = text.partition("\n")
    told = re.fullmatch(r"sep=.\s*", first) is not None  # for spreadsheets, which hide this line
    text = rest if told else text
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)  # spreadsheets of many countries write ";"
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = _known_columns(next(table, []), labels.name, notes)
        for needed in ("file", "label"):
            if columns.count(needed) != 1:
                raise InputError(
                    f"{labels} must have one column {needed!r} and has the columns "
                    f"{', '.join(map(repr, columns)) or 'of an empty file'}; its first row must "
                    f"name the columns: file, label and, if known, {', '.join(COLUMNS[2:])}"
                )
        for number, values in enumerate(table, start=3 if told else 2):
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(columns):
                raise InputError(
                    f"{labels}, row {number}, has {len(values)} values for {len(columns)} columns; "
                    "put quotation marks around a value that contains the separator"
                )
            row = dict(zip(columns, (value.strip() for value in values), strict=True))
            yield number, {column: row[column] for column in READ if column in row}
    except csv.Error as error:
        raise InputError(
            f"{labels}, line {table.line_num}, is not CSV ({error}); save the file as CSV UTF-8"
        ) from None


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _known_columns(given: list[str], table: str, notes: list[str]) -> list[str]:
    """Return the names of the columns, with those of OTHER_NAMES replaced by thyroid's own."""
    columns = [unicodedata.normalize("NFC", column).strip().lower() for column in given]
    plain = [re.sub(r"[\s._-]+", "", _without_accents(column)) for column in columns]
    for wanted, others in OTHER_NAMES.items():
        names = (wanted, *others)
        found = [n for name in names for n, column in enumerate(plain) if column == name]
        if found and wanted not in columns and (wanted != "label" or len(found) == 1):
            taken = columns[found[0]]
            notes.append(f"The column {taken!r} of {table} was taken for {wanted!r}.")
            columns[found[0]] = wanted
    unused = [column for column in columns if column and column not in READ]
    if unused:
        notes.append(
            f"Columns of {table} that were not used: {', '.join(map(repr, unused))}; thyroid "
            f"reads {', '.join(READ)}."
        )
    return columns
