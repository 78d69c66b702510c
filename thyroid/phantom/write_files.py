"""Phantoms on disk: as a data set, as NM DICOM files, or as pictures."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from thyroid.bounds import require_options
from thyroid.data.dataset import write_dataset
from thyroid.data.label_table import COLUMNS
from thyroid.data.scintigram import SIMULATOR, Scintigram, bring_to_grid, image_id
from thyroid.errors import InputError
from thyroid.files import new_folder, require_new_folder
from thyroid.phantom.dicom_writer import nm_object
from thyroid.phantom.pictures import Export, picture_of
from thyroid.phantom.presets import PRESETS, Preset, source_of
from thyroid.phantom.simulator import Address, SimulatedScintigram, addresses, simulate

Format = Literal["dataset", "dicom", "png"]
Progress = Callable[[int, int], None]

LICENCE = "CC0-1.0: simulated, no patient was involved"


def write_phantom(
    folder: Path,
    *,
    preset: str,
    images_per_class: int | Mapping[str, int],
    images_per_cross: int,
    format: Format,
    seed: int,
    size: int = 128,
    pixel_mm: float = 2.0,
    progress: Progress | None = None,
) -> None:
    """Simulate a phantom and write it. The folder appears all at once or not at all.

    Parameters
    ----------
    images_per_class : images of each single finding, 1 or more, or a number for each of them.
    images_per_cross : images of each combination of findings.
    format : `dataset` gives the same matrices and labels, in the same order, as importing the files
        of `dicom`. `dicom` and `png` come with the labels.csv that the import reads.
    size, pixel_mm : size and pixel size of the data set's matrices; DICOM and PNG keep the
        centre's.
    progress : called with the number of images done and of all images.

    Raises
    ------
    InputError : an argument is out of its range, or the folder exists or cannot be written.
    """
    folder = Path(folder)
    if preset not in PRESETS:
        raise InputError(f"there is no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    if format not in get_args(Format):
        raise InputError(f"there is no format {format!r}; choose dataset, dicom or png")
    least = (
        images_per_class if isinstance(images_per_class, int) else min(images_per_class.values())
    )
    numbers = {"images_per_class": least, "images_per_cross": images_per_cross, "seed": seed}
    require_options(numbers | {"size": size, "pixel_mm": pixel_mm})
    require_new_folder(folder)
    chosen = PRESETS[preset]
    images = addresses(chosen, images_per_class=images_per_class, images_per_cross=images_per_cross)
    if format == "dataset":
        _write_dataset(folder, chosen, images, seed, size, pixel_mm, progress)
    else:
        write_one = _write_dicom if format == "dicom" else partial(_write_png, export=chosen.export)
        _write_files(folder, chosen, images, seed, write_one, progress)


def _write_dataset(
    folder: Path,
    preset: Preset,
    images: Sequence[Address],
    seed: int,
    size: int,
    pixel_mm: float,
    progress: Progress | None,
) -> None:
    """Write the data set that importing the DICOM files would give, without the files."""
    matrices: list[npt.NDArray[np.uint16]] = []
    rows = []
    stored = stored_images(preset, images, seed=seed, size=size, pixel_mm=pixel_mm)
    for done, (row, matrix) in enumerate(stored, start=1):
        matrices.append(matrix)
        rows.append(row)
        if progress is not None:
            progress(done, len(images))
    table = pd.DataFrame(rows).sort_values("image_id", kind="stable")
    write_dataset(
        folder,
        name=preset.name,
        classes=preset.classes,
        size=size,
        pixel_mm=pixel_mm,
        kind="counts",
        source=source_of(preset.name, seed),
        licence=LICENCE,
        patients_key="phantom",
        images=table,
        counts=(matrices[position] for position in table.index),
    )


def stored_images(
    preset: Preset, images: Sequence[Address], *, seed: int, size: int, pixel_mm: float
) -> Iterator[tuple[dict[str, Any], npt.NDArray[np.uint16]]]:
    """Yield each image as a data set stores it: its row of images.csv, and its matrix (H, W)."""
    for scintigram in simulate(preset, images, seed=seed):
        stored = bring_to_grid(as_imported(scintigram), size=size, pixel_mm=pixel_mm)
        row = {
            "image_id": image_id(stored.matrix),
            "patient_id": hashlib.sha256(scintigram.patient.encode()).hexdigest()[:16],
            "centre": scintigram.centre.name,
            "label": scintigram.address.findings[0],
            "findings": ";".join(scintigram.address.findings),
            "source": "phantom",
            "total_counts": int(stored.matrix.sum()),
            "pixel_mm": pixel_mm,
            "flags": ";".join(stored.flags),
        }
        yield row, stored.matrix


def as_imported(scintigram: SimulatedScintigram) -> Scintigram:
    """Return the anterior view as the DICOM reader would."""
    return Scintigram(
        matrix=scintigram.anterior.astype(np.int64),
        kind="counts",
        pixel_mm=(scintigram.centre.pixel_mm, scintigram.centre.pixel_mm),
        flags=("simulated",),
    )


def _write_files(
    folder: Path,
    preset: Preset,
    images: Sequence[Address],
    seed: int,
    write_one: Callable[[Path, SimulatedScintigram], str],
    progress: Progress | None,
) -> None:
    """Write one file per image, and labels.csv."""
    with new_folder(folder) as unfinished:
        rows = _each_file(unfinished, preset, images, seed, write_one, progress)
        with (unfinished / "labels.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            table.writerows(rows)


def _each_file(
    folder: Path,
    preset: Preset,
    images: Sequence[Address],
    seed: int,
    write_one: Callable[[Path, SimulatedScintigram], str],
    progress: Progress | None,
) -> Iterator[tuple[str, str, str, str, str]]:
    """Write the files and yield their rows of labels.csv."""
    simulated = simulate(preset, images, seed=seed, posterior=True)
    for done, scintigram in enumerate(simulated, start=1):
        name = write_one(folder, scintigram)
        findings = scintigram.address.findings
        yield name, findings[0], scintigram.patient, scintigram.centre.name, ";".join(findings)
        if progress is not None:
            progress(done, len(images))


def _write_dicom(folder: Path, scintigram: SimulatedScintigram) -> str:
    name = f"{_stem(scintigram)}.dcm"
    nm_object(scintigram).save_as(folder / name, enforce_file_format=True)
    return name


def _write_png(folder: Path, scintigram: SimulatedScintigram, *, export: Export | None) -> str:
    """Write the anterior view in 8 bits, its highest value white, as a workstation would."""
    key = f"{scintigram.patient}/{scintigram.address.number}"
    picture = picture_of(scintigram.anterior, export, key=key)
    name = f"{'+'.join(scintigram.address.findings)}/{_stem(scintigram)}.png"
    (folder / name).parent.mkdir(exist_ok=True)
    made_by = PngInfo()
    made_by.add_text("Software", SIMULATOR)
    Image.fromarray(picture).save(folder / name, pnginfo=made_by)
    return name


def _stem(scintigram: SimulatedScintigram) -> str:
    """Return the file's name without its ending; it depends on the image alone."""
    return f"{'+'.join(scintigram.address.findings)}-{scintigram.address.number:04d}"
