"""Re-binning of photons: counts on another pixel grid stay integers and Poisson."""

import hashlib

import numpy as np
import numpy.typing as npt

from thyroid.errors import InputError

MOST_COUNTS = int(np.iinfo(np.uint16).max)
SAME_PIXEL_SIZE = 1e-6  # relative difference below which two grids are the same and no photon moves


def rng_for(counts: npt.NDArray[np.generic]) -> np.random.Generator:
    """Return a generator seeded by the counts themselves.

    Re-binning a scintigram then gives the same result for any order of files, number of processes
    and integer type of the counts.

    Parameters
    ----------
    counts : (rows, columns) integers >= 0, any integer type.
    """
    canonical = np.ascontiguousarray(counts, dtype="<u4")
    digest = hashlib.sha256(repr(canonical.shape).encode())
    digest.update(canonical.tobytes())
    return np.random.default_rng(int.from_bytes(digest.digest(), "little"))


def rebin_counts(
    counts: npt.NDArray[np.generic],
    *,
    pixel_mm: float | tuple[float, float],
    target_mm: float,
    size: int,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.uint16], int]:
    """Place each photon uniformly at random in its source pixel and count it on the target grid.

    Interpolation would correlate neighbours and give fractions. Re-binning gives independent
    Poisson counts and keeps every photon inside the field. A photon's row and column are
    independent, so the two axes are re-binned one after the other by exact multinomial draws.

    Grids are centred on each other. If the pixel sizes agree, nothing is random: the matrix is
    cropped or padded by whole pixels (an odd difference moves it half a pixel up and left).

    Parameters
    ----------
    counts : (rows, columns) integers >= 0.
    pixel_mm : source pixel size in mm, or (row, column) spacing.
    target_mm : target pixel size in mm.
    size : target rows and columns.

    Returns
    -------
    (size, size) uint16 counts, and the number of counts that fell outside the target field.

    Raises
    ------
    InputError : a target pixel would hold more than 65,535 counts.
    """
    row_mm, column_mm = pixel_mm if isinstance(pixel_mm, tuple) else (pixel_mm, pixel_mm)
    if not (row_mm > 0 and column_mm > 0 and target_mm > 0 and size > 0):
        raise InputError(
            f"pixel sizes and the image size must be positive, but re-binning from {row_mm} x "
            f"{column_mm} mm to {size} pixels of {target_mm} mm was requested; correct them"
        )
    source = np.asarray(counts).astype(np.int64)  # (rows, columns)
    total = int(source.sum())
    rebinned = _rebin_rows(source, row_mm / target_mm, size, rng)  # (size, columns)
    rebinned = _rebin_rows(rebinned.T, column_mm / target_mm, size, rng).T  # (size, size)
    peak = int(rebinned.max())
    if peak > MOST_COUNTS:
        raise InputError(
            f"a pixel of {target_mm:g} mm would hold {peak:,} counts and a data set stores at most "
            f"{MOST_COUNTS:,}; choose a smaller pixel size"
        )
    return np.ascontiguousarray(rebinned, dtype=np.uint16), total - int(rebinned.sum())


def _rebin_rows(
    counts: npt.NDArray[np.int64], ratio: float, size: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Re-bin rows, (rows, columns) -> (size, columns); `ratio` is source / target pixel size.

    The edges of both grids cut the axis into segments; each lies in one source and one target row.
    A source pixel's counts fall into its segments with probabilities proportional to their lengths.
    """
    rows = len(counts)
    if abs(ratio - 1) < SAME_PIXEL_SIZE:
        ratio = 1.0
    # positions in units of target pixels; the target grid is [0, size]
    source_edges = size / 2 + (np.arange(rows + 1) - rows / 2) * ratio
    if ratio == 1 and (rows - size) % 2:
        source_edges -= 0.5
    target_edges = np.arange(size + 1.0)
    inside = (target_edges > source_edges[0]) & (target_edges < source_edges[-1])
    edges = np.union1d(source_edges, target_edges[inside])
    middle, length = (edges[1:] + edges[:-1]) / 2, np.diff(edges)  # (segments,)
    source_row = np.clip(np.searchsorted(source_edges, middle, side="right") - 1, 0, rows - 1)
    target_row = np.clip(np.floor(middle), -1, size).astype(np.intp)
    first = np.searchsorted(source_row, np.arange(rows))  # each source row's first segment
    segments_in_row = np.diff(np.append(first, len(source_row)))

    segment_counts = np.zeros((len(source_row), counts.shape[1]), dtype=np.int64)
    remaining, remaining_length = counts.copy(), np.full(rows, ratio)
    # multinomial as a chain of binomials: the k-th segment of every row at once
    for k in range(int(segments_in_row.max())):
        last = np.flatnonzero(segments_in_row == k + 1)
        segment_counts[first[last] + k] = remaining[last]
        more = np.flatnonzero(segments_in_row > k + 1)
        segment = first[more] + k
        share = np.clip(length[segment] / remaining_length[more], 0, 1)
        drawn = rng.binomial(remaining[more], share[:, None])
        segment_counts[segment] = drawn
        remaining[more] -= drawn
        remaining_length[more] -= length[segment]

    rebinned = np.zeros((size + 2, counts.shape[1]), dtype=np.int64)  # one row beyond each end
    present, start = np.unique(target_row, return_index=True)
    rebinned[present + 1] = np.add.reduceat(segment_counts, start, axis=0)
    return rebinned[1:-1]
