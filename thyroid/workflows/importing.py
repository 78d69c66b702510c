"""Read files into a data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from thyroid import progress
from thyroid.data.data_checks import class_flags
from thyroid.data.dataset import Dataset
from thyroid.data.import_summary import ImportSummary
from thyroid.data.importer import import_folder
from thyroid.data.medmnist import import_npz
from thyroid.errors import InputError
from thyroid.model.doubtful_images import NOT_LOOKED, doubtful_images


def import_files(
    source: Path | str,
    dataset: Path | str,
    *,
    labels: Path | str | None = None,
    size: int = 128,
    pixel_mm: float = 2.0,
    name: str | None = None,
    licence: str = "unknown",
    patients_key: Path | str | None = None,
    keep_split: bool = False,
) -> Dataset:
    """Read a folder of DICOM files or pictures into a data set, and report unusable files.

    Parameters
    ----------
    source : folder of NM DICOM files, or of PNG, JPEG or TIFF pictures; or a file in MedMNIST's
        format (.npz), whose official split is kept
    dataset : new folder to write
    labels : CSV with file, label and optionally patient, centre, findings; default:
        SOURCE/labels.csv, or else the class folders' names. For an .npz file, CSV with label (the
        number in the file) and class (its name)
    size : side of the data set's matrix in pixels
    pixel_mm : pixel size in mm that counts are re-binned to
    name : name of the data set in reports; default: its folder's name
    licence : licence of the images
    patients_key : file with a secret key, which is made if it does not exist; data sets imported
        with the same key give a patient the same pseudonym
    keep_split : keep the split of the source: its folders train, test and val, or the column part
        of labels.csv

    Raises
    ------
    InputError
        When nothing can be imported, or the folder exists.
    """
    summary = read_source(
        Path(source),
        Path(dataset),
        labels=None if labels is None else Path(labels),
        size=size,
        pixel_mm=pixel_mm,
        name=name,
        licence=licence,
        patients_key=None if patients_key is None else Path(patients_key),
        keep_split=keep_split,
    )
    for line in summary.lines():
        progress.say(line)
    return Dataset.open(dataset, verify=False)


def read_source(
    source: Path,
    dataset: Path,
    *,
    labels: Path | None,
    size: int,
    pixel_mm: float,
    name: str | None,
    licence: str,
    patients_key: Path | None,
    keep_split: bool,
) -> ImportSummary:
    """Read a folder, or a file in MedMNIST's format; parameters are those of `import_files`."""
    if source.suffix == ".npz" and not source.is_dir():
        if patients_key is not None:
            raise InputError(f"{source} names no patients: leave --patients-key out.")
        summary = import_npz(source, dataset, labels=labels, size=size, name=name, licence=licence)
    else:
        with progress.bar("importing", "files") as advance:
            summary = import_folder(
                source,
                dataset,
                labels=labels,
                size=size,
                pixel_mm=pixel_mm,
                name=name,
                licence=licence,
                patients_key=patients_key,
                keep_split=keep_split,
                progress=advance,
            )
    opened = Dataset.open(dataset, verify=False)
    summary = _noted(summary, *_of_classes(opened))
    looked = doubtful_images(opened)
    if looked is None:
        return _noted(summary, f"{NOT_LOOKED}.")
    if not looked.doubtful:
        return summary
    return _noted(
        summary,
        "a network that was trained on simulated scintigrams finds no thyroid scintigram in "
        f"{len(looked.doubtful)} of {looked.images} images, such as image {looked.doubtful[0]}. It "
        "is wrong about one scintigram in a hundred on average, or fewer: "
        f"`thyroid inspect {dataset}` shows them.",
    )


def _of_classes(dataset: Dataset) -> Iterator[str]:
    """Yield a sentence for each class with too few patients or images."""
    return (flag.sentence for flag in class_flags(dataset))


def _noted(summary: ImportSummary, *notes: str) -> ImportSummary:
    return dataclasses.replace(summary, notes=(*summary.notes, *notes))
