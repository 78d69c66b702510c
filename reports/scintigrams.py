"""Pictures of scintigrams as a clinic shows them, in inverted grey."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from thyroid.data.dataset import Dataset

PIXEL_BUDGET = 1_500_000
"""Maximum number of pixels on one page; it is also about the number of bytes."""
STEPS = 8
"""Number of shades of each colour; with so few a map takes one or two kilobytes."""
LEAST_SCALE = 0.1
"""Smallest fall of log p that full colour may mean, so that unimportant places are not coloured."""
FOR, AGAINST = (176, 74, 0), (11, 83, 148)
"""Orange and blue, which people with all common kinds of colour vision can distinguish."""
OPACITY = 0.8


@dataclass(frozen=True, kw_only=True)
class SheetGroup:
    name: str
    """The findings of its images."""
    cross: bool
    total: int
    """Number of images among which those that are shown were chosen."""
    images: list[str]
    """Data URIs."""


@dataclass(frozen=True, kw_only=True)
class SidesOfGroup:
    """Real and synthetic images of one class or cross, as data URIs."""

    name: str
    real: list[str]
    synthetic: list[str]


def inverted_grey(counts: npt.NDArray[np.unsignedinteger[Any]]) -> bytes:
    """(H, W) -> PNG of the same size; zero is white, and the window's upper level is black.

    The upper level is the 99.7th percentile of the image, so that a few hot pixels do not make all
    others pale; as on a clinical viewer, each image has its own upper level.
    """
    upper = max(float(np.percentile(counts, 99.7)), 1.0)
    grey = 255 - np.rint(np.minimum(counts / upper, 1.0) * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, format="PNG", optimize=True)
    return file.getvalue()


def colour_map(heat: npt.NDArray[np.floating[Any]], scale: float) -> bytes:
    """(H, W) -> PNG to lay over a scintigram: orange above zero, blue below, transparent at zero.

    Opacity grows in `STEPS` steps with the distance from zero, up to full colour at `scale`.
    """
    step = np.clip(np.rint(heat / scale * STEPS), -STEPS, STEPS).astype(np.int64)
    picture = Image.fromarray((step + STEPS).astype(np.uint8)).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    shades = [AGAINST] * STEPS + [FOR] * (STEPS + 1)
    picture.putpalette([level for shade in shades for level in shade])
    opacity = np.rint(255 * OPACITY * np.abs(np.arange(-STEPS, STEPS + 1)) / STEPS)
    file = io.BytesIO()
    picture.save(
        file, format="PNG", optimize=True, transparency=bytes(opacity.astype(np.uint8).tolist())
    )
    return file.getvalue()


def contact_sheet(
    dataset: Dataset,
    chosen: npt.NDArray[np.bool_] | None = None,
    *,
    per_group: int,
    size: int | None = None,
) -> list[SheetGroup]:
    """A few images of each class, then of each cross, spread evenly over the data set.

    Parameters
    ----------
    chosen : (N,) bool
        Images that may be shown; default: all.
    per_group
        Maximum number of images per group; fewer are shown if the page would become too large.
    size
        Side in pixels of the images that are shown, whose counts are summed over blocks; ignored
        if it does not divide the side of the data set's images.
    """
    among = np.ones(len(dataset), dtype=bool) if chosen is None else chosen
    findings = dataset.images["findings"].to_numpy(dtype=str)
    singles = list(dataset.info.classes)
    crosses = sorted(set(findings[dataset.is_cross]))
    groups: Mapping[str, npt.NDArray[np.int64]] = {
        name: np.flatnonzero(among & (findings == name)) for name in (*singles, *crosses)
    }
    shown = dataset.info.size if size is None or dataset.info.size % size else size
    fits = PIXEL_BUDGET // (max(len(groups), 1) * shown**2)
    count = int(np.clip(fits, 1, per_group))
    return [
        SheetGroup(
            name=name,
            cross=name in crosses,
            total=len(rows),
            images=[
                data_uri(inverted_grey(summed(dataset.counts[i], shown)))
                for i in _spread(rows, count)
            ],
        )
        for name, rows in groups.items()
        if len(rows)
    ]


def named_sheet(
    dataset: Dataset, chosen: Mapping[str, npt.NDArray[np.bool_]], *, per_group: int
) -> list[SheetGroup]:
    """A few of the images (N,) chosen for each name; names without images are left out."""
    return [
        SheetGroup(
            name=name,
            cross=False,
            total=len(rows),
            images=[
                data_uri(inverted_grey(np.asarray(dataset.counts[row])))
                for row in _spread(rows, per_group)
            ],
        )
        for name, among in chosen.items()
        if len(rows := np.flatnonzero(among))
    ]


def side_by_side(real: list[SheetGroup], made: list[SheetGroup]) -> list[SidesOfGroup]:
    """Combine two contact sheets, classes first.

    A class or cross that only one sheet has keeps its place.
    """
    names = dict.fromkeys(g.name for g in sorted((*real, *made), key=lambda group: group.cross))
    real_images, made_images = ({g.name: g.images for g in sheet} for sheet in (real, made))
    return [
        SidesOfGroup(name=name, real=real_images.get(name, []), synthetic=made_images.get(name, []))
        for name in names
    ]


def summed(counts: npt.NDArray[np.uint16], size: int) -> npt.NDArray[np.uint32]:
    """(H, H) -> (size, size); the counts in each block of pixels are summed."""
    block = len(counts) // size
    summed: npt.NDArray[np.uint32] = counts.reshape(size, block, size, block).sum(
        axis=(1, 3), dtype=np.uint32
    )
    return summed


def _spread(rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    at = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)
    return np.take(rows, at)


def data_uri(png: bytes) -> str:
    """The image as a data URI, for the attribute `src`."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
