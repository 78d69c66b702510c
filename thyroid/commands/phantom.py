"""`thyroid phantom`."""

from __future__ import annotations

from typing import Literal

from thyroid.commands.options import DatasetPath
from thyroid.errors import InputError


def phantom(
    folder: DatasetPath,
    *,
    preset: str = "thyroid7",
    images_per_class: int | None = None,
    images_per_cross: int | None = None,
    format: Literal["dataset", "dicom", "png"] = "dataset",
    seed: int = 0,
    size: int = 128,
    pixel_mm: float = 2.0,
) -> None:
    """Simulate scintigrams.

    Args:
        folder: new folder to write.
        preset: thyroid7; thyroid7-development (to choose a method's design) and thyroid7-external
            (to test it), which have the same diseases at other centres; clinic7, with patients as
            varied as real ones, three diseases of them as frequent as in a published cohort; or
            clinic7-external, with other patients at other centres.
        images_per_class: scintigrams of each disease alone; default: the preset's.
        images_per_cross: scintigrams of each pair of diseases; default: the preset's.
        format: a data set, NM DICOM files with labels.csv, or 8-bit PNG in class folders.
        seed: random seed of the simulated patients.
        size: side of a data set's matrix in pixels.
        pixel_mm: pixel size of a data set in mm.
    """
    from thyroid import progress
    from thyroid.phantom.presets import PRESETS
    from thyroid.phantom.simulator import addresses
    from thyroid.phantom.write_files import write_phantom

    if preset not in PRESETS:
        raise InputError(f"--preset '{preset}' is unknown: choose {' or '.join(PRESETS)}.")
    known = PRESETS[preset]
    per_class = known.images_per_class if images_per_class is None else images_per_class
    per_cross = known.images_per_cross if images_per_cross is None else images_per_cross
    with progress.bar("simulating", "images") as advance:
        write_phantom(
            folder,
            preset=preset,
            images_per_class=per_class,
            images_per_cross=per_cross,
            format=format,
            seed=seed,
            size=size,
            pixel_mm=pixel_mm,
            progress=advance,
        )
    total = len(addresses(known, images_per_class=per_class, images_per_cross=per_cross))
    print(f"{folder}: {total} simulated scintigrams ({format})")
