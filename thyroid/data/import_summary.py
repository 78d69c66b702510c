"""Result of an import: files that were taken and their flags, and files refused and why."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from thyroid.data.dataset import FLAGS
from thyroid.data.record import Rejection

MOST_KINDS = 8
"""Most rows of the table for flags, and for reasons, so that the table fits on a screen."""
WIDTH = 90
"""Most letters of a row after its number, so that the row fits into 100."""
MOST_CENTRES = 8
UNTOLD = ("simulated", "counts_outside", "padded", "patient_like")
"""Flags of ordinary images: not in the table, as a note of its own reports them where needed."""


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """Result of an import."""

    folder: Path
    imported: int
    read_before: int
    """Files read by an earlier, interrupted import of the same folder."""
    rejected: tuple[Rejection, ...]
    rejected_list: Path | None
    """CSV with file and reason, beside the data set, as file names may hold patients' names."""
    kind: Literal["counts", "display"]
    images_per_class: dict[str, int]
    crosses: int
    """Number of images with more than one finding."""
    patients: int
    centres: tuple[str, ...]
    outside_share: float
    """Share of all counts that lie outside the stored field; 0 for pictures."""
    notes: tuple[str, ...]
    """Sentences that the user should read."""
    flagged: dict[tuple[str, ...], int] = field(default_factory=dict)
    """Set of flags, without their numbers -> number of images that have exactly these."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Kind of machine-made files, such as thumbnails -> number of them."""

    def lines(self) -> list[str]:
        """Return the summary as lines for a terminal."""
        classes = ", ".join(f"{name} {number}" for name, number in self.images_per_class.items())
        what = "images with counts" if self.kind == "counts" else "pictures"
        lines = [
            f"imported {self.imported} {what} of {self.patients} patients into {self.folder}",
            f"classes: {classes}; with more than one finding: {self.crosses}",
            f"centres: {_first(self.centres)}",
        ]
        if self.read_before:
            lines.append(f"continued: {self.read_before} files had been read before")
        if self.outside_share:
            lines.append(f"counts outside the stored field: {self.outside_share:.1%}")
        if self.rejected_list is not None:
            files = "1 file" if len(self.rejected) == 1 else f"{len(self.rejected)} files"
            lines.append(f"not imported: {files}, see {self.rejected_list}")
        return [*lines, *(f"note: {note}" for note in self.notes), *self.table()]

    def table(self) -> list[str]:
        """Return the table of kinds: files that were taken, taken with a flag, refused, skipped."""
        plain = 0
        flags: Counter[str] = Counter()
        for names, number in self.flagged.items():
            told = [name for name in names if name not in UNTOLD]
            plain += 0 if told else number
            flags.update(dict.fromkeys(told, number))
        reasons = Counter(_general(rejection.reason) for rejection in self.rejected)
        if not (flags or reasons or self.skipped):
            return []
        rows = [
            ("taken", plain),
            *_rows(flags, "taken, ", lambda name: f"{name}: {FLAGS.get(name, name)}"),
            *_rows(reasons, "refused: ", str),
        ]
        if self.skipped:
            kinds = ", ".join(self.skipped)
            rows.append((f"skipped, not from a camera: {kinds}", sum(self.skipped.values())))
        lines = [f"{number:>8,}  {_short(text)}" for text, number in rows]
        several = sum(flags.values()) > sum(self.flagged.values()) - plain
        note = " (an image with several flags counts in each)" if several else ""
        return [f"   files  what became of them{note}", *lines]


def _first(centres: Sequence[str]) -> str:
    more = len(centres) - MOST_CENTRES
    return ", ".join(centres[:MOST_CENTRES]) + (f" and {more} more" if more > 0 else "")


def _rows(kinds: Counter[str], fate: str, text: Callable[[str], str]) -> Iterator[tuple[str, int]]:
    """Yield a row for each of the most frequent kinds, and one for all others."""
    most = kinds.most_common(MOST_KINDS if len(kinds) <= MOST_KINDS else MOST_KINDS - 1)
    for name, number in most:
        yield fate + text(name), number
    others = len(kinds) - len(most)
    if others:
        yield f"{fate}{others} kinds more", sum(kinds.values()) - sum(number for _, number in most)


def _general(reason: str) -> str:
    """Return a reason without the numbers of one file."""
    return re.sub(r"\b\d+(,\d{3})+\b", "N", reason)


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 4]} ..."
