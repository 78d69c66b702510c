"""The surroundings of the thyroid: head, neck, shoulders, chest, salivary glands, mouth and nose.

Lengths are in mm from the isthmus. Intensities are relative to the soft tissue of the neck, seen
from the front: 1 is the rate beside the thyroid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thyroid.phantom.distributions import LogNormal, lognormal, normal
from thyroid.phantom.grid import Grid, Image, ellipsoid_chord, random_field, rotated

# The outline of head and neck: half-width at heights above the isthmus.
OUTLINE_Y = np.array(
    [-100, -60, -20, 30, 52, 64, 76, 88, 102, 125, 160, 200, 225, 245, 262, 275, 282]
)
OUTLINE_HALF_WIDTH = np.array([105, 80, 62, 55, 55, 57, 61, 67, 73, 76, 77, 77, 74, 67, 54, 34, 1])

# Brightness along the axis: the brain takes up no pertechnetate, and the neck ends in the chest.
TISSUE_Y = np.array([-110, -50, -10, 40, 70, 100, 130, 165, 200, 240, 280])
TISSUE = np.array([0.3, 0.7, 1.0, 0.97, 0.9, 1.0, 0.95, 0.8, 0.68, 0.62, 0.6])

Rates = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Build:
    """Build and position of a patient; lengths in mm."""

    size: float
    """Relative to the average person."""
    head_width: float
    """Relative to the average head."""
    neck_width: float
    extension_mm: float
    """Extension of the neck: the head is this much higher than usual."""
    lean: float
    """Sideways displacement of the head per mm of height."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Build:
        """Draw a random build."""
        return cls(
            size=normal(rng, 1, 0.055, low=0.86, high=1.14),
            head_width=lognormal(rng, 1, 0.05),
            neck_width=lognormal(rng, 1, 0.09),
            extension_mm=normal(rng, 0, 9, low=-20, high=20),
            lean=normal(rng, 0, 0.03),
        )


@dataclass(frozen=True, kw_only=True)
class Saliva:
    """Brightness of salivary glands and mouth among patients, relative to the neck's tissue."""

    level: LogNormal
    """Level of a patient, which all salivary glands share."""
    submandibular: float
    """Mean of the submandibular glands at level 1."""
    parotid: float
    """Mean of the parotid glands at level 1."""
    spread: float
    """Standard deviation of these two from patient to patient, relative to the level."""
    mouth: LogNormal
    """The arc of saliva around the tongue."""


SALIVA = Saliva(
    level=LogNormal(1.05, 0.45, 0.3, 2.8),
    submandibular=1.8,
    parotid=1.25,
    spread=0.35,
    mouth=LogNormal(1.1, 0.9, 0.1, 4.5),
)
"""Salivary glands of the presets `thyroid7` and `thyroid7-external`."""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Projections of the tissue at different depths, (H, W) each."""

    tissue: Rates
    """The whole body: the same from the front and the back."""
    front: Rates
    """Sources at the front of the head and neck: fainter from behind."""


def surroundings(
    grid: Grid,
    rng: np.random.Generator,
    saliva: Saliva = SALIVA,
) -> Layers:
    """Render a random patient without the thyroid.

    The order of the draws is fixed and does not depend on the grid, so a patient stays the same
    at another centre.
    """
    build = Build.draw(rng)
    texture_rng, body_rng, face_rng, neck_rng = rng.spawn(4)
    body = Grid(x=grid.x / np.float32(build.size), y=grid.y / np.float32(build.size))
    texture = random_field(texture_rng, body, grain_mm=11.0, extent_mm=330.0)
    tissue = _tissue(body, texture, build, body_rng)
    front = _face(body, texture, build, saliva, face_rng) + _neck(body, neck_rng)
    return Layers(tissue=tissue, front=front)


def _tissue(grid: Grid, texture: Image, build: Build, rng: np.random.Generator) -> Rates:
    x, y = grid.x, grid.y
    # head and neck
    height = y - np.where(y > 30, build.extension_mm, 0)  # above the isthmus, in the average neck
    half = np.interp(height, OUTLINE_Y, OUTLINE_HALF_WIDTH, left=105, right=1)
    half = half * np.interp(y, [50, 110], [build.neck_width, build.head_width])
    middle = (build.lean * np.maximum(y, 0)).astype(np.float32)
    turn = normal(rng, 0, 0.08)  # the head is turned: one side is fuller than the other
    u = (x[None, :] - middle[:, None]) / half[:, None].astype(np.float32)
    u = u + np.float32(turn) * (1 - u * u)
    inside = np.sqrt(np.maximum(1 - u * u, 0))
    # soft tissue absorbs its own photons: (1 - exp(-mu t)) / mu for mu t = 1.8 at the thickest
    column = inside * (1.75 - 0.75 * inside)
    level = np.interp(height, TISSUE_Y, TISSUE).astype(np.float32)[:, None]
    # brain and orbits are dark, scalp, skull and cheeks are not
    upper = np.clip((height - 118) / 45, 0, 1).astype(np.float32)[:, None]
    outward = np.minimum(np.abs(u), 1)
    rim = 1 + normal(rng, 0.6, 0.2, low=0.1) * upper * (outward * outward * outward - 0.3)
    orbits = _bump(height - normal(rng, 168, 5), 17)[:, None] * _bump(outward - 0.45, 0.22)
    head = level * column * rim * (1 - rng.uniform(0.1, 0.35) * orbits)
    # shoulders and chest
    top = normal(rng, 42, 9) - rng.uniform(0.0, 0.22) * np.maximum(np.abs(x) - 60, 0)
    top = top - rng.uniform(0, 0.0012) * np.maximum(np.abs(x) - 60, 0) ** 2
    top = top + normal(rng, 0, 0.05) * x  # one shoulder is higher
    below = np.maximum(top[None, :] - y[:, None], 0).astype(np.float32)
    shoulder = lognormal(rng, 0.52, 0.1) * (1 - np.exp(-below / rng.uniform(9, 20)))
    spread = np.float32(rng.uniform(50, 85))
    vessels = np.exp(-((x / spread) ** 2))[None, :] * np.clip((25 - y) / 75, 0, 1.6)[:, None]
    chest = shoulder * (1 + lognormal(rng, 0.9, 0.45, high=2.5) * vessels)
    grainy = 1 + normal(rng, 0.11, 0.02, low=0.06) * texture
    tissue: Rates = (np.maximum(head, chest) * grainy).astype(np.float32)
    return tissue


def _neck(grid: Grid, rng: np.random.Generator) -> Rates:
    """Render vessels, the dark windpipe, and sometimes swallowed activity and the injected vein."""
    x, y = grid.x, grid.y
    column = np.clip((70 - y) / 25, 0, 1) * np.clip((y + 45) / 45, 0, 1)
    vessels = rng.uniform(0.03, 0.18)
    apart = normal(rng, 30, 3)
    across = vessels * (_bump(x - apart, 10) + _bump(x + apart, 10))
    across = across - rng.uniform(0.05, 0.2) * _bump(x - normal(rng, 0, 2), 9)
    rates = column[:, None] * across[None, :]
    oesophagus, vein = rng.random(2) < (0.1, 0.12)
    if oesophagus:  # a swallow of saliva, left of the midline, mostly below the gland
        centre, height = rng.uniform(-60, 0), rng.uniform(10, 35)
        streak = _bump(x - rng.uniform(2, 10), 3.5)[None, :] * _bump(y - centre, height)[:, None]
        rates = rates + rng.uniform(0.4, 1.6) * streak
    if vein:  # from the arm, over the shoulder, below the collar bone
        side = rng.choice((-1.0, 1.0))
        path = rng.uniform(-50, -20) - 0.0035 * (side * x - rng.uniform(60, 110)) ** 2
        streak = _bump(y[:, None] - path[None, :], rng.uniform(4, 7))
        rates = rates + rng.uniform(0.2, 0.8) * streak * np.clip((side * x - 30) / 25, 0, 1)
    return rates.astype(np.float32)


def _face(
    grid: Grid, texture: Image, build: Build, saliva: Saliva, rng: np.random.Generator
) -> Rates:
    """Render salivary glands, mouth, nose and cheeks."""
    face = Grid(
        x=(grid.x - np.float32(build.lean * 105)) / np.float32(build.head_width),
        y=grid.y - np.float32(build.extension_mm),
    )
    rates = np.zeros((len(face.y), len(face.x)), dtype=np.float32)
    level = saliva.level.draw(rng)
    submandibular = saliva.submandibular * level * lognormal(rng, 1, saliva.spread, low=0.3)
    parotid = saliva.parotid * level * lognormal(rng, 1, saliva.spread, low=0.3)
    for side in (-1, 1):
        _add(
            rates,
            face,
            peak=submandibular * lognormal(rng, 1, 0.2),
            x=side * normal(rng, 27, 2.5),
            y=normal(rng, 60, 4),
            half_length=normal(rng, 15, 1.7),
            half_width=normal(rng, 9, 1),
            lean_deg=side * normal(rng, 16, 7),
        )
        # the parotid, and its tail along the jaw's edge towards the submandibular gland
        peak, x, y = parotid * lognormal(rng, 1, 0.2), normal(rng, 61, 2), normal(rng, 107, 5)
        length, width = normal(rng, 27, 3), normal(rng, 10.5, 1.5)
        _add(
            rates, face, peak=peak, x=side * x, y=y,
            half_length=length, half_width=width, lean_deg=side * normal(rng, 3, 5),
        )  # fmt: skip
        _add(
            rates, face, peak=rng.uniform(0.3, 0.9) * peak, x=side * (x - 9), y=y - 24,
            half_length=normal(rng, 21, 2), half_width=8.5, lean_deg=side * normal(rng, 28, 6),
        )  # fmt: skip
        # the cheek
        _add(
            rates, face, peak=rng.uniform(0.1, 0.4), x=side * normal(rng, 36, 5),
            y=normal(rng, 118, 7), half_length=rng.uniform(12, 22), half_width=rng.uniform(9, 16),
        )  # fmt: skip
    _add_mouth(rates, face, saliva, rng)
    _add_nose(rates, face, rng)
    # glands consist of lobules, mucosa of folds
    rates *= np.exp(0.25 * texture)
    return rates


def _add_mouth(rates: Rates, face: Grid, saliva: Saliva, rng: np.random.Generator) -> None:
    """Add saliva around the tongue: an arc that is open below, its ends often brighter."""
    height, radius = normal(rng, 112, 6), normal(rng, 19, 3, low=11)
    strength = saliva.mouth.draw(rng)
    window = face.window(0, height + 6, 36, 32)
    near = face.cut(window)
    x = near.x[None, :] - normal(rng, 0, 3)
    y = near.y[:, None] - height
    flat = rng.uniform(0.55, 1.0)
    r = np.sqrt(x * x + (y / flat) ** 2)
    ends = 1 + rng.uniform(-0.5, 0.8) * np.abs(x) / radius + normal(rng, 0, 0.25) * x / radius
    arc = np.exp(-(((r - radius) / rng.uniform(4.5, 7.5)) ** 2)) * np.clip((y + 10) / 12, 0, 1)
    rates[window] += strength * arc * np.maximum(ends, 0)
    floor = rng.uniform(0.1, 0.6) * math.sqrt(strength)
    _add(
        rates, face, peak=floor, x=0.0, y=height - 4,
        half_length=rng.uniform(10, 18), half_width=rng.uniform(16, 26),
    )  # fmt: skip
    for side in (-1, 1):  # tonsils and the mouths of the parotid ducts
        if rng.random() < 0.5:
            _add(
                rates, face, peak=strength * rng.uniform(0.2, 0.8), x=side * normal(rng, 29, 4),
                y=height + normal(rng, 0, 5), half_length=rng.uniform(5, 8),
                half_width=rng.uniform(4, 6),
            )  # fmt: skip


def _add_nose(rates: Rates, face: Grid, rng: np.random.Generator) -> None:
    """Add mucosa of nose and throat: a band up the midline, brighter at the tip of the nose."""
    strength = lognormal(rng, 0.55, 0.3, high=1.6)
    x = face.x - np.float32(normal(rng, 0, 2.5))
    band = np.clip((face.y - 118) / 15, 0, 1) * np.clip((rng.uniform(190, 235) - face.y) / 25, 0, 1)
    width = rng.uniform(9, 14)
    rates += (strength * band[:, None] * _bump(x, width)[None, :]).astype(np.float32)
    _add(
        rates, face, peak=strength * rng.uniform(0.2, 1.5), x=normal(rng, 0, 3),
        y=normal(rng, 146, 5), half_length=rng.uniform(6, 10), half_width=rng.uniform(6, 10),
    )  # fmt: skip


def _add(
    rates: Rates,
    grid: Grid,
    *,
    peak: float,
    x: float,
    y: float,
    half_length: float,
    half_width: float,
    lean_deg: float = 0.0,
) -> None:
    """Add an ellipsoid whose upper end leans towards +x."""
    lean = math.radians(lean_deg)
    reach = half_length * abs(math.sin(lean)) + half_width
    window = grid.window(x, y, reach, half_length + half_width)
    near = grid.cut(window)
    across, along = rotated(
        near.x[None, :] - np.float32(x), near.y[:, None] - np.float32(y), lean_deg
    )
    rates[window] += np.float32(peak) * ellipsoid_chord(
        across, along, half_length=half_length, half_width=half_width
    )


def _bump(distance: Image, width: float) -> Image:
    bump: Image = np.exp(-((distance / np.float32(width)) ** 2))
    return bump
