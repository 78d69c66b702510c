"""Read files into a data set."""

from __future__ import annotations

from pathlib import Path

from thyroid import progress
from thyroid.data.dataset import Dataset
from thyroid.data.importer import import_folder


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
) -> Dataset:
    """Read a folder of DICOM files or pictures into a data set, and say what was not usable.

    Parameters
    ----------
    source : folder of NM DICOM files, or of PNG, JPEG or TIFF pictures
    dataset : new folder to write
    labels : CSV with file, label and optionally patient, centre, findings; default:
        SOURCE/labels.csv, or else the class folders' names
    size : side of the data set's matrix in pixels
    pixel_mm : pixel size in mm that counts are re-binned to
    name : of the data set in reports; default: its folder's name
    licence : under which the images may be used
    patients_key : secret file, made if it is not there: data sets imported with the same one give
        one patient one name

    Raises
    ------
    InputError
        When nothing can be imported, or the folder exists.
    """
    with progress.bar("importing", "files") as advance:
        summary = import_folder(
            Path(source),
            Path(dataset),
            labels=None if labels is None else Path(labels),
            size=size,
            pixel_mm=pixel_mm,
            name=name,
            licence=licence,
            patients_key=None if patients_key is None else Path(patients_key),
            progress=advance,
        )
    for line in summary.lines():
        progress.say(line)
    return Dataset.open(dataset, verify=False)
