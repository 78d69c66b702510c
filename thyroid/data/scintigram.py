"""A scintigram as read from a file, and its conversion to a data set's grid."""

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
SATURATED_SHARE = 0.005  # share of pixels at the highest value; in counts, one to three pixels
SATURATED_LEVEL = 20  # below this, many pixels share the highest value by chance
PADDED_BELOW = 0.95  # share of the stored field that the source covers

SIMULATOR = "thyroid phantom"
"""Name of the software in simulated files."""


class UnusableFile(InputError):
    """A file is not a usable scintigram; `reason` never quotes its content."""

    def __init__(self, reason: str, path: Path | None = None) -> None:
        super().__init__(reason, path)  # both arguments, so that it can be pickled
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        return self.reason if self.path is None else f"{self.path}: {self.reason}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Scintigram:
    """A scintigram as a reader returns it."""

    matrix: npt.NDArray[np.int64]
    """Photon counts, or a picture's intensities with full scale at 65,535, (rows, columns)."""
    kind: Literal["counts", "display"]
    pixel_mm: tuple[float, float] | None
    """(row, column) spacing; None for pictures."""
    flags: tuple[str, ...] = ()
    """Keys of thyroid.data.dataset.FLAGS."""
    patient: str = field(default="", repr=False)
    """Patient named in the file. An identity: it may be hashed but never written."""
    study: str = field(default="", repr=False)
    """Study named in the file, an identity as well."""
    institution: str = field(default="", repr=False)
    """Institution named in the file. An identity: it may be numbered but never written."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredImage:
    """A scintigram on a data set's grid."""

    matrix: npt.NDArray[np.uint16]
    """(size, size)."""
    outside: int
    """Counts outside the field; 0 for pictures."""
    flags: tuple[str, ...]


def bring_to_grid(scintigram: Scintigram, *, size: int, pixel_mm: float) -> StoredImage:
    """Re-bin counts photon by photon to `pixel_mm`, or interpolate a picture.

    The longer side of a picture becomes `size`; the rest of the square is padded with the median of
    its border. Pictures are area-averaged to shrink and Lanczos-interpolated to enlarge.

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
    """Return whether so many pixels share the highest value that values were cut off there."""
    peak = matrix.max()
    at_peak = np.count_nonzero(matrix == peak)
    return bool(peak >= SATURATED_LEVEL and at_peak > SATURATED_SHARE * matrix.size)


def image_id(matrix: npt.NDArray[np.uint16]) -> str:
    """Return the identifier of a stored matrix: 16 hexadecimal digits of the hash of its pixels."""
    canonical = np.ascontiguousarray(matrix, dtype="<u2")
    return hashlib.sha256(repr(canonical.shape).encode() + canonical.tobytes()).hexdigest()[:16]


def border(matrix: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Return the outermost pixels, flat."""
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
    return stored  # Lanczos overshoots
