"""One scintigram as a file holds it, and how it comes to a data set's grid."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from thyroid.data.rebin import rebin_counts, rng_for
from thyroid.errors import InputError

FULL_SCALE = 65535
SATURATED_SHARE = 0.005  # of pixels at the highest value; Poisson counts have one to three pixels
SATURATED_LEVEL = 20  # below it many pixels share the highest value by chance
PADDED_BELOW = 0.95  # of the stored field

SIMULATOR = "thyroid phantom"
"""What simulated files name as the software that made them."""


class UnusableFile(InputError):
    """A file is no scintigram that can be used; `reason` never quotes what the file says."""

    def __init__(self, reason: str, path: Path | None = None) -> None:
        super().__init__(reason, path)  # both, so that it can be sent between processes
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        return self.reason if self.path is None else f"{self.path}: {self.reason}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Scintigram:
    """What a reader took from one file."""

    matrix: npt.NDArray[np.int64]
    """(rows, columns): photon counts, or a picture's intensities with full scale at 65,535."""
    kind: Literal["counts", "display"]
    pixel_mm: tuple[float, float] | None
    """(row, column) spacing; None for pictures."""
    flags: tuple[str, ...] = ()
    """Keys of thyroid.data.dataset.FLAGS."""
    patient: str = field(default="", repr=False)
    """As the file says. An identity: it may be hashed, and never written."""
    institution: str = field(default="", repr=False)
    """As the file says. An identity: it may be numbered, and never written."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredImage:
    """A scintigram on a data set's grid."""

    matrix: npt.NDArray[np.uint16]
    """(size, size)."""
    outside: int
    """Counts beyond the field; 0 for pictures."""
    flags: tuple[str, ...]


def bring_to_grid(scintigram: Scintigram, *, size: int, pixel_mm: float) -> StoredImage:
    """Counts are re-binned photon by photon to `pixel_mm`; pictures are interpolated.

    A picture is fitted into the square as a whole, its longer side to `size`, and padded with the
    median of its border. It is area-averaged when shrunk and Lanczos-interpolated when enlarged.

    Raises
    ------
    InputError : a pixel would hold more counts than a data set stores.
    """
    flags = list(scintigram.flags)
    if is_saturated(scintigram.matrix):
        flags.append("saturated")
    rows, columns = scintigram.matrix.shape
    if scintigram.pixel_mm is None:
        matrix, outside = _fit_picture(scintigram.matrix, size), 0
        covered = min(rows, columns) / max(rows, columns)
    else:
        matrix, outside = rebin_counts(
            scintigram.matrix,
            pixel_mm=scintigram.pixel_mm,
            target_mm=pixel_mm,
            size=size,
            rng=rng_for(scintigram.matrix),
        )
        row_mm, column_mm = scintigram.pixel_mm
        covered = min(rows * row_mm, columns * column_mm) / (size * pixel_mm)
    if covered < PADDED_BELOW:
        flags.append("padded")
    if outside:
        flags.append(f"counts_outside={outside}")
    return StoredImage(matrix=matrix, outside=outside, flags=tuple(flags))


def is_saturated(matrix: npt.NDArray[np.integer]) -> bool:
    """Whether so many pixels share the highest value that it must have been a ceiling."""
    peak = matrix.max()
    at_peak = np.count_nonzero(matrix == peak)
    return bool(peak >= SATURATED_LEVEL and at_peak > SATURATED_SHARE * matrix.size)


def image_id(matrix: npt.NDArray[np.uint16]) -> str:
    """Identifier of a stored matrix, 16 hexadecimal digits: says nothing that its pixels do not."""
    canonical = np.ascontiguousarray(matrix, dtype="<u2")
    return hashlib.sha256(repr(canonical.shape).encode() + canonical.tobytes()).hexdigest()[:16]


def border(matrix: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """The outermost pixels, flat."""
    return np.concatenate([matrix[0], matrix[-1], matrix[1:-1, 0], matrix[1:-1, -1]])


def _fit_picture(matrix: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.uint16]:
    rows, columns = matrix.shape
    scale = size / max(rows, columns)
    fitted = (max(1, round(rows * scale)), max(1, round(columns * scale)))
    picture = Image.fromarray(matrix.astype(np.float32))
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.LANCZOS
    if fitted != (rows, columns):
        picture = picture.resize(fitted[::-1], method)
    square = np.full((size, size), np.median(border(matrix)), dtype=np.float32)
    top, left = (size - fitted[0]) // 2, (size - fitted[1]) // 2
    square[top : top + fitted[0], left : left + fitted[1]] = np.asarray(picture)
    stored: npt.NDArray[np.uint16] = np.rint(square).clip(0, FULL_SCALE).astype(np.uint16)
    return stored  # clipped, as Lanczos overshoots
