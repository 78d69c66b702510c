"""Photon counts of a file's pixels, or the reason why its values are not counts.

Viewers and archives rescale, invert and smooth the counts of cameras. Changes that the header
describes are undone. If the header has CountsAccumulated, this sum decides whether values are
counts. Otherwise the values themselves must look like counts: every small whole number occurs, the
highest value is not a power of two minus one, and neighbours differ as Poisson's law says.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset as Header

from thyroid.data.header_values import get, integer, items, values
from thyroid.data.scintigram import UnusableFile, border

Pixels = npt.NDArray[np.integer]

FULL_SCALES = (4095, 16383, 32766, 32767, 65534, 65535)
"""Highest values of rescaled images; no pixel of a thyroid scintigram has so many counts."""
SMALL_SCALES = (127, 255, 511, 1023, 2047)
"""Highest values of rescaled images that counts may reach, too."""
CROWDED = 20  # if so many pixels have one value, counts have the next whole number, too
LEAST_HOLES = 3
LEAST_VALUES = 5
LEAST_PAIRS = 800
LIGHT = 0.7  # share of the highest value from which a border is flagged
LEAST_NOISE = 0.8
"""Least variance, relative to that of photon counts; scintigrams from cameras have 0.98 to 1.07."""
LEVELS = np.array([0, 1, 1, 1, *np.repeat([2, 3, 4, 5], [4, 8, 16, 32]), 6])
"""Sum of two neighbours (64 for all larger ones) -> group of similar sums; 0 for no counts."""
LEAST_ABOVE_ZERO = 3  # if the least value above zero is that large, small ones were set to 0
BRIGHT = 0.8
"""A border above this share of the highest value shows that the image is inverted or a flood."""
NO_COUNTS = "; export it as PNG to import it as a picture"


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """Counts of all frames."""

    frames: Pixels
    """(frames, rows, columns)."""
    verified: bool
    """True if CountsAccumulated is the sum of one frame, or of all frames."""
    flags: tuple[str, ...]


def counts_of(header: Header, stored: Pixels) -> Counts:
    """Return the counts that stored pixels stand for, (frames, rows, columns).

    Raises
    ------
    UnusableFile : the header shows that they are not counts.
    """
    accumulated = integer(get(header, "CountsAccumulated"))
    if _inverted(header):
        return _upright(header, stored, accumulated)
    readings = list(_readings(header, stored))
    for frames in readings:
        if _is_sum(frames, accumulated):
            return Counts(frames=_non_negative(frames), verified=True, flags=())
    frames = _non_negative(readings[0])
    if header.BitsStored <= 8:
        why = "do not sum to CountsAccumulated" if accumulated else "have no CountsAccumulated"
        raise UnusableFile(f"its 8-bit pixels {why}, so they are not counts" + NO_COUNTS)
    if accumulated and accumulated * 2 < _least_sum(frames) and not _thousands(frames, accumulated):
        raise UnusableFile(
            "its pixels sum to more than twice CountsAccumulated, so they are not counts"
            + NO_COUNTS
        )
    flags = ("counts_accumulated",) if accumulated else ()
    return Counts(frames=frames, verified=False, flags=flags)


def require_counts(header: Header, counts: Pixels, *, verified: bool) -> Iterator[str]:
    """Yield the flags that the values of the chosen image, (rows, columns), call for.

    Raises
    ------
    UnusableFile : its values are not counts.
    """
    peak, bright = int(counts.max()), np.median(border(counts))
    derived = {"DERIVED", "SECONDARY"} & {str(v).upper() for v in values(get(header, "ImageType"))}
    scaled = _leaves_out_values(counts)
    if not verified:
        if scaled or peak in FULL_SCALES or (derived and peak in SMALL_SCALES):
            raise UnusableFile("its values were rescaled, so they are not counts" + NO_COUNTS)
        if bright > BRIGHT * peak:
            raise UnusableFile("its border is bright: it is inverted, or a flood" + NO_COUNTS)
        doubtful = derived or peak in SMALL_SCALES or _cut_off(counts)
        if doubtful or _noise(counts) < LEAST_NOISE:
            yield "counts_doubtful"
    elif scaled:
        yield "counts_doubtful"
    if bright > LIGHT * peak:
        yield "light_background"


def _inverted(header: Header) -> bool:
    display = (get(header, "PhotometricInterpretation"), get(header, "PresentationLUTShape"))
    return bool({"MONOCHROME1", "INVERSE"} & set(map(str, display)))


def _upright(header: Header, stored: Pixels, accumulated: int | None) -> Counts:
    """Return the counts of a file that is displayed inverted, by comparing sums with its header."""
    full = 2 ** int(header.BitsStored - header.PixelRepresentation) - 1
    for top in (None, full, int(stored.max())):
        frames = stored if top is None else top - stored.astype(np.int64)
        if frames.min() >= 0 and _is_sum(frames, accumulated):
            return Counts(frames=frames, verified=True, flags=())
    raise UnusableFile(
        "it is displayed inverted (MONOCHROME1), and its CountsAccumulated does not say which of "
        "its values are counts" + NO_COUNTS
    )


def _readings(header: Header, stored: Pixels) -> Iterator[Pixels]:
    """Yield what stored values may stand for, the most probable first."""
    if items(header, "ModalityLUTSequence"):
        raise UnusableFile("its values were changed by a table, so they are not counts" + NO_COUNTS)
    mappings = [
        (slope, intercept, _of_counts(item))
        for item in items(header, "RealWorldValueMappingSequence")
        for slope, intercept in [_line(item, "RealWorldValueSlope", "RealWorldValueIntercept")]
        if (slope, intercept) != (1, 0)
    ]
    to_counts = {(slope, intercept) for slope, intercept, counts in mappings if counts}
    if len(to_counts) > 1:
        raise UnusableFile(
            "it has several scales of counts and does not say which one applies" + NO_COUNTS
        )
    rescale = _line(header, "RescaleSlope", "RescaleIntercept")
    lines = [*to_counts, rescale, (1.0, 0.0)]
    accumulated = integer(get(header, "CountsAccumulated"))
    if mappings and not to_counts and not _is_sum(stored, accumulated):
        raise UnusableFile("its values are on a scale of another unit than counts" + NO_COUNTS)
    for slope, intercept in dict.fromkeys(lines):
        if (slope, intercept) == (1, 0):
            yield stored
        elif (frames := _on_line(stored, slope, intercept)) is not None:
            yield frames
        elif not _is_sum(stored, accumulated):
            raise UnusableFile("its rescaled pixels are fractions, so they are not counts")


def _on_line(stored: Pixels, slope: float, intercept: float) -> npt.NDArray[np.int64] | None:
    """Return slope * stored + intercept, or None if these are no whole numbers.

    Stored numbers are whole, so a count may be wrong by half a step of the scale.
    """
    step = abs(slope)
    tolerance = 1e-3 + (step / 2 if step < 0.2 else 0.0)
    scaled = np.unique(stored) * slope + intercept
    if not np.isfinite(scaled).all() or np.abs(scaled).max() > 2**40:
        raise UnusableFile("its rescaled pixels are too large to be counts" + NO_COUNTS)
    if not np.allclose(np.rint(scaled), scaled, rtol=0, atol=tolerance):
        return None
    whole: npt.NDArray[np.int64] = np.rint(stored * slope + intercept).astype(np.int64)
    return whole


def _line(header: Header, slope: str, intercept: str) -> tuple[float, float]:
    return tuple(  # type: ignore[return-value]  # of two
        float(default if get(header, name) in (None, "") else header[name].value)
        for name, default in ((slope, 1), (intercept, 0))
    )


def _of_counts(mapping: Header) -> bool:
    units = items(mapping, "MeasurementUnitsCodeSequence")
    said = " ".join(
        str(get(u, "CodeValue") or "") + str(get(u, "CodeMeaning") or "") for u in units
    )
    said = said.casefold()
    return ("count" in said or "cnt" in said) and not any(
        rate in said for rate in ("/", "per", "rate", "cps")
    )


def _non_negative(frames: Pixels) -> Pixels:
    if frames.min() < 0:
        raise UnusableFile("it has negative pixels, so something was subtracted from the counts")
    return frames


def _is_sum(frames: Pixels, accumulated: int | None) -> bool:
    if not accumulated:
        return False
    return accumulated in _sums(frames) or accumulated == frames.sum(dtype=np.int64)


def _sums(frames: Pixels) -> npt.NDArray[np.int64]:
    sums: npt.NDArray[np.int64] = frames.sum(axis=(1, 2), dtype=np.int64)
    return sums


def _least_sum(frames: Pixels) -> int:
    return int(_sums(frames).min())


def _thousands(frames: Pixels, accumulated: int) -> bool:
    """Return whether CountsAccumulated is in thousands, as some cameras write it."""
    total: Any = frames.sum(dtype=np.int64)
    return bool(abs(total / 1000 - accumulated) <= 1)


def _leaves_out_values(counts: Pixels) -> bool:
    """Return whether whole numbers are missing that would occur among photon counts."""
    if counts.max() < 2**20:
        levels = np.bincount(counts.ravel())
        present = np.flatnonzero(levels)
        pixels = levels[present]
    else:
        present, pixels = np.unique(counts, return_counts=True)
    gaps = np.diff(present)
    holes = (gaps > 1) & (pixels[:-1] >= CROWDED) & (pixels[1:] >= CROWDED)
    apart = len(present) >= LEAST_VALUES and gaps.min() > 1
    return bool(apart or np.count_nonzero(holes) >= LEAST_HOLES)


def _cut_off(counts: Pixels) -> bool:
    """Return whether small values were set to zero, as by masking out the background."""
    above = counts[counts > 0]
    lowest = above.min()
    return bool(
        len(above) < counts.size
        and lowest >= LEAST_ABOVE_ZERO
        and np.count_nonzero(above == lowest) >= CROWDED
    )


def _noise(counts: Pixels) -> float:
    """Return the mean of (a - b)^2 / (a + b) over neighbours a, b: at least 1 for photon counts.

    It is the least of the means over all pairs and over pairs with similar a + b, since edges of
    organs raise a mean and hide that the noise is low.
    """
    left, right = (counts[:, i::2][:, : counts.shape[1] // 2].astype(np.float32) for i in (0, 1))
    total = (left + right).ravel()
    ratio = np.square(left - right).ravel() / np.maximum(total, 1)
    level = LEVELS[np.minimum(total, len(LEVELS) - 1).astype(np.intp)]
    pairs, sums = np.bincount(level), np.bincount(level, ratio)
    pairs, sums = np.append(pairs[1:], pairs[1:].sum()), np.append(sums[1:], sums[1:].sum())
    enough = pairs >= LEAST_PAIRS
    return float((sums[enough] / pairs[enough]).min(initial=1.0))
