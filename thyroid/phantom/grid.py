"""Pixel positions in mm, and the two building blocks: ellipsoids and random fields."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Pixel centres seen from the front; the origin is the middle of the isthmus."""

    x: Image
    """(W,) mm, increasing towards the patient's left, which is the image's right."""
    y: Image
    """(H,) mm, increasing towards the head, so decreasing along the rows."""

    @classmethod
    def of(cls, *, matrix: int, pixel_mm: float, column_mm: float, row_mm: float) -> Grid:
        """Return `matrix` x `matrix` pixels; the origin is this far from the upper left corner."""
        centres = (np.arange(matrix) + 0.5) * pixel_mm
        return cls(
            x=(centres - column_mm).astype(np.float32), y=(row_mm - centres).astype(np.float32)
        )

    def window(
        self, x: float, y: float, half_width: float, half_height: float
    ) -> tuple[slice, slice]:
        """Return the rows and columns within this distance of a point; may be empty."""
        columns = np.searchsorted(self.x, [x - half_width, x + half_width])
        rows = np.searchsorted(-self.y, [-y - half_height, -y + half_height])
        return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))

    def cut(self, window: tuple[slice, slice]) -> Grid:
        """Return the grid of a window."""
        return Grid(x=self.x[window[1]], y=self.y[window[0]])


def ellipsoid_chord(x: Image, y: Image, *, half_length: float, half_width: float) -> Image:
    """Return the chord of a ray along z through an ellipsoid, relative to its depth: sqrt(1 - r^2).

    The line integral through an ellipsoid of half-depth c is 2 c times this. `x` is across, `y`
    along the ellipsoid.
    """
    r2 = (x / half_width) ** 2 + (y / half_length) ** 2
    chord: Image = np.sqrt(np.maximum(1 - r2, 0))
    return chord


def rotated(x: Image, y: Image, degrees: float) -> tuple[Image, Image]:
    """Return coordinates across and along an axis whose upper end leans this far towards +x."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return x * cos - y * sin, x * sin + y * cos


def random_field(
    rng: np.random.Generator, grid: Grid, *, grain_mm: float, extent_mm: float
) -> Image:
    """Draw a smooth random field of mean 0 and variance 1, (H, W), fixed to the patient.

    The field is a cubic B-spline over normal random numbers that are `grain_mm` apart. Beyond
    `extent_mm` from the origin it is constant, so that it does not depend on the pixels.
    """
    n = 2 * math.ceil(extent_mm / grain_mm) + 1
    knots = rng.standard_normal((n, n), dtype=np.float32)
    rows = _cubic_b_splines(grid.y / grain_mm + (n - 1) / 2, n)  # (H, n)
    columns = _cubic_b_splines(grid.x / grain_mm + (n - 1) / 2, n)  # (W, n)
    # einsum without a linear algebra library: the same bits at any number of threads
    half = np.einsum("hi,ij->hj", rows, knots)
    field: Image = np.einsum("hj,wj->hw", half, columns)
    return field * np.float32(1 / 0.4794)  # sum of squared splines, on average over positions


def _cubic_b_splines(position: Image, n: int) -> Image:
    """Evaluate n splines at positions in units of the knot distance, (P,) -> (P, n)."""
    position = np.clip(position, 1, n - 2.001)
    first = position.astype(np.intp)
    t = position - first
    values = np.zeros((len(position), n), dtype=np.float32)
    pixel = np.arange(len(position))
    s, t2, t3 = 1 - t, t * t, t * t * t
    values[pixel, first - 1] = s * s * s / 6
    values[pixel, first] = 2 / 3 - t2 + t3 / 2
    values[pixel, first + 1] = (1 + 3 * (t + t2 - t3)) / 6
    values[pixel, first + 2] = t3 / 6
    return values
