"""The thyroid's shape, and its projection along the camera's axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from thyroid.phantom.distributions import lognormal, normal
from thyroid.phantom.grid import Grid, Image, ellipsoid_chord, random_field, rotated
from thyroid.phantom.pathology import Nodule, Thyroid

LOBE_ML, HALF_DEPTH_MM = 5.4, 9.6
"""Volume and half-depth of a lobe with half-axes of 20 x 6.7 x 9.6 mm; other lobes are
scaled from it."""

BLOOD_PERCENT_PER_ML = 0.008
"""Uptake measured in a gland that traps nothing, from the blood in it: 0.16 % for 20 mL. The lowest
published uptake is 0.17 %, in normal and in inflamed glands alike."""

RIM_MM = 1.5
"""Thickness of the tissue that a nodule pushes aside."""

Window = tuple[slice, slice]


@dataclass(frozen=True, kw_only=True)
class Lobe:
    """A bent, tapering ellipsoid; positions and half-axes in mm."""

    x: float
    y: float
    half_length: float
    half_width: float
    half_depth: float
    lean_deg: float
    """Lean of the upper end towards +x."""
    taper: float
    """Relative to the middle, the lower pole is wider by this share and the upper pole narrower."""
    bend: float
    """Sideways displacement of the poles, in half-widths."""

    def frame(self, x: Image, y: Image) -> tuple[Image, Image]:
        """Return positions across and along the lobe in units of its half-axes."""
        across, along = rotated(x - self.x, y - self.y, self.lean_deg)
        along = along / self.half_length
        return across / self.half_width - self.bend * along * along, along


def project(thyroid: Thyroid, grid: Grid, rng: np.random.Generator) -> tuple[Image, Window]:
    """Compute line integrals through the gland, (h, w), within a window of `grid`.

    Values are concentration times depth, per mm^2, scaled so that the gland's integral over the
    plane is `trapped_percent`. The window is returned, too.
    """
    tilt_deg = normal(rng, 0, 3, low=-8, high=8)
    lobes = [_lobe(thyroid, side, rng) for side in (0, 1)]
    reach = max(abs(lobe.x) + 1.5 * lobe.half_width + 0.35 * lobe.half_length for lobe in lobes)
    height = max(1.45 * lobe.half_length for lobe in lobes)
    window = grid.window(0.0, 0.12 * height, reach + 8, height + 8)
    near = grid.cut(window)

    x, y = np.broadcast_arrays(near.x[None, :], near.y[:, None])  # (h, w)
    x, y = rotated(x, y, tilt_deg)
    warp = [random_field(rng, near, grain_mm=10.0, extent_mm=70.0) for _ in range(2)]
    x, y = x + thyroid.roughness_mm * warp[0], y + thyroid.roughness_mm * warp[1]

    patches = random_field(rng, near, grain_mm=thyroid.grain_mm, extent_mm=70.0)
    lost = thyroid.patchiness / (1 + np.exp(-5 * patches))
    tissue = (1 - lost).astype(np.float32, copy=False)
    rates = np.zeros(x.shape, dtype=np.float32)
    for side, lobe in enumerate(lobes):
        nodules = [nodule for nodule in thyroid.nodules if nodule.side == side]
        rates += thyroid.lobe_uptake[side] * _lobe_rates(lobe, nodules, x, y, tissue)
    rates += _isthmus_rates(thyroid, lobes, x, y, rng) * tissue
    pixel_mm2 = abs(float(grid.x[1] - grid.x[0]) * float(grid.y[1] - grid.y[0]))
    rates *= trapped_percent(thyroid) / max(float(rates.sum(dtype=np.float64)) * pixel_mm2, 1e-6)
    return rates, window


def trapped_percent(thyroid: Thyroid) -> float:
    """Return the activity in the gland without that of its blood, % of the injected activity."""
    blood_percent = BLOOD_PERCENT_PER_ML * thyroid.volume_ml
    return max(thyroid.uptake_percent - blood_percent, thyroid.uptake_percent / 4)


def contrast(thyroid: Thyroid, nodule: Nodule) -> float:
    """Return how much a nodule changes the rates at its centre, relative to an even lobe.

    -1 for a nodule that takes all counts away, 1 for one that doubles them; without blur.
    """
    depth = 2 * HALF_DEPTH_MM * _scale(thyroid, nodule.side)
    depth *= math.sqrt(max(1 - nodule.along**2 - nodule.across**2, 0.1))
    chord = nodule.diameter_mm / depth
    return (nodule.uptake - 1) * (min(chord, 1) if nodule.uptake < 1 else chord)


def _scale(thyroid: Thyroid, side: int) -> float:
    """Return a lobe's size relative to one of LOBE_ML."""
    nodules = [nodule.diameter_mm for nodule in thyroid.nodules if nodule.side == side]
    share = thyroid.lobe_share if side == 0 else 1 - thyroid.lobe_share
    # a nodule pushes tissue aside and partly sticks out of it
    volume_ml = thyroid.volume_ml * share + 0.7 * sum(math.pi / 6 * d**3 / 1000 for d in nodules)
    return float((volume_ml / LOBE_ML) ** (1 / 3))


def _lobe(thyroid: Thyroid, side: int, rng: np.random.Generator) -> Lobe:
    sign = -1 if side == 0 else 1
    scale = _scale(thyroid, side)
    slender = lognormal(rng, 1, 0.08)
    half_width = 6.7 * scale / slender
    half_length = 20.0 * scale * slender
    return Lobe(
        x=sign * (lognormal(rng, 8.4, 1.6, high=12) + half_width),
        y=0.22 * half_length + normal(rng, 0, 2),
        half_length=half_length,
        half_width=half_width,
        half_depth=HALF_DEPTH_MM * scale,
        lean_deg=sign * normal(rng, 10, 4, low=-2, high=22),
        taper=normal(rng, 0.22, 0.1, low=-0.1, high=0.45),
        bend=-sign * normal(rng, 0.12, 0.12),
    )


def _lobe_rates(lobe: Lobe, nodules: list[Nodule], x: Image, y: Image, tissue: Image) -> Image:
    """Integrate a lobe of concentration `tissue` with its nodules, (h, w) in mm."""
    across, along = lobe.frame(x, y)
    width = np.clip(1 - lobe.taper * along, 0.4, 1.6)
    for nodule in nodules:  # tissue is pushed aside and stays as a rim
        need = (nodule.diameter_mm / 2 + RIM_MM) / lobe.half_width + abs(nodule.across) - 1
        reach = 0.8 * nodule.diameter_mm / lobe.half_length
        width = width + max(0.7 * need, 0) * np.exp(-(((along - nodule.along) / reach) ** 2))
    tapered = across / width
    depth = 2 * lobe.half_depth * ellipsoid_chord(tapered, along, half_length=1, half_width=1)
    rates = depth * tissue
    for nodule in nodules:
        radius = nodule.diameter_mm / 2
        chord = nodule.diameter_mm * ellipsoid_chord(
            (across - nodule.across) * lobe.half_width,
            (along - nodule.along) * lobe.half_length,
            half_length=radius * math.sqrt(nodule.elongation),
            half_width=radius / math.sqrt(nodule.elongation),
        )
        if nodule.uptake < 1:  # replaces tissue along the ray, at most all of it
            share = np.minimum(chord / np.maximum(depth, 1e-3), 1)
            rates = rates * (1 - (1 - nodule.uptake) * share)
        else:
            rates = rates + (nodule.uptake - tissue) * chord
    return rates.astype(np.float32, copy=False)


def _isthmus_rates(
    thyroid: Thyroid, lobes: list[Lobe], x: Image, y: Image, rng: np.random.Generator
) -> Image:
    """Integrate the isthmus between the lobes and the pyramidal lobe above it, if there is one."""
    right, left = lobes
    half_depth = (right.half_depth + left.half_depth) / 2
    span = (left.x - right.x) / 2
    rates = (
        2 * half_depth * thyroid.isthmus * min(thyroid.lobe_uptake)
        * ellipsoid_chord(
            x - (left.x + right.x) / 2,
            y - normal(rng, -3, 3),
            half_length=6.0 * (half_depth / HALF_DEPTH_MM),
            half_width=span,
        )
    )  # fmt: skip
    if thyroid.pyramidal:
        length = rng.uniform(12, 26)
        across, along = rotated(x - normal(rng, 2, 3), y - length, normal(rng, 0, 8))
        rates += thyroid.pyramidal * half_depth * ellipsoid_chord(
            across, along, half_length=length, half_width=rng.uniform(3, 5)
        )  # fmt: skip
    return rates
