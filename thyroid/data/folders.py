"""The files of a source folder, without those that machines make, and what its folders mean."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MACHINES = frozenset(
    (
        "thumbs.db", "ehthumbs.db", "desktop.ini", "dicomdir", "__macosx", "@eadir", "#recycle",
        "@recycle", "@recently-snapshot", "#snapshot", "@tmp", "@sharebin", "$recycle.bin",
        "recycler", "recycled", "system volume information", "lost+found", "thumbnails",
        "thumbnail", "thumbs", "thumb", "icon\r", "found.000", "_thumbs", "vignettes", "miniaturas",
    )
)  # fmt: skip
"""Names, in lower case, of files and folders that file servers, systems and viewers make."""
THUMBNAIL = re.compile(r"(^|[._ -])(thumb|thumbnail)s?([._ -]|$)", re.IGNORECASE)

PARTS = {
    "train": "train", "training": "train", "trn": "train", "tr": "train", "learn": "train",
    "test": "test", "testing": "test", "tst": "test", "ts": "test", "holdout": "test",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "validate": "validation", "tuning": "validation", "eval": "validation",
}  # fmt: skip
"""Name of a folder -> part of a split."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Files below a folder."""

    names: list[str]
    """Sorted paths relative to the folder, with forward slashes."""
    skipped: dict[str, int]
    """Kind of files that machines made -> number of them."""


def made_by_machines(name: str) -> str:
    """Return what kind of file or folder of machines a name is, or "" if it is none."""
    if name.lower() in MACHINES:
        return name.strip()
    if name == ".DS_Store":
        return name
    if name.startswith("."):
        return "hidden files"
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
    words = [word for word in re.split("[^a-z]+", folder.lower()) if word]
    words = [word for word in words if word not in ("set", "data", "split", "images", "imgs")]
    if len(words) != 1:
        return None
    return PARTS.get(words[0]) or PARTS.get(re.sub("(set|data)$", "", words[0]))


def split_level(names: Iterable[str]) -> int | None:
    """Return at which level folders are the parts of a split: 0 above the classes, 1 below them.

    None where they are not: where not all folders of a level are parts, or all are one part.
    """
    inside = [parts for parts in (PurePosixPath(name).parts for name in names) if len(parts) > 2]
    for level in (0, 1):
        parts = {part_of(each[level]) for each in inside}
        if inside and None not in parts and len(parts) > 1:
            return level
    return None
