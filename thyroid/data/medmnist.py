"""Import of a file in MedMNIST's format: small pictures with labels and an official split.

The file is a NumPy archive of `train_images`, `train_labels` and the same for `val` and `test`
(Yang et al. 2023). Images are uint8, (N, H, H) or (N, H, H, 3); labels are integers, (N, 1).
Nothing names patients, so every image counts as a patient, together with its copies. Copies of a
test image are left out of the other parts, and copies of a validation image are left out of the
training part. Images are read from the archive one by one, and nothing in it is executed.
"""

from __future__ import annotations

import csv
import io
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from thyroid.bounds import require_options
from thyroid.data.dataset import OFFICIAL_PART, write_dataset
from thyroid.data.import_summary import ImportSummary
from thyroid.data.labels import in_order
from thyroid.data.pictures import is_coloured
from thyroid.data.record import UNKNOWN_CENTRE
from thyroid.data.scintigram import (
    FULL_SCALE,
    Scintigram,
    border,
    bring_to_grid,
    image_id,
    is_saturated,
)
from thyroid.errors import InputError
from thyroid.files import require_new_folder

PARTS = {"test": "test", "val": "validation", "train": "train"}
"""Prefix of an array's name -> part; an image with copies stays in the first of these parts."""
SIDES = (8, 1024)
"""Least and greatest side of an image in pixels."""
MOST_CLASSES = 1000
MOST_IMAGES = 10_000_000
"""Most images of a part: labels are held in memory."""
MOST_RATIO, SMALL_BYTES = 100, 2**26
"""An array is refused if its unpacked size is above SMALL_BYTES and above MOST_RATIO times the
packed."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    part: str
    label: int
    """Number of its class in the file."""
    pixels: str
    """Identifier of its pixels; copies have the same."""
    flags: tuple[str, ...]
    """Keys of thyroid.data.dataset.FLAGS."""


def import_npz(
    source: Path,
    dataset: Path,
    *,
    labels: Path | None = None,
    size: int = 128,
    name: str | None = None,
    licence: str = "unknown",
) -> ImportSummary:
    """Import a file in MedMNIST's format as pictures, with its official split.

    Parameters
    ----------
    labels : CSV with the columns label (the number in the file) and class (its name); default:
        class_0, class_1, ...
    size : rows and columns of the stored matrices; other sides are resampled as pictures are

    Raises
    ------
    InputError : the file has another format or several labels per image, a label has no name, or
        the data set cannot be written.
    """
    require_options({"size": size})
    require_new_folder(dataset)
    with _reading(source), zipfile.ZipFile(source) as archive:
        rows, blank, copies = _rows(source, archive)
        kept = [row for row in rows if row is not None]
        class_of = _class_names(labels, sorted({row.label for row in kept}))
        numbers = Counter[str]()
        identifiers = []
        for row in kept:
            numbers[row.pixels] += 1
            again = numbers[row.pixels]
            identifiers.append(row.pixels if again == 1 else f"{row.pixels}-{again}")
        named = [class_of[row.label] for row in kept]
        table = pd.DataFrame(
            {
                "image_id": identifiers,
                "patient_id": [row.pixels for row in kept],
                "centre": UNKNOWN_CENTRE,
                "label": named,
                "findings": named,
                "source": "import",
                "total_counts": 0,
                "pixel_mm": np.nan,
                "flags": [";".join((*row.flags, "patient_unnamed")) for row in kept],
                OFFICIAL_PART: [row.part for row in kept],
            }
        )
        written = write_dataset(
            dataset,
            name=name or dataset.name,
            classes=class_of.values() if labels is None else in_order(class_of.values()),
            size=size,
            pixel_mm=None,
            kind="display",
            source="import",
            licence=licence,
            images=table,
            counts=_stored(source, archive, rows, size),
        )
    shown = written.images["label"].value_counts()
    return ImportSummary(
        folder=dataset,
        imported=len(kept),
        read_before=0,
        rejected=(),
        rejected_list=None,
        kind="display",
        images_per_class={label: int(shown.get(label, 0)) for label in written.info.classes},
        crosses=0,
        patients=len(set(written.patients)),
        centres=(UNKNOWN_CENTRE,),
        outside_share=0.0,
        notes=tuple(_notes(kept, blank, copies)),
    )


def _notes(rows: list[_Row], blank: int, copies: int) -> Iterator[str]:
    parts = Counter(row.part for row in rows)
    told = ", ".join(f"{part} {parts[part]}" for part in ("train", "validation", "test"))
    yield (
        f"the file's official split is kept ({told}): nothing is trained on its test images; its "
        "validation images are divided among the folds, or used for validation with --folds 1."
    )
    yield "the file names no patients: several images of one patient may be in different parts."
    coloured = sum("colour" in row.flags for row in rows)
    if coloured:
        yield f"{coloured} pictures are in colour, and were reduced to their brightness."
    if copies:
        yield (
            f"{copies} images were left out: copies of test images, and training images that are "
            "copies of validation images."
        )
    if blank:
        yield f"{blank} images were left out, as all of their pixels have one value."


def _rows(source: Path, archive: zipfile.ZipFile) -> tuple[list[_Row | None], int, int]:
    """Return a row for each image (None if left out), and the numbers of blank images and copies.

    Raises
    ------
    InputError : an array is missing or has another shape or type.
    """
    found: list[_Row | None] = []
    part_of: dict[str, str] = {}
    blank = copies = 0
    for prefix, part in PARTS.items():
        labels = _labels(source, archive, prefix)
        images = _images(source, archive, prefix, len(labels))
        if not len(labels):
            raise InputError(f"{source} has no image in its {part} part; use a complete file")
        for pixels, label in zip(images, labels.tolist(), strict=True):
            grey = _grey(pixels)
            identifier = image_id(grey.astype(np.uint16))
            if grey.min() == grey.max():
                blank += 1
                found.append(None)
            elif part_of.setdefault(identifier, part) != part:
                copies += 1
                found.append(None)
            else:
                flags = tuple(_flags(pixels, grey))
                found.append(_Row(part=part, label=label, pixels=identifier, flags=flags))
    for part in PARTS.values():
        if not any(row is not None and row.part == part for row in found):
            raise InputError(f"{source} has no usable image in its {part} part; use another file")
    return found, blank, copies


def _flags(pixels: npt.NDArray[np.uint8], grey: npt.NDArray[np.uint8]) -> Iterator[str]:
    """Yield the flags that this image would have as a picture."""
    if pixels.ndim == 3 and is_coloured(pixels):
        yield "colour"
    if np.median(border(grey)) > grey.max() / 2:
        yield "light_background"
    if is_saturated(grey):
        yield "saturated"


def _stored(
    source: Path, archive: zipfile.ZipFile, rows: list[_Row | None], size: int
) -> Iterator[npt.NDArray[np.uint16]]:
    """Yield the matrices of the rows that are kept, (size, size)."""
    kept = iter(rows)
    for prefix in PARTS:
        for pixels in _images(source, archive, prefix):
            if next(kept) is not None:
                matrix = _grey(pixels).astype(np.int64) * (FULL_SCALE // 255)
                picture = Scintigram(matrix=matrix, kind="display", pixel_mm=None)
                yield bring_to_grid(picture, size=size, pixel_mm=1.0).matrix


def _grey(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Reduce colour to luma (ITU-R 601), (H, H) or (H, H, 3) -> (H, H)."""
    grey: npt.NDArray[np.uint8] = np.asarray(Image.fromarray(pixels).convert("L"))
    return grey


def _images(
    source: Path, archive: zipfile.ZipFile, prefix: str, expected: int | None = None
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the images of a part, (H, H) or (H, H, 3), without holding them all."""
    name = f"{prefix}_images"
    with _open(source, archive, name) as file:
        shape, fortran, dtype = _header(file)
        least, most = SIDES
        square = len(shape) in (3, 4) and shape[1] == shape[2] and least <= shape[1] <= most
        if len(shape) == 4 and shape[3] not in (1, 3):
            raise InputError(
                f"{source}: {name} has the shape {shape} of volumes, but thyroid reads pictures "
                "only, (N, H, H) or (N, H, H, 3)"
            )
        if not square or dtype != np.uint8 or fortran:
            raise InputError(
                f"{source}: {name} has the shape {shape} and the type {dtype}, but must be uint8 "
                f"of (N, H, H) or (N, H, H, 3), with H from {least} to {most}"
            )
        if expected is not None and shape[0] != expected:
            raise InputError(
                f"{source} has {shape[0]} {name} and {expected} labels for them; use another copy"
            )
        of_one = shape[1:3] if shape[3:] in ((), (1,)) else shape[1:]
        number = int(np.prod(of_one))
        for _ in range(shape[0]):
            content = file.read(number)
            if len(content) < number:
                raise EOFError
            yield np.frombuffer(content, dtype=np.uint8).reshape(of_one)


def _labels(source: Path, archive: zipfile.ZipFile, prefix: str) -> npt.NDArray[np.int64]:
    """Return the labels of a part, (N,)."""
    name = f"{prefix}_labels"
    with _open(source, archive, name) as file:
        shape, _, dtype = _header(file)
        if len(shape) == 2 and shape[1] > 1:
            raise InputError(
                f"{source} has {shape[1]} labels for each image (multi-label, like ChestMNIST), "
                "but thyroid needs one class; use another set, or choose one label for each image "
                "yourself"
            )
        if len(shape) not in (1, 2) or dtype.kind not in "iu":
            raise InputError(
                f"{source}: {name} has the shape {shape} and the type {dtype}, but must be "
                "integers of (N, 1)"
            )
        number = int(np.prod(shape))
        if not 0 <= number <= MOST_IMAGES:
            raise InputError(
                f"{source}: {name} has the shape {shape}, which no set of MedMNIST has"
            )
        content = file.read(number * dtype.itemsize)
        labels = np.frombuffer(content, dtype=dtype, count=number).astype(np.int64)
    if number and not 0 <= labels.min() <= labels.max() < MOST_CLASSES:
        raise InputError(
            f"{source}: {name} has labels from {labels.min()} to {labels.max()}, but labels must "
            f"be the numbers of at most {MOST_CLASSES} classes, from 0 on"
        )
    return labels


def _open(source: Path, archive: zipfile.ZipFile, name: str) -> AbstractContextManager[IO[bytes]]:
    """Open an array to be read piece by piece; nothing is unpacked to the disk.

    Raises
    ------
    InputError : it unpacks to far more than pictures do.
    """
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > max(SMALL_BYTES, MOST_RATIO * member.compress_size):
        raise InputError(
            f"{source}: {name} unpacks from {member.compress_size:,} to {member.file_size:,} "
            "bytes, which is too much for pictures; use another copy"
        )
    return archive.open(member)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read shape, order and type of an NPY file. Nothing in it is executed."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(version)


def _class_names(labels: Path | None, numbers: list[int]) -> dict[int, str]:
    """Return the name of each label."""
    if labels is None:
        return {number: f"class_{number}" for number in numbers}
    try:
        table = list(csv.DictReader(io.StringIO(labels.read_text(encoding="utf-8-sig"))))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"cannot read {labels} ({error}); save it as CSV UTF-8") from None
    found: dict[int, str] = {}
    for number, row in enumerate(table, start=2):
        label, name = (row.get("label") or "").strip(), (row.get("class") or "").strip()
        if not label.isdecimal() or int(label) in found:
            raise InputError(
                f"{labels}, row {number}, has no label, or repeats one; write the columns "
                "label,class with the number and the name of a class, such as 0,normal"
            )
        if not name.isprintable() or not name or ";" in name or name in found.values():
            raise InputError(
                f"{labels}, row {number}, has no class name, or repeats one; give each "
                "label its own class name"
            )
        found[int(label)] = name
    unnamed = [number for number in numbers if number not in found]
    if unnamed:
        raise InputError(f"{labels} does not name the label {unnamed[0]}; add a row for it")
    return {number: found[number] for number in numbers}


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Turn the errors that a missing, damaged or foreign file raises into a sentence.

    Raises
    ------
    InputError : the block met such a file.
    """
    try:
        yield
    except KeyError as missing:
        raise InputError(
            f"{source} is not in MedMNIST's format ({missing.args[0]}); it needs train_images, "
            "train_labels, val_images, val_labels, test_images and test_labels"
        ) from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError):
        raise InputError(
            f"{source} is not a NumPy archive (.npz), or is damaged; download it again"
        ) from None
    except FileNotFoundError:
        raise InputError(f"there is no file {source}; check the path") from None
