"""Import: a folder of scintigrams becomes a data set that holds nothing of a patient's identity.

Patients are named by an HMAC whose key is the SHA-256 of all that was imported, file headers and
labels.csv included. So importing the same folder again gives the same data set, bit for bit, while
nobody who lacks the original files can find out whose image it is by trying names or numbers; and
two imports cannot be linked by patient. Rows are ordered by image, not by file name.

Centres of labels.csv keep their names where these are codes ("A", "07", "site-3"), so that one of
them can be left out by name. All other names, and every institution that a file names, become
centre-1, centre-2, ... in an order that says nothing.
"""

import csv
import hashlib
import hmac
import io
import itertools
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from thyroid.data.dataset import image_id, write_dataset
from thyroid.data.labels import LabelledFile, Listing, in_order, list_source
from thyroid.data.reader import parse_scintigram, read_bytes
from thyroid.data.scintigram import UnusableFile, bring_to_grid
from thyroid.errors import InputError
from thyroid.files import cannot_write, replace_text, require_new_folder

UNKNOWN_CENTRE = "unknown"
# up to three characters, or up to sixteen with a digit among them: no word that names a hospital
CENTRE_CODE = re.compile(r"(?=.*[0-9]|.{1,3}$)[A-Za-z0-9_.-]{1,16}")


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A file that was not imported."""

    file: str
    """Relative to the source folder."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """What an import did."""

    folder: Path
    imported: int
    rejected: tuple[Rejection, ...]
    rejected_list: Path | None
    """CSV with file and reason, beside the data set: file names may hold names of patients."""
    kind: Literal["counts", "display"]
    images_per_class: dict[str, int]
    crosses: int
    """Images with more than one finding."""
    patients: int
    centres: tuple[str, ...]
    outside_share: float
    """Of all counts, those beyond the stored field; 0 for pictures."""
    notes: tuple[str, ...]
    """Sentences that the user should read."""

    def lines(self) -> list[str]:
        """For a terminal, one line each."""
        classes = ", ".join(f"{name} {number}" for name, number in self.images_per_class.items())
        what = "images with counts" if self.kind == "counts" else "pictures"
        lines = [
            f"imported {self.imported} {what} of {self.patients} patients into {self.folder}",
            f"classes: {classes}; with more than one finding: {self.crosses}",
            f"centres: {', '.join(self.centres)}",
        ]
        if self.outside_share:
            lines.append(f"counts outside the stored field: {self.outside_share:.1%}")
        if self.rejected_list is not None:
            lines.append(f"not imported: {len(self.rejected)} files, see {self.rejected_list}")
            reasons = Counter(rejection.reason for rejection in self.rejected)
            lines += [f"  {number} x {reason}" for reason, number in reasons.most_common(5)]
        return lines + [f"note: {note}" for note in self.notes]


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """What is known of one imported file. Holds identities: it lives in memory only."""

    image_id: str
    """Equal for copies of one image, until they are numbered."""
    file: str = field(repr=False)
    """Relative to the source folder."""
    kind: Literal["counts", "display"]
    total_counts: int
    outside: int
    flags: tuple[str, ...]
    findings: tuple[str, ...]
    centre: str = field(repr=False)
    """As labels.csv says; empty where it does not."""
    patient: str = field(repr=False)
    """Empty when neither the labels nor the file name the patient."""
    institution: str = field(repr=False)
    file_sha256: bytes = field(repr=False)


def import_folder(
    source: Path,
    dataset: Path,
    *,
    labels: Path | None = None,
    size: int = 128,
    pixel_mm: float = 2.0,
    name: str | None = None,
    licence: str = "unknown",
    progress: Callable[[int, int], None] | None = None,
) -> ImportSummary:
    """Import all usable files of a folder; see thyroid.data.labels for how they are labelled.

    Files that cannot be used are listed with their reasons in `<dataset>.rejected.csv`, beside the
    data set and not in it. A patient is, in this order, what labels.csv says, the DICOM PatientID,
    the folder between class folder and file, or else the image itself (copies of one image are one
    patient). A centre is what labels.csv says if it is a code (CENTRE_CODE), and a number for any
    other name; without labels, a number for each InstitutionName (StationName where that is
    empty). It is "unknown" where neither says, or where labels.csv says for other rows only.

    Parameters
    ----------
    size : rows and columns of the stored matrices.
    pixel_mm : their pixel size in mm, for counts.
    progress : called with files done and files in all.

    Raises
    ------
    InputError : nothing could be imported, the folder mixes counts and pictures, labels.csv is
        wrong, or the data set cannot be written.
    """
    source, dataset = Path(source), Path(dataset)
    if not 16 <= size <= 1024 or not 0.1 <= pixel_mm <= 20:
        raise InputError(
            f"size {size} and pixel size {pixel_mm} mm make no image; "
            "use 16 to 1024 pixels and 0.1 to 20 mm"
        )
    if source.resolve() in dataset.resolve().parents:
        raise InputError(f"{dataset} lies within {source}, which is imported; choose another place")
    require_new_folder(dataset)
    listing = list_source(source, labels)
    with cannot_write(dataset), _nameless_file(dataset.parent) as waiting:
        records, rejected = _read_all(listing, waiting, size, pixel_mm, progress)
        rejected_list = _list_rejected(dataset, rejected)
        if not records:
            raise _nothing_imported(source, rejected, rejected_list)
        kind = records[0].kind
        table = _table(records, pixel_mm, key=_key(records, listing.labels))
        written = write_dataset(
            dataset,
            name=name or dataset.name,
            classes=in_order(finding for record in records for finding in record.findings),
            size=size,
            pixel_mm=pixel_mm if kind == "counts" else None,
            kind=kind,
            source="import",
            licence=licence,
            images=table,
            counts=(_waiting_matrix(waiting, position, size) for position in table.index),
        )
    outside = sum(record.outside for record in records)
    outside_share = outside / max(outside + int(written.images["total_counts"].sum()), 1)
    labelled = written.images["label"].value_counts()
    return ImportSummary(
        folder=dataset,
        imported=len(records),
        rejected=tuple(rejected),
        rejected_list=rejected_list,
        kind=kind,
        images_per_class={label: int(labelled.get(label, 0)) for label in written.info.classes},
        crosses=int(written.is_cross.sum()),
        patients=len(set(written.patients)),
        centres=tuple(sorted(set(written.images["centre"]))),
        outside_share=outside_share,
        notes=tuple(_notes(records, outside_share)),
    )


def read_image(
    file: LabelledFile, *, size: int, pixel_mm: float
) -> tuple[ImageRecord, npt.NDArray[np.uint16]] | Rejection:
    """One file, on the data set's grid, or why not. Depends on nothing else, so may run anywhere.

    Returns
    -------
    The record and the (size, size) matrix.
    """
    try:
        content = read_bytes(file.path)
        scintigram = parse_scintigram(content, file.path)
        stored = bring_to_grid(scintigram, size=size, pixel_mm=pixel_mm)
    except UnusableFile as unusable:
        return Rejection(file=file.name, reason=unusable.reason)
    except InputError as error:
        return Rejection(file=file.name, reason=str(error))
    if stored.matrix.min() == stored.matrix.max():
        return Rejection(file=file.name, reason="nothing of it lies in the stored field")
    own_patient = file.patient if file.patient_is_known else ""
    record = ImageRecord(
        image_id=image_id(stored.matrix),
        file=file.name,
        kind=scintigram.kind,
        total_counts=int(stored.matrix.sum()) if scintigram.kind == "counts" else 0,
        outside=stored.outside,
        flags=stored.flags,
        findings=file.findings,
        centre=file.centre if _is_code(file.centre) else _folded(file.centre),
        patient=own_patient or scintigram.patient or file.patient,
        institution=_folded(scintigram.institution),
        file_sha256=hashlib.sha256(content).digest(),
    )
    return record, stored.matrix


def _read_all(
    listing: Listing,
    waiting: IO[bytes],
    size: int,
    pixel_mm: float,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[ImageRecord], list[Rejection]]:
    """Read every file; matrices are appended to `waiting`, in the order of the records."""
    rejected = [Rejection(file=file, reason=reason) for file, reason in listing.unlabelled]
    records: list[ImageRecord] = []
    first_of_kind: dict[str, str] = {}
    for done, file in enumerate(listing.files, start=1):
        result = read_image(file, size=size, pixel_mm=pixel_mm)
        if isinstance(result, Rejection):
            rejected.append(result)
        else:
            record, matrix = result
            first_of_kind.setdefault(record.kind, file.name)
            if len(first_of_kind) > 1:
                raise InputError(
                    f"{first_of_kind['counts']!r} holds photon counts and "
                    f"{first_of_kind['display']!r} is a picture, and a data set holds one kind; "
                    "import them into two data sets, or list the ones to import in labels.csv"
                )
            records.append(record)
            waiting.write(matrix.tobytes())
        if progress is not None:
            progress(done, len(listing.files))
    return records, rejected


def _nameless_file(folder: Path) -> IO[bytes]:
    """Where matrices wait until all files are read and can be ordered.

    It lies on the disk that is to hold the data set, and is gone once closed, even by a kill.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


def _waiting_matrix(waiting: IO[bytes], position: int, size: int) -> npt.NDArray[np.uint16]:
    length = size * size * 2
    waiting.seek(position * length)
    return np.frombuffer(waiting.read(length), dtype=np.uint16).reshape(size, size)


def _key(records: list[ImageRecord], labels: bytes) -> bytes:
    digest = hashlib.sha256(labels)
    for file_sha256 in sorted(record.file_sha256 for record in records):
        digest.update(file_sha256)
    return digest.digest()


def _table(records: list[ImageRecord], pixel_mm: float, *, key: bytes) -> pd.DataFrame:
    """images.csv, ordered by image; its index is the position in `records`."""

    def keyed(identity: str) -> str:
        return hmac.new(key, identity.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:16]

    table = pd.DataFrame(
        {
            "image_id": [record.image_id for record in records],
            "patient_id": [keyed(r.patient or f"image {r.image_id}") for r in records],
            "centre": _centres(records, keyed),
            "label": [record.findings[0] for record in records],
            "findings": [";".join(record.findings) for record in records],
            "source": "import",
            "total_counts": [record.total_counts for record in records],
            "pixel_mm": [pixel_mm if record.kind == "counts" else np.nan for record in records],
            "flags": [
                ";".join([*r.flags, *([] if r.patient else ["patient_unnamed"])]) for r in records
            ],
        }
    ).sort_values(["image_id", "patient_id", "findings", "centre"], kind="stable")
    copy = table.groupby("image_id").cumcount() + 1
    table["image_id"] += copy.map(lambda number: "" if number == 1 else f"-{number}")
    return table


def _centres(records: list[ImageRecord], keyed: Callable[[str], str]) -> list[str]:
    """The centre of each record, by a name that is no institution's."""
    named = any(record.centre for record in records)
    names = [record.centre if named else record.institution for record in records]
    label_of = {name: name for name in names if named and _is_code(name)}
    numbers = (f"centre-{number}" for number in itertools.count(1))
    free = (label for label in numbers if label not in label_of)
    label_of |= zip(sorted(set(names) - {"", *label_of}, key=keyed), free, strict=False)
    label_of[""] = UNKNOWN_CENTRE
    return [label_of[name] for name in names]


def _is_code(centre: str) -> bool:
    return centre == UNKNOWN_CENTRE or CENTRE_CODE.fullmatch(centre) is not None


def _folded(name: str) -> str:
    """Equal for spellings that differ in case and white space."""
    return " ".join(name.casefold().split())


def _list_rejected(dataset: Path, rejected: list[Rejection]) -> Path | None:
    """Write `<dataset>.rejected.csv`; if there is nothing to list, remove an earlier import's."""
    path = dataset.with_name(f"{dataset.name}.rejected.csv")
    if not rejected:
        path.unlink(missing_ok=True)
        return None
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "reason"])
    table.writerows([rejection.file, rejection.reason] for rejection in rejected)
    replace_text(path, text.getvalue())
    return path


def _nothing_imported(source: Path, rejected: list[Rejection], listed: Path | None) -> InputError:
    reason, number = Counter(rejection.reason for rejection in rejected).most_common(1)[0]
    example = next(rejection.file for rejection in rejected if rejection.reason == reason)
    return InputError(
        f"no file of {source} could be imported; for {number} of {len(rejected)}, such as "
        f"{example!r}, the reason is: {reason}; {listed} has them all"
    )


def _notes(records: list[ImageRecord], outside_share: float) -> Iterator[str]:
    unnamed = sum(not record.patient for record in records)
    if unnamed:
        yield (
            f"{unnamed} images name no patient and count as a patient each: where one patient has "
            "several, name patients in labels.csv, or training and test data will share them."
        )
    elif len(records) > 1 and len({record.patient for record in records}) == 1:
        yield (
            "All images carry the same patient, as after anonymisation: name patients in "
            "labels.csv, for images cannot be split otherwise."
        )
    file_of: dict[str, dict[str, str]] = defaultdict(dict)  # image -> patient -> file
    for record in records:
        file_of[record.image_id].setdefault(record.patient, record.file)
    shared = [list(files.values()) for files in file_of.values() if len(files) > 1]
    if shared:
        yield (
            f"{len(shared)} images came under more than one patient, such as {shared[0][0]!r} and "
            f"{shared[0][1]!r}; training will refuse them: give copies the same patient in "
            "labels.csv, or remove them, and import again."
        )
    if any(not _is_code(record.centre) for record in records if record.centre):
        yield (
            "Centres that labels.csv gives a name are numbered, for it may be an institution's; "
            "codes, such as 'A' or 'site-3', are kept and can be recognised."
        )
    if records[0].kind == "display":
        yield (
            "These are pictures, not counts: pixel size, uptake ratios and thinning of counts "
            "are not available."
        )
        yield (
            "Text burnt into pictures (names, dates, scales) is kept as it is: look at the contact "
            "sheets, and crop it away before import; it also gives labels away to a network."
        )
    if outside_share > 0.5:
        yield (
            f"{outside_share:.0%} of all counts lie outside the stored field; "
            "a larger size or pixel size keeps more of them."
        )
