"""The files of a source folder without machine-made ones, and the meaning of its folders."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

LABELS = "labels.csv"
"""Table of labels that a folder of scintigrams may hold."""
MACHINES = frozenset(
    (
        "thumbs.db", "ehthumbs.db", "desktop.ini", "dicomdir", "__macosx", "@eadir", "#recycle",
        "@recycle", "@recently-snapshot", "#snapshot", "@tmp", "@sharebin", "$recycle.bin",
        "recycler", "recycled", "system volume information", "lost+found", "thumbnails",
        "thumbnail", "thumbs", "thumb", "icon\r", "found.000", "_thumbs", "vignettes", "miniaturas",
        "miniatures", "miniaturansichten", "缩略图", "previews", "~snapshot", "lost.dir",
        "network trash folder", "temporary items", "papierkorb", "corbeille", "回收站",
    )
)  # fmt: skip
"""Names, in lower case, of files and folders that file servers, systems and viewers make."""
THUMBNAIL = re.compile(r"(^|[._ -])(thumb|thumbnail)s?([._ -]|$)", re.IGNORECASE)

PARTS = {
    "train": "train", "training": "train", "trn": "train", "tr": "train", "learn": "train",
    "test": "test", "testing": "test", "tst": "test", "ts": "test", "holdout": "test",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "validate": "validation", "tuning": "validation", "eval": "validation",
    "validating": "validation", "development": "validation", "evaluation": "validation",
    "trainings": "train", "validierung": "validation", "validierungs": "validation",
    "entrainement": "train", "apprentissage": "train", "entrenamiento": "train",
    "prueba": "test", "pruebas": "test", "validacion": "validation", "addestramento": "train",
    "prova": "test", "validazione": "validation", "treino": "train", "treinamento": "train",
    "teste": "test", "validacao": "validation", "训练": "train", "測試": "test", "测试": "test",
    "訓練": "train", "验证": "validation", "驗證": "validation",
}  # fmt: skip
"""Name of a folder -> part of a split."""
BESIDE_PARTS = ("set", "data", "daten", "split", "images", "imgs")
FOLD = re.compile(r"(?:cv|k)?[\s_-]*fold[\s_-]*\d+|第?\d+折")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Files below a folder."""

    names: list[str]
    """Sorted paths relative to the folder, with forward slashes."""
    skipped: dict[str, int]
    """Kind of machine-made files -> number of them."""


def made_by_machines(name: str) -> str:
    """Return the kind of a machine-made file or folder by its name, or "" if it is none."""
    if name.lower() in MACHINES:
        return name.strip()
    if name == ".DS_Store":
        return name
    if name.startswith("."):
        return "hidden files"
    if name.startswith("~$") or name.endswith("~"):
        return "copies of editors"
    return "thumbnails" if THUMBNAIL.search(PurePosixPath(name).stem) else ""


def files_below(source: Path) -> Found:
    """Return all files below a folder, and how many were skipped."""
    names: list[str] = []
    skipped: Counter[str] = Counter()
    for folder, folders, files in os.walk(source):
        relative = Path(folder).relative_to(source)
        for name in [each for each in folders if made_by_machines(each)]:
            folders.remove(name)
            number = sum(len(inside) for _, _, inside in os.walk(os.path.join(folder, name)))
            skipped[made_by_machines(name)] += number
        for name in files:
            kind = made_by_machines(name)
            if kind:
                skipped[kind] += 1
            else:
                names.append((relative / name).as_posix())
    return Found(names=sorted(names), skipped={k: n for k, n in sorted(skipped.items()) if n})


def part_of(folder: str) -> str | None:
    """Return the part of a split that a folder's name means, as in `train` or `1_test_set`."""
    apart = unicodedata.normalize("NFKD", re.sub("(?<=[a-z])(?=[A-Z])", " ", folder)).lower()
    plain = "".join(letter for letter in apart if not unicodedata.combining(letter))
    words = [word for word in re.split(r"[\W\d_]+", plain) if word not in ("", *BESIDE_PARTS)]
    if len(words) != 1:
        return None
    return PARTS.get(words[0]) or PARTS.get(re.sub("(set|data|daten|集|组|組)$", "", words[0]))


def no_class(folder: str) -> bool:
    """Return whether a folder's name means a part of a split or a fold, and so not a class."""
    return bool(part_of(folder) or FOLD.fullmatch(folder.strip().lower()))


def split_level(names: Iterable[str]) -> int | None:
    """Return the level of the folders that are parts of a split: 0 above the classes, 1 below them.

    None if there is no split: all folders are the same part, or some folders below the classes are
    no parts, so that all of them may be patients.
    """
    inside = [parts for parts in (PurePosixPath(name).parts for name in names) if len(parts) > 2]
    for level in (0, 1):
        parts = {part_of(each[level]) for each in inside}
        if len(parts - {None}) > 1 and (level == 0 or None not in parts):
            return level
    return None
