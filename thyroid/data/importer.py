"""Import: turn a folder of scintigrams into a data set without the identity of any patient.

Patients are named by an HMAC whose key is the SHA-256 of everything imported, file headers and
labels.csv included. Importing the same folder again therefore gives the same data set, bit for bit;
nobody without the original files can find out whose image it is by trying names or numbers; and two
imports cannot be linked by patient. A user who wants to link them, to know that a test set has
other patients, keeps the key in a file. Rows are ordered by image, not by file name.

Centres in labels.csv keep their names if these are codes ("A", "07", "site-3"), so that one of them
can be left out by name. All other names, and all institutions that files name, become centre-1,
centre-2, ... in an order without meaning.
"""

import contextlib
import csv
import hashlib
import hmac
import io
import itertools
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from thyroid.bounds import require_options
from thyroid.data.dataset import OFFICIAL_PART, PATIENT_LIKE, write_dataset
from thyroid.data.import_notes import notes_of
from thyroid.data.import_summary import ImportSummary
from thyroid.data.labels import Listing, in_order, list_source
from thyroid.data.patient_names import without_zeros
from thyroid.data.processes import read_images
from thyroid.data.record import UNKNOWN_CENTRE, ImageRecord, Rejection, is_code
from thyroid.data.unfinished import Unfinished, remove_remains, unfinished_import, working_folder
from thyroid.errors import InputError
from thyroid.files import cannot_write, replace_text, require_new_folder
from thyroid.machine import cores

KEY = re.compile(rb"[0-9a-f]{64}\s*")
"""Content of a key file. No other file may be a key: others may know it, or it may change."""
FILES_PER_PROCESS = 300
"""Starting a process takes 0.4 s, the time to read 70 DICOM files or 600 small pictures."""


def import_folder(
    source: Path,
    dataset: Path,
    *,
    labels: Path | None = None,
    size: int = 128,
    pixel_mm: float = 2.0,
    name: str | None = None,
    licence: str = "unknown",
    patients_key: Path | None = None,
    keep_split: bool = False,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportSummary:
    """Import all usable files of a folder, labelled as thyroid.data.labels describes.

    Unusable files are listed with their reasons in `<dataset>.rejected.csv`, beside the data set
    and not in it. The patient is taken from labels.csv, or else the DICOM PatientID, or else the
    folder between class folder and file; otherwise each image counts as a patient, and its copies
    as the same patient. The centre is taken from labels.csv if it is a code (CENTRE_CODE); other
    names get numbers. If labels.csv names no centres, each InstitutionName gets a number
    (StationName if that is empty). The centre of all other images is "unknown".

    Parameters
    ----------
    size : rows and columns of the stored matrices.
    pixel_mm : pixel size in mm of the stored matrices, for counts.
    patients_key : key file, made if it does not exist. Data sets imported with the same key give a
        patient the same name, if all their patients are named.
    keep_split : keep the split of the source, by its folders or a column of labels.csv, as the
        official split of the data set.
    processes : number of processes that read files; None for one per core, as long as each has
        FILES_PER_PROCESS. The data set does not depend on it.
    progress : called with the number of files done and the number of files to read.

    Raises
    ------
    InputError : nothing could be imported, the folder mixes counts and pictures, labels.csv or the
        key is wrong, or the data set cannot be written.
    ProcessLost : a process that read files was killed. Files read so far are kept, as after any
        other interruption; see thyroid.data.unfinished.
    """
    source, dataset = Path(source), Path(dataset)
    require_options({"size": size, "pixel_mm": pixel_mm})
    if source.resolve() in dataset.resolve().parents:
        raise InputError(
            f"{dataset} lies within {source}, the folder to import; choose another place"
        )
    remove_remains(dataset)
    require_new_folder(dataset)
    listing = list_source(source, labels, keep_split=keep_split)
    secret = None if patients_key is None else _secret(patients_key)
    with contextlib.ExitStack() as stack:
        stack.enter_context(cannot_write(dataset))
        dataset.parent.mkdir(parents=True, exist_ok=True)
        unfinished = stack.enter_context(
            unfinished_import(dataset, listing, size=size, pixel_mm=pixel_mm)
        )
        before = len(unfinished.results)
        _read_all(listing, unfinished, processes, size, pixel_mm, progress)
        records = [r for r in unfinished.results if isinstance(r, ImageRecord)]
        rejected = [Rejection(file=file, reason=reason) for file, reason in listing.unlabelled]
        rejected += [r for r in unfinished.results if isinstance(r, Rejection)]
        rejected_list = _list_rejected(dataset, rejected)
        if not records:
            raise _nothing_imported(source, rejected, rejected_list)
        kind = records[0].kind
        named = all(r.patient and "patient_by_study" not in r.flags for r in records)
        table = _table(records, pixel_mm, key=secret or _key(records, listing.labels))
        if keep_split:
            table[OFFICIAL_PART] = _parts(records, listing, table)
        written = write_dataset(
            working_folder(dataset) / "dataset",
            name=name or dataset.name,
            classes=in_order(finding for record in records for finding in record.findings),
            size=size,
            pixel_mm=pixel_mm if kind == "counts" else None,
            kind=kind,
            source="import",
            licence=licence,
            images=table,
            counts=map(unfinished.matrix, table.index),
            patients_key=_fingerprint(secret) if secret and named else None,
        )
        require_new_folder(dataset)
        written.folder.rename(dataset)
    outside = sum(record.outside for record in records)
    outside_share = outside / max(outside + int(written.images["total_counts"].sum()), 1)
    labelled = written.images["label"].value_counts()
    return ImportSummary(
        folder=dataset,
        imported=len(records),
        read_before=before,
        rejected=tuple(rejected),
        rejected_list=rejected_list,
        kind=kind,
        images_per_class={label: int(labelled.get(label, 0)) for label in written.info.classes},
        crosses=int(written.is_cross.sum()),
        patients=len(set(written.patients)),
        centres=tuple(sorted(set(written.images["centre"]))),
        outside_share=outside_share,
        notes=(*listing.notes, *notes_of(records, outside_share, keyed=secret is not None)),
        skipped=listing.skipped,
        flagged=dict(Counter(_kind(record) for record in records)),
    )


def _read_all(
    listing: Listing,
    unfinished: Unfinished,
    processes: int | None,
    size: int,
    pixel_mm: float,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Read the files that no earlier import has read."""
    kinds = _OneKind()
    for result in unfinished.results:
        kinds.see(result)
    left = listing.files[len(unfinished.results) :]
    if processes is None:
        processes = min(cores(), len(left) // FILES_PER_PROCESS)
    readings = read_images(left, size=size, pixel_mm=pixel_mm, processes=processes)
    with contextlib.closing(readings):
        for done, reading in enumerate(readings, start=1):
            kinds.see(reading[0] if isinstance(reading, tuple) else reading)
            unfinished.append(reading)
            if progress is not None:
                progress(done, len(left))


class _OneKind:
    """Refuses the first image whose kind differs from that of the images before it."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def see(self, result: ImageRecord | Rejection) -> None:
        if isinstance(result, Rejection):
            return
        self._first.setdefault(result.kind, result.file)
        if len(self._first) > 1:
            raise InputError(
                f"{self._first['counts']!r} holds photon counts and {self._first['display']!r} is "
                "a picture, but a data set holds only one kind; import them into two data sets, "
                "or list only one kind in labels.csv"
            )


def _secret(file: Path) -> bytes:
    """Return the key in the user's file; make the file if it does not exist."""
    with cannot_write(file):
        if not file.exists():
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as new:
                new.write(secrets.token_hex(32).encode())
    try:
        secret = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the patients' key {file}: {error.strerror}") from None
    if not KEY.fullmatch(secret):
        raise InputError(
            f"{file} is not a patients' key (64 hexadecimal digits); name a file that does not "
            "exist to make a new key"
        )
    return secret


def _fingerprint(secret: bytes) -> str:
    return hmac.new(secret, b"thyroid: fingerprint of a patients' key", "sha256").hexdigest()[:16]


def _parts(records: list[ImageRecord], listing: Listing, table: pd.DataFrame) -> list[str]:
    """Return the part of each row of the table in the split that the source has.

    Raises
    ------
    InputError : a patient, or a copy of an image, is in two parts.
    """
    part_of = {file.name: file.part for file in listing.files}
    parts = [part_of[records[position].file] for position in table.index]
    first: dict[str, int] = {}
    for place, (patient, part) in enumerate(zip(table["patient_id"], parts, strict=True)):
        other = first.setdefault(patient, place)
        if parts[other] != part:
            one, two = (records[table.index[at]].file for at in (other, place))
            raise InputError(
                f"{one!r} and {two!r} show one patient, or are copies, but are in two parts of "
                "the source's split; leave one out, or make a new split without --keep-split"
            )
    return parts


def _key(records: list[ImageRecord], labels: bytes) -> bytes:
    digest = hashlib.sha256(labels)
    for file_sha256 in sorted(record.file_sha256 for record in records):
        digest.update(bytes.fromhex(file_sha256))
    return digest.digest()


def _table(records: list[ImageRecord], pixel_mm: float, *, key: bytes) -> pd.DataFrame:
    """Make the table of images.csv, ordered by image; its index is the position in `records`."""

    def keyed(identity: str) -> str:
        # a patient has the same one in all data sets with this key
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
            "flags": [";".join([*r.flags, *_of_patient(r.patient, keyed)]) for r in records],
        }
    ).sort_values(["image_id", "patient_id", "findings", "centre"], kind="stable")
    copy = table.groupby("image_id").cumcount() + 1
    table["image_id"] += copy.map(lambda number: "" if number == 1 else f"-{number}")
    return table


def _of_patient(patient: str, keyed: Callable[[str], str]) -> Iterator[str]:
    """Yield the flags of a patient's name."""
    if not patient:
        yield "patient_unnamed"
    elif (other := without_zeros(patient)) != patient and not patient.startswith("study "):
        yield f"{PATIENT_LIKE}{keyed(other)}"


def _centres(records: list[ImageRecord], keyed: Callable[[str], str]) -> list[str]:
    """Return a centre for each record, under a name that is not an institution's."""
    named = any(record.centre for record in records)
    names = [record.centre if named else record.institution for record in records]
    label_of = {name: name for name in names if named and is_code(name)}
    numbers = (f"centre-{number}" for number in itertools.count(1))
    free = (label for label in numbers if label not in label_of)
    label_of |= zip(sorted(set(names) - {"", *label_of}, key=keyed), free, strict=False)
    label_of[""] = UNKNOWN_CENTRE
    return [label_of[name] for name in names]


def _list_rejected(dataset: Path, rejected: list[Rejection]) -> Path | None:
    """Write `<dataset>.rejected.csv`; with nothing to list, remove that of an earlier import."""
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
        f"no file of {source} could be imported; {number} of {len(rejected)} files, such as "
        f"{example!r}, for this reason: {reason}; {listed} lists all files with their reasons"
    )


def _kind(record: ImageRecord) -> tuple[str, ...]:
    """Return the flags of an image, without numbers, as the summary counts them."""
    names = [flag.partition("=")[0] for flag in record.flags]
    return (*names, *([] if record.patient else ["patient_unnamed"]))
