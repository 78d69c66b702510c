"""Pictures of a scintigram: 8 bits, as a workstation exports them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import affine_transform, gaussian_filter

Counts = npt.NDArray[np.uint16]
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Export:
    """Changes that an export makes: each number is the share of pictures that get this change at
    random.
    """

    smoothed: float = 0.35
    """Smoothed by a Gaussian of 0.5 to 1.1 pixels, as workstations offer."""
    shrunk: float = 0.4
    """Shrunk to 60 to 98 % of the side, with black around."""
    rotated: float = 0.3
    """Turned by up to 12 degrees, black in the corners."""
    shifted: float = 0.1
    """Not a share: the largest displacement of a shrunk picture, relative to the side."""


def picture_of(counts: Counts, export: Export | None, *, key: str) -> Picture:
    """Return counts (H, W) as a picture of the same size, its highest value white.

    `key` names the image: the same key is always exported in the same way.
    """
    values = counts.astype(np.float64)
    if export is not None:
        digest = hashlib.sha256(f"export\x1f{key}".encode()).digest()
        values = _exported(values, export, np.random.default_rng(int.from_bytes(digest, "little")))
    picture: Picture = np.rint(255 * values / values.max()).astype(np.uint8)
    return picture


def _exported(
    values: npt.NDArray[np.float64], export: Export, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    smoothed, shrunk, rotated = rng.random(3) < (export.smoothed, export.shrunk, export.rotated)
    sigma, scale = rng.uniform(0.5, 1.1), rng.uniform(0.6, 0.98)
    angle = math.radians(rng.uniform(-12, 12))
    shift = rng.uniform(-export.shifted, export.shifted, 2) * len(values)
    if smoothed:
        values = gaussian_filter(values, sigma)
    if not (shrunk or rotated):
        return values
    if not shrunk:
        scale, shift = 1.0, np.zeros(2)
    if not rotated:
        angle = 0.0
    # position in the source = matrix (position in the picture - middle - shift) + middle
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    matrix = np.array([[cos, -sin], [sin, cos]])
    middle = np.full(2, (len(values) - 1) / 2)
    offset = middle - matrix @ (middle + shift)
    turned: npt.NDArray[np.float64] = affine_transform(values, matrix, offset, order=1)
    return turned
