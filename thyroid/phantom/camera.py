"""The gamma camera: attenuation, scatter, resolution, and the counting of photons."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from thyroid.phantom.anatomy import Layers
from thyroid.phantom.centres import Centre
from thyroid.phantom.gland import Window
from thyroid.phantom.grid import Grid, Image

MU_PER_MM = 0.0125
"""Effective (broad-beam) attenuation of 140 keV photons in soft tissue; narrow-beam is 0.0154."""

GLAND_DEPTH_MM, FACE_DEPTH_MM, THICKNESS_MM = 18.0, 30.0, 125.0
"""Depth of the thyroid and of the salivary glands below the front, and thickness of the neck."""

TISSUE_PER_PERCENT = 6000.0
"""Area of neck tissue, in mm^2, that sends as many photons to the front as 1 % of the injected
activity does from the thyroid. It gives a normal gland 12 % of the counts of a 306 mm field."""

AIR = 0.011
"""Rate outside the body (septal penetration, room background), relative to the neck."""

SCATTER_MM = 30.0
"""Standard deviation of the distance from a photon's source to where its scatter is detected."""

PINHOLE_DISTANCE_MM = 120.0
"""Distance from the pinhole to the patient."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """Expected rates, (H, W), relative to the neck; not yet counts."""

    anterior: Image
    posterior: Image | None


def expected_rates(
    layers: Layers, gland: Image, window: Window, centre: Centre, *, posterior: bool
) -> Views:
    """Compute the camera's expected counts up to a factor.

    `layers` and `gland` are seen from the front; the gland is not attenuated and fills `window` of
    the layers. The posterior view is mirrored, as the camera behind the patient sees it.
    """
    front = layers.tissue * np.float32(centre.background)
    anterior = front + layers.front
    anterior[window] += TISSUE_PER_PERCENT * gland
    views = [detect(anterior, centre, centre.fwhm_mm)]
    if posterior:
        behind = front + layers.front * _from_behind(FACE_DEPTH_MM)
        behind[window] += TISSUE_PER_PERCENT * _from_behind(GLAND_DEPTH_MM) * gland
        # parallel holes blur in proportion to distance
        far = centre.fwhm_mm * (1 + 0.5 * THICKNESS_MM / 100)
        views.append(detect(behind[:, ::-1], centre, far))
    return Views(anterior=views[0], posterior=views[1] if posterior else None)


def detect(rates: Image, centre: Centre, fwhm_mm: float) -> Image:
    """Blur by the point spread function, add scatter and background, and apply the sensitivity."""
    sigma = fwhm_mm / math.sqrt(8 * math.log(2)) / centre.pixel_mm
    seen: Image = gaussian_filter(rates, sigma, mode="nearest", truncate=3.0)
    seen += centre.scatter * _scattered(rates, centre.pixel_mm)
    seen += np.float32(AIR)
    if centre.collimator == "PINH":
        seen *= _pinhole_sensitivity(centre)
    return seen


def count(rates: Image, total: float, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """Draw a Poisson sample, (H, W), with an expected sum of `total`."""
    expected = rates * np.float32(total / float(rates.sum(dtype=np.float64)))
    return rng.poisson(expected).astype(np.uint16)


def _from_behind(depth_mm: float) -> float:
    """Return the ratio of transmission to the back and to the front for a source at this depth."""
    return math.exp(-MU_PER_MM * (THICKNESS_MM - 2 * depth_mm))


def _scattered(rates: Image, pixel_mm: float) -> Image:
    """Blur by the scatter kernel, computed on pixels four times as coarse, (H, W)."""
    size = len(rates)
    coarse = rates.reshape(size // 4, 4, size // 4, 4).mean((1, 3))
    coarse = gaussian_filter(coarse, SCATTER_MM / (4 * pixel_mm), mode="nearest", truncate=2.5)
    return _magnified(_magnified(coarse).T).T


def _magnified(coarse: Image) -> Image:
    """Interpolate linearly between the middles of the rows, (n, w) -> (4 n, w)."""
    n = len(coarse)
    position = np.clip((np.arange(4 * n) - 1.5) / 4, 0, n - 1)
    lower = np.minimum(position.astype(np.intp), n - 2)
    share = (position - lower).astype(np.float32)[:, None]
    fine: Image = coarse[lower] * (1 - share) + coarse[lower + 1] * share
    return fine


def _pinhole_sensitivity(centre: Centre) -> Image:
    """Return cos^3 of the angle to the axis, and 0 beyond the cone: a round field, (H, W)."""
    r = (np.arange(centre.matrix, dtype=np.float32) + 0.5) * centre.pixel_mm - centre.field_mm / 2
    r2 = r[:, None] ** 2 + r[None, :] ** 2
    cos2 = PINHOLE_DISTANCE_MM**2 / (PINHOLE_DISTANCE_MM**2 + r2)
    edge = np.clip((0.49 * centre.field_mm - np.sqrt(r2)) / 3, 0, 1)
    return (cos2**1.5 * edge).astype(np.float32)


def patient_grid(centre: Centre, *, column_mm: float, row_mm: float) -> Grid:
    """Return the centre's pixel grid; the isthmus is this far from the upper left corner."""
    return Grid.of(
        matrix=centre.matrix, pixel_mm=centre.pixel_mm, column_mm=column_mm, row_mm=row_mm
    )
