"""The files of a source folder and their labels, from class folders or labels.csv."""

import csv
import functools
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from thyroid.errors import InputError

# classes are numbered in this order; others follow alphabetically
KNOWN_FINDINGS = (
    "normal",
    "graves",
    "subacute_thyroiditis",
    "hashimoto",
    "hot_nodule",
    "cold_nodule",
    "multinodular_goitre",
)
NOT_IMAGES = ("thumbs.db", "desktop.ini", "dicomdir", "__macosx")  # and names that start with "."
COLUMNS = ("file", "label", "patient", "centre", "findings")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledFile:
    """A file with its labels."""

    path: Path
    name: str
    """Path relative to the source folder, with forward slashes."""
    findings: tuple[str, ...]
    """Findings; the first is the label, the primary finding."""
    patient: str = ""
    """Empty if only the file itself may name the patient."""
    patient_is_known: bool = True
    """False if `patient` is only a folder's name; a name in the file then takes precedence."""
    centre: str = field(default="", repr=False)
    """May be an institution's name; see thyroid.data.importer."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of a source folder, sorted by name."""

    files: tuple[LabelledFile, ...]
    unlabelled: tuple[tuple[str, str], ...]
    """(file, reason) of files without a label."""
    labels: bytes
    """Content of labels.csv; empty for class folders."""


def list_source(source: Path, labels: Path | None = None) -> Listing:
    """List the files of a folder by `labels`, else by SOURCE/labels.csv, else by class folders.

    Class folders are SOURCE/<class>/.../<image>; a folder between the two is the patient. A class
    folder "a+b" holds crosses that show a and b; the label is a.

    In labels.csv, the patient is named in every row or in none.

    Raises
    ------
    InputError : the folder or a row of labels.csv is wrong.
    """
    if not source.is_dir():
        raise InputError(f"{source} is no folder; name the folder that holds the images")
    default = source / "labels.csv"
    if labels is None and default.is_file():
        labels = default
    listing = _by_folders(source) if labels is None else _by_table(source, labels)
    known = {file.findings[0] for file in listing.files}
    spelled: dict[str, str] = {}
    for label in sorted(known):
        other = spelled.setdefault(re.sub(r"[\s_-]+", " ", label).casefold(), label)
        if other != label:
            raise InputError(
                f"the labels {other!r} and {label!r} differ only in capitals, spaces or hyphens; "
                "write them the same way"
            )
    for file in listing.files:
        for finding in file.findings:
            if finding not in known:
                raise InputError(
                    f"{file.name} shows {finding!r}, which is the label of no image (labels are "
                    f"{', '.join(map(repr, sorted(known)))}); correct the spelling, "
                    "or add images with that label"
                )
    return listing


def in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Return classes in their order: KNOWN_FINDINGS first, then the others alphabetically."""
    names = set(classes)
    return (*(n for n in KNOWN_FINDINGS if n in names), *sorted(names - set(KNOWN_FINDINGS)))


def _by_folders(source: Path) -> Listing:
    files, unlabelled = [], []
    leads_out = _leading_out(source)
    for name in _file_names(source):
        parts = PurePosixPath(name).parts
        if len(parts) == 1:
            unlabelled.append((name, "it lies in no class folder, and there is no labels.csv"))
            continue
        if leads_out(name):
            unlabelled.append((name, "it is a link out of the folder; put a copy there"))
            continue
        files.append(
            LabelledFile(
                path=source / name,
                name=name,
                findings=_findings(parts[0].split("+"), f"folder {source / parts[0]}"),
                patient="/".join(parts[1:-1]),
                patient_is_known=False,
            )
        )
    if not files:
        raise InputError(
            f"{source} has neither a labels.csv nor class folders with files in them; put the "
            f"images into one folder per class, or list them in {source / 'labels.csv'}"
        )
    return Listing(files=tuple(files), unlabelled=tuple(unlabelled), labels=b"")


def _by_table(source: Path, labels: Path) -> Listing:
    content = _read(labels)
    files: dict[str, LabelledFile] = {}
    row_of: dict[str, int] = {}
    leads_out = _leading_out(source)
    for number, row in _rows(content, labels):
        where = f"{labels}, row {number}"
        name = _name_inside(source, leads_out, row["file"], where)
        if name in files:
            raise InputError(
                f"{where}, names {name!r}, as row {row_of[name]} does; remove one of them"
            )
        label = row["label"]
        findings = _findings((row.get("findings") or label).split(";"), where)
        if not label:
            raise InputError(f"{where}, has no label; name the class that {name!r} shows")
        if findings[0] != label:
            raise InputError(
                f"{where}, has findings {row['findings']!r}, which must start with "
                f"the label {label!r}; put the primary finding first"
            )
        row_of[name] = number
        files[name] = LabelledFile(
            path=source / name,
            name=name,
            findings=findings,
            patient=row.get("patient", ""),
            patient_is_known=bool(row.get("patient")),
            centre=row.get("centre", ""),
        )
    if not files:
        raise InputError(f"{labels} has no rows; list the images, one row each")
    unnamed = [name for name, file in files.items() if not file.patient]
    if 0 < len(unnamed) < len(files):
        # other rows would take the PatientID, and one patient might get two names
        raise InputError(
            f"{labels}, row {row_of[unnamed[0]]}, leaves the patient empty, as {len(unnamed)} "
            f"of {len(files)} rows do; name the patient in every row, or in none, to go by the "
            "PatientID of the files"
        )
    itself = os.path.realpath(labels)
    others = [name for name in _file_names(source) if name not in files]
    unlabelled = [
        (name, f"it has no row in {labels.name}")
        for name in others
        if os.path.realpath(source / name) != itself
    ]
    ordered = tuple(files[name] for name in sorted(files))
    return Listing(files=ordered, unlabelled=tuple(unlabelled), labels=content)


def _read(labels: Path) -> bytes:
    try:
        return labels.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the labels file {labels}: {error.strerror}; check the path"
        ) from None


def _rows(content: bytes, labels: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (row number as in a spreadsheet, column -> text) of each row that is not blank."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{labels} is not UTF-8 text; save it as CSV UTF-8") from None
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)  # spreadsheets of many countries write ";"
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [column.strip().lower() for column in next(table, [])]
        for needed in ("file", "label"):
            if columns.count(needed) != 1:
                raise InputError(
                    f"{labels} must have one column {needed!r} and has the columns "
                    f"{', '.join(map(repr, columns)) or 'of an empty file'}; its first row must "
                    f"name the columns: file, label and, if known, {', '.join(COLUMNS[2:])}"
                )
        for number, values in enumerate(table, start=2):
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(columns):
                raise InputError(
                    f"{labels}, row {number}, has {len(values)} values for {len(columns)} columns; "
                    "put quotation marks around a value that contains the separator"
                )
            row = dict(zip(columns, (value.strip() for value in values), strict=True))
            yield number, {column: row[column] for column in COLUMNS if column in row}
    except csv.Error as error:
        raise InputError(
            f"{labels}, line {table.line_num}, is no CSV ({error}); save the file as CSV UTF-8"
        ) from None


def _name_inside(source: Path, leads_out: Callable[[str], bool], file: str, where: str) -> str:
    """Return the file's path relative to the source folder, and refuse one outside of it."""
    if not file:
        raise InputError(f"{where}, names no file; give its path inside {source}")
    if not os.path.isfile(source / file):
        file = file.replace("\\", "/")  # a table made on Windows
    name = PurePosixPath(os.path.normpath(file))
    if name.is_absolute() or ".." in name.parts or "\0" in file:
        raise InputError(
            f"{where}, names {file!r}, which lies outside {source}; give a path inside it"
        )
    if not os.path.isfile(source / name):  # unlike Path.is_file, this never raises
        raise InputError(
            f"{where}, names {file!r}, and there is no such file in {source}; "
            "correct the path or remove the row"
        )
    if leads_out(str(name)):
        raise InputError(
            f"{where}, names {file!r}, a link that leads out of {source}; put a copy of it there"
        )
    return str(name)


def _leading_out(source: Path) -> Callable[[str], bool]:
    """Return a function that says whether a file is a link that leads out of the folder."""
    root = os.path.realpath(source)
    real = functools.cache(os.path.realpath)  # only folders are resolved, and many files share one

    def leads_out(name: str) -> bool:
        folder, file = os.path.split(os.path.join(source, name))
        path = os.path.join(real(folder), file)
        if os.path.islink(path):
            path = os.path.realpath(path)
        return os.path.commonpath([root, path]) != root

    return leads_out


def _findings(findings: list[str], where: str) -> tuple[str, ...]:
    names = tuple(finding.strip() for finding in findings)
    if any(not name.isprintable() or ";" in name for name in names):
        raise InputError(f"{where}, has a class name with ';' or a control character; rename it")
    if "" in names and len(names) > 1:
        raise InputError(f"{where}, has an empty finding; remove the separator too many")
    if len(set(names)) != len(names):
        raise InputError(f"{where}, names a finding twice; remove one of them")
    return names


def _file_names(source: Path) -> list[str]:
    """Return the sorted relative paths of all files below the folder, without hidden ones."""

    def wanted(name: str) -> bool:
        return not name.startswith(".") and name.lower() not in NOT_IMAGES

    names = []
    for folder, folders, files in os.walk(source):
        folders[:] = filter(wanted, folders)
        relative = Path(folder).relative_to(source)
        names += [(relative / name).as_posix() for name in files if wanted(name)]
    return sorted(names)
