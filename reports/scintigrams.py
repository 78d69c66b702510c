"""Scintigrams as a clinic shows them: inverted grey, one picture element per pixel."""

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
"""Pixels on one page: about as many bytes."""
STEPS = 8
"""Shades of each colour, few so that a map takes a kilobyte or two."""
LEAST_SCALE = 0.1
"""Fall of log p that full colour stands for at least: what hardly matters is not coloured."""
FOR, AGAINST = (176, 74, 0), (11, 83, 148)
"""Orange and blue, which all common kinds of colour vision tell apart."""
OPACITY = 0.8


@dataclass(frozen=True, kw_only=True)
class SheetGroup:
    name: str
    """Its findings."""
    cross: bool
    total: int
    """Images of it to choose among."""
    images: list[str]
    """Data URIs."""


@dataclass(frozen=True, kw_only=True)
class SidesOfGroup:
    """Real and synthetic images of one class or cross, as data URIs."""

    name: str
    real: list[str]
    synthetic: list[str]


def inverted_grey(counts: npt.NDArray[np.unsignedinteger[Any]]) -> bytes:
    """(H, W) -> PNG of the same size. White is zero, black the window's upper level.

    The upper level is the 99.7th percentile of the image, so that a few hot pixels do not wash
    out the rest; each image has its own, as on a clinical viewer.
    """
    upper = max(float(np.percentile(counts, 99.7)), 1.0)
    grey = 255 - np.rint(np.minimum(counts / upper, 1.0) * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, format="PNG", optimize=True)
    return file.getvalue()


def colour_map(heat: npt.NDArray[np.floating[Any]], scale: float) -> bytes:
    """(H, W) -> PNG to lay over a scintigram: orange above zero, blue below, clear at zero.

    Opacity grows with the distance from zero, to full colour at `scale`, in `STEPS` steps.
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
    """A few images for each class, then for each cross, spread evenly over the data set.

    Parameters
    ----------
    chosen : (N,) bool
        Images to choose among; all where not given.
    per_group
        As many as this, fewer where a page would grow too large.
    size
        Side in pixels of what is shown, where it divides the data set's; their counts are summed.
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
    """A few of the images (N,) that are chosen under each name; none of a name without images."""
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
    """Two contact sheets as one, classes first.

    A class or cross that only one of them has stands where that one has it.
    """
    names = dict.fromkeys(g.name for g in sorted((*real, *made), key=lambda group: group.cross))
    real_images, made_images = ({g.name: g.images for g in sheet} for sheet in (real, made))
    return [
        SidesOfGroup(name=name, real=real_images.get(name, []), synthetic=made_images.get(name, []))
        for name in names
    ]


def summed(counts: npt.NDArray[np.uint16], size: int) -> npt.NDArray[np.uint32]:
    """(H, H) -> (size, size), the counts of each block of pixels together."""
    block = len(counts) // size
    summed: npt.NDArray[np.uint32] = counts.reshape(size, block, size, block).sum(
        axis=(1, 3), dtype=np.uint32
    )
    return summed


def _spread(rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    at = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)
    return np.take(rows, at)


def data_uri(png: bytes) -> str:
    """The image as the value of `src`."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
