"""The files of a source folder and their labels, from class folders or labels.csv."""

import functools
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from thyroid.data.folders import LABELS, files_below, no_class, part_of, split_level
from thyroid.data.label_table import read_table, rows_of
from thyroid.data.patient_names import is_missing, is_rounded, is_unknown, spelled
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
    part: str = ""
    """Part of the source's own split, one of dataset.PARTS; empty if no split is kept."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of a source folder, sorted by name."""

    files: tuple[LabelledFile, ...]
    unlabelled: tuple[tuple[str, str], ...]
    """(file, reason) of files without a label."""
    labels: bytes
    """Content of labels.csv; empty for class folders."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Kind of machine-made files -> number of them."""
    notes: tuple[str, ...] = ()
    """Sentences about columns that were read under another name, or not used."""


def list_source(source: Path, labels: Path | None = None, *, keep_split: bool = False) -> Listing:
    """List the files of a folder by `labels`, else by SOURCE/labels.csv, else by class folders.

    Class folders are SOURCE/<class>/.../<image>; a folder between the two is the patient. A class
    folder "a+b" holds crosses that show a and b; the label is a.

    In labels.csv, the patient is named in every row or in none.

    Folders `train`, `test` (and `val`) above or below the classes, or a column `part`, are a split
    of the source, which `keep_split` keeps.

    Raises
    ------
    InputError : the folder or a row of labels.csv is wrong.
    """
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; name the folder that holds the images")
    default = source / LABELS
    if labels is None and default.is_file():
        labels = default
    if labels is None:
        listing = _by_folders(source, keep_split=keep_split)
    else:
        listing = _by_table(source, labels, keep_split=keep_split)
    if keep_split:
        _require_parts(listing.files, source)
    known = {file.findings[0] for file in listing.files}
    written: dict[str, str] = {}
    for label in sorted(known):
        plain = unicodedata.normalize("NFKC", re.sub(r"[\s_-]+", " ", label).casefold())
        other = written.setdefault(plain, label)
        if other != label:
            raise InputError(
                f"the labels {other!r} and {label!r} differ only in capitals, spaces or hyphens; "
                "write them the same way"
            )
    for file in listing.files:
        for finding in file.findings:
            if finding not in known:
                raise InputError(
                    f"{file.name} shows {finding!r}, but no image has this label (labels are "
                    f"{', '.join(map(repr, sorted(known)))}); correct the spelling, or add images "
                    "with that label"
                )
    return listing


def in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Return classes in their order: KNOWN_FINDINGS first, then the others alphabetically."""
    names = set(classes)
    return (*(n for n in KNOWN_FINDINGS if n in names), *sorted(names - set(KNOWN_FINDINGS)))


def _by_folders(source: Path, *, keep_split: bool) -> Listing:
    files, unlabelled = [], []
    leads_out = _leading_out(source)
    found = files_below(source)
    level = split_level(found.names)
    if level is not None and not keep_split:
        layout = "above the classes" if level == 0 else "below each class"
        raise InputError(
            f"{source} already has a split: it has folders {_split_folders(found.names, level)} "
            f"{layout}; keep this split with --keep-split, or put the images of each class into "
            "one folder for a new split"
        )
    if level is None and not keep_split:
        _require_classes(found.names, source)
    for name in found.names:
        parts = PurePosixPath(name).parts
        part = ""
        if keep_split and level is not None and len(parts) > 2:
            part = part_of(parts[level]) or ""
            parts = (*parts[:level], *parts[level + 1 :])
        if len(parts) == 1 or (keep_split and not part):
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
                part=part,
            )
        )
    if not files:
        told = (
            f"{source} has neither a labels.csv nor class folders with files in them; put the "
            f"images into one folder per class, or list them in {source / LABELS}"
        )
        tables = [name for name in found.names if name.lower().endswith(".csv")]
        if len(tables) == 1:
            told += f"; if {tables[0]} is this list, add --labels {source / tables[0]}"
        raise InputError(told)
    return Listing(
        files=tuple(files), unlabelled=tuple(unlabelled), labels=b"", skipped=found.skipped
    )


def _require_classes(names: list[str], source: Path) -> None:
    """Require folders that are classes.

    Raises
    ------
    InputError : they are parts of a split or folds, such as `train` alone or `fold1`.
    """
    folders = sorted({PurePosixPath(name).parts[0] for name in names if "/" in name})
    if folders and all(map(no_class, folders)):
        alone = len(folders) == 1 and any(name.count("/") > 1 for name in names)
        raise InputError(
            f"the folders of {source} are {', '.join(map(repr, folders))}, which are parts of a "
            f"split or folds, not classes; "
            + (f"import {source / folders[0]}" if alone else "put the images of each class into")
            + ("" if alone else " one folder")
        )


def _split_folders(names: list[str], level: int) -> str:
    inside = {PurePosixPath(name).parts[level] for name in names if name.count("/") > 1}
    return ", ".join(map(repr, sorted(inside)))


def _require_parts(files: Iterable[LabelledFile], source: Path) -> None:
    """Require a split with a training and a test part.

    Raises
    ------
    InputError : there is none.
    """
    there = {file.part for file in files}
    missing = {"train", "test"} - there
    if missing or "" in there:
        raise InputError(
            f"{source} has no split to keep: --keep-split needs folders train and test (and val) "
            "above or below the class folders, or a column part in labels.csv with train, test or "
            f"val in every row; here {'no ' + min(missing) if missing else 'not every'} image has "
            "a part"
        )


def _by_table(source: Path, labels: Path, *, keep_split: bool) -> Listing:
    content = read_table(labels)
    notes: list[str] = []
    files: dict[str, LabelledFile] = {}
    row_of: dict[str, int] = {}
    in_parts = 0
    leads_out = _leading_out(source)
    for number, row in rows_of(content, labels, notes):
        where = f"{labels}, row {number}"
        name = _name_inside(source, leads_out, row["file"], where)
        if name in files:
            raise InputError(
                f"{where}, names {name!r} again, after row {row_of[name]}; remove one of them"
            )
        label = unicodedata.normalize("NFC", row["label"])
        if is_unknown(label):
            said = f"the label {label!r}, which names no class" if label else "no label"
            raise InputError(
                f"{where}, has {said}; name the class that {name!r} shows, or remove the row"
            )
        if is_rounded(row.get("patient", "")):
            raise InputError(
                f"{where}, has the patient {row['patient']!r}, a number that a spreadsheet has "
                "rounded, perhaps like others; export the column again, formatted as text"
            )
        shown = row.get("findings", "")
        findings = _findings((label if is_missing(shown) else shown).split(";"), where)
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
            patient=spelled(row.get("patient", "")),
            patient_is_known=bool(spelled(row.get("patient", ""))),
            centre="" if is_missing(row.get("centre", "")) else row["centre"],
            part=(part_of(row.get("part", "")) or "") if keep_split else "",
        )
        in_parts += bool(part_of(row.get("part", "")))
    if not files:
        raise InputError(f"{labels} has no rows; list the images, one row each")
    if in_parts and not keep_split:
        notes.append(
            f"{labels.name} has a split in its column part. It is not kept, and training makes a "
            "new one; --keep-split keeps it."
        )
    unnamed = [name for name, file in files.items() if not file.patient]
    if 0 < len(unnamed) < len(files):
        # other rows would take the PatientID, and one patient might get two names
        raise InputError(
            f"{labels}, row {row_of[unnamed[0]]}, has no patient ({len(unnamed)} of {len(files)} "
            "rows have none); name the patient in every row, or in none to use the PatientID of "
            "the files"
        )
    itself = os.path.realpath(labels)
    found = files_below(source)
    others = [name for name in found.names if name not in files]
    unlabelled = [
        (name, f"it has no row in {labels.name}")
        for name in others
        if os.path.realpath(source / name) != itself
    ]
    ordered = tuple(files[name] for name in sorted(files))
    return Listing(
        files=ordered,
        unlabelled=tuple(unlabelled),
        labels=content,
        skipped=found.skipped,
        notes=tuple(notes),
    )


def _name_inside(source: Path, leads_out: Callable[[str], bool], file: str, where: str) -> str:
    """Return the file's path relative to the source folder; refuse a file outside of it."""
    if not file:
        raise InputError(f"{where}, names no file; give its path inside {source}")
    if not os.path.isfile(source / file):
        file = file.replace("\\", "/")  # a table made on Windows
    for form in ("NFC", "NFD"):  # a table or a disk of macOS
        if not os.path.isfile(source / file):
            file = unicodedata.normalize(form, file)
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
    names = tuple(unicodedata.normalize("NFC", finding.strip()) for finding in findings)
    if any(not name.isprintable() or ";" in name for name in names):
        raise InputError(f"{where}, has a class name with ';' or a control character; rename it")
    if "" in names and len(names) > 1:
        raise InputError(f"{where}, has an empty finding; remove the extra separator")
    if any(name and is_unknown(name) for name in names):
        raise InputError(
            f"{where}, has the class {next(n for n in names if is_unknown(n))!r}, which means that "
            "the class is unknown; name the class, or remove the images"
        )
    if len(set(names)) != len(names):
        raise InputError(f"{where}, names a finding twice; remove one of them")
    return names
