"""`thyroid import`."""

from __future__ import annotations

from pathlib import Path

from thyroid.commands.options import DatasetPath, SourcePath


def import_(
    source: SourcePath,
    dataset: DatasetPath,
    *,
    labels: Path | None = None,
    size: int = 128,
    pixel_mm: float = 2.0,
    name: str | None = None,
    licence: str = "unknown",
    patients_key: Path | None = None,
    keep_split: bool = False,
) -> None:
    """Read files into a data set.

    Args:
        source: folder of NM DICOM files, or of PNG, JPEG or TIFF pictures; or a file in MedMNIST's
            format (.npz), whose official split is kept.
        dataset: new folder to write.
        labels: CSV with file, label and optionally patient, centre, findings; default:
            SOURCE/labels.csv, or else the class folders' names. For an .npz file: CSV with label
            (the number in the file) and class (its name); default: class_0, class_1, ...
        size: side of the data set's matrix in pixels.
        pixel_mm: pixel size in mm that counts are re-binned to.
        name: name of the data set in reports; default: its folder's name.
        licence: licence of the images.
        patients_key: file with a secret key, which is made if it does not exist. Data sets imported
            with the same key give a patient the same pseudonym, so a test set that shares patients
            with the training data is refused. Default: pseudonyms that no two data sets share.
        keep_split: keep the split that SOURCE has: folders train, test and perhaps val above or
            below the class folders, or the column part of labels.csv.
    """
    from thyroid.workflows.importing import read_source

    summary = read_source(
        source,
        dataset,
        labels=labels,
        size=size,
        pixel_mm=pixel_mm,
        name=name,
        licence=licence,
        patients_key=patients_key,
        keep_split=keep_split,
    )
    for line in summary.lines():
        print(line)
