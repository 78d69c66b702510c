"""Finds images that look the same, whatever patients they name: in place, moved, or mirrored.

Copies in place are found by the correlation of thumbnails. For moved and mirrored copies, images
are centred by the phases of their low frequencies, and these frequencies are compared. A window
hides what enters and leaves at the edges. Frequencies have the weights of a Laplacian, as glands
differ in their outlines.

The thresholds are strict, so that only copies are reported. Among 8,880 simulated scintigrams, the
highest correlation of two patients' images was 0.9974 in place and 0.9949 centred or mirrored.
Eight-bit pictures and images smoothed by up to two pixels reached 0.9935. The share of copies found
was measured with 300 copies of each kind: 100 % of those mirrored, moved by 1 to 4 pixels around
the edge, or both; with zeros at the edge instead, 58 % of those moved by 1 pixel, 50 % by 2 and
44 % by 4; 79 % of those thinned to half of their photons and 6 % of those thinned to a quarter;
14 % of those turned by 2 degrees, and none of those turned by 90 degrees or upside down. Enlarged,
cropped or painted copies are not searched for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Spectra = npt.NDArray[np.complex64]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

THUMBNAIL = 16  # pixels a side
ALIKE = 0.999  # correlation of thumbnails
ALIKE_CENTRED = 0.9995  # correlation of centred images; higher, as these differ less
CYCLES = 8  # highest frequency at which centred images are compared, per field
TAPER = 2  # the window (1 + cos) / 2 is applied this many times
SMALLEST = 32  # pixels a side; smaller images are compared in place only
STEPS = 30  # iterations in which the window finds the centre
AXES = 8  # principal axes used to find neighbours
BOX = 128  # images compared with their neighbours at a time
MOST_COMPARED = 8192  # neighbours of a box in memory at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Looks:
    """Features of N images; rows have norm 1, or are 0 if the image is blank."""

    thumbnails: Floats  # (N, pixels), mean 0
    centred: Floats  # (N, coefficients)

    @classmethod
    def blank(cls, images: int, size: int) -> Looks:
        """Return zeros for images not yet seen, `size` pixels a side."""
        coefficients = 2 * (CYCLES + 1) * (2 * CYCLES + 1)
        return cls(
            thumbnails=np.zeros((images, min(size, THUMBNAIL) ** 2), dtype=np.float32),
            centred=np.zeros((images, coefficients), dtype=np.float32),
        )

    def see(self, start: int, roots: Floats) -> None:
        """Enter the square roots of images from `start` on, (n, H, H); their noise is uniform."""
        size, rows = roots.shape[-1], slice(start, start + len(roots))
        edges = np.unique(np.arange(THUMBNAIL) * size // THUMBNAIL)
        sums = np.add.reduceat(np.eye(size, dtype=np.float32), edges)  # (pixels a side, size)
        small = sums @ roots @ sums.T
        self.thumbnails[rows] = _normed(small - small.mean(axis=(1, 2), keepdims=True))
        if size >= SMALLEST:
            self.centred[rows] = _centred(roots)

    @classmethod
    def together(cls, parts: Sequence[Looks]) -> Looks:
        """Concatenate features."""
        return cls(
            thumbnails=np.concatenate([part.thumbnails for part in parts]),
            centred=np.concatenate([part.centred for part in parts]),
        )


def pairs_alike(looks: Looks, rows: Rows, near: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Yield the pairs of `rows` and `near` that look the same, each pair once, in batches."""

    def in_place(some: Rows, others: Rows) -> Mask:
        alike: Mask = looks.thumbnails[some] @ looks.thumbnails[others].T > ALIKE
        return alike

    def moved(some: Rows, others: Rows) -> Mask:
        alike: Mask = looks.centred[some] @ looks.centred[others].T > ALIKE_CENTRED
        return alike & ~in_place(some, others) if alike.any() else alike

    def mirrored(some: Rows, others: Rows) -> Mask:
        alike: Mask = _mirrored(looks.centred[some]) @ looks.centred[others].T > ALIKE_CENTRED
        if alike.any():
            alike &= ~in_place(some, others) & ~moved(some, others)
        return alike

    for points, least, alike in (
        (looks.thumbnails, ALIKE, in_place),
        (looks.centred, ALIKE_CENTRED, moved),
        (looks.centred, ALIKE_CENTRED, mirrored),
    ):
        shown = np.any(points, axis=1)  # blank images resemble nothing
        seeking, sought = rows[shown[rows]], near[shown[near]]
        if len(seeking) and len(sought):
            turned = alike is mirrored
            for some, others in _neighbourhoods(points, seeking, sought, least, mirrored=turned):
                one, other = np.nonzero(alike(some, others))
                yield some[one], others[other]


def _centred(roots: Floats) -> Floats:
    """Compute low frequencies of the centred images, (n, H, H) -> (n, coefficients).

    F(l, k) exp(-i (l y + k x)) is the image moved by (y, x), also by parts of a pixel. At first
    (y, x) are the phases of F(1, 0) and F(0, 1), the centre of mass on a circle. Each iteration
    takes the phases of the image under the window and moves the window there. Moving or mirroring
    an image moves or mirrors its centre.
    """
    middle = CYCLES + TAPER
    cycles = np.arange(-middle, middle + 1)
    waves = _waves(roots.shape[-1], cycles)
    spectra = waves.T @ (roots @ waves.real + 1j * (roots @ waves.imag))  # (n, l, k)
    near = slice(middle - TAPER - 1, middle + TAPER + 2)
    slow = spectra[:, near, near]
    y, x = np.angle(spectra[:, middle + 1, middle]), np.angle(spectra[:, middle, middle + 1])
    for _ in range(STEPS):
        seen = _windowed(_moved(slow, cycles[near], y, x))  # (n, 3, 3)
        y, x = y + np.angle(seen[:, 2, 1]), x + np.angle(seen[:, 1, 2])
    centred = _windowed(_moved(spectra, cycles, y, x))[
        :, CYCLES:
    ]  # F(-l, -k) is the conjugate of F(l, k)
    down, across = np.arange(CYCLES + 1)[:, None], np.arange(-CYCLES, CYCLES + 1)
    weights = (down**2 + across**2) * np.where(down == 0, np.sqrt(0.5), 1.0)  # has k and -k
    centred = centred * weights
    return _normed(np.stack([centred.real, centred.imag], axis=1))


def _waves(size: int, frequencies: Rows) -> Spectra:
    """Return the Fourier basis, (pixels, frequencies)."""
    turns = np.outer(np.arange(size), frequencies) / size
    waves: Spectra = np.exp(-2j * np.pi * turns).astype(np.complex64)
    return waves


def _moved(spectra: Spectra, cycles: Rows, y: Floats, x: Floats) -> Spectra:
    """Move images, (n, l, k), by y and x, (n,), as angles: 2 pi is the whole field."""
    down, across = (np.exp(-1j * angle[:, None] * cycles) for angle in (y, x))
    moved: Spectra = (spectra * down[:, :, None] * across[:, None]).astype(np.complex64)
    return moved


def _windowed(spectra: Spectra) -> Spectra:
    """Apply the window ((1 + cos y) (1 + cos x) / 4)^TAPER; l and k each lose 2 TAPER entries."""
    for _ in range(TAPER):
        spectra = spectra[:, :-2] / 4 + spectra[:, 1:-1] / 2 + spectra[:, 2:] / 4
        spectra = spectra[..., :-2] / 4 + spectra[..., 1:-1] / 2 + spectra[..., 2:] / 4
    return spectra


def _mirrored(centred: Floats) -> Floats:
    """Mirror left and right: exchange k, the last of the coefficients' axes, with -k."""
    by_frequency = centred.reshape(len(centred), -1, 2 * CYCLES + 1)
    return by_frequency[..., ::-1].reshape(centred.shape)


def _normed(values: Floats) -> Floats:
    """Flatten to norm 1, (n, ...) -> (n, D); blank images stay 0."""
    flat = values.reshape(len(values), -1).astype(np.float32)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    normed: Floats = np.divide(flat, norm, out=np.zeros_like(flat), where=norm > 1e-3)
    return normed


def _neighbourhoods(
    points: Floats, rows: Rows, near: Rows, least: float, *, mirrored: bool
) -> Iterator[tuple[Rows, Rows]]:
    """Yield at most BOX of `rows` with at most MOST_COMPARED of `near` that may be alike.

    Points of norm 1 with a correlation above c (`least`) are closer than sqrt(2 - 2c), and so are
    their coordinates on any axis. On the axes along which points differ most, few pairs are as
    close, and only these are compared.
    """
    axes = _widest_axes(points)
    places = points @ axes  # (N, axes)
    asked = points @ _mirrored(axes.T).T if mirrored else places
    reach = float(np.sqrt(2 - 2 * least)) + 1e-4  # plus float32 rounding
    for some, reachable in _boxes(asked, places, rows, near, reach):
        for start in range(0, len(reachable), MOST_COMPARED):
            yield some, reachable[start : start + MOST_COMPARED]


def _boxes(
    asked: Floats, places: Floats, rows: Rows, near: Rows, reach: float
) -> Iterator[tuple[Rows, Rows]]:
    """Cut `rows` into boxes of at most BOX, and yield each with those of `near` within its reach.

    Without this, time would grow with the square of the number of images.
    """
    inside = asked[rows]  # (n, axes)
    low, high = inside.min(axis=0), inside.max(axis=0)
    around = places[near]
    near = near[((around >= low - reach) & (around <= high + reach)).all(axis=1)]
    if len(rows) <= BOX:
        yield rows, near
        return
    middle = len(rows) // 2
    order = np.argpartition(inside[:, np.argmax(high - low)], middle)
    yield from _boxes(asked, places, rows[order[:middle]], near, reach)
    yield from _boxes(asked, places, rows[order[middle:]], near, reach)


def _widest_axes(points: Floats) -> Floats:
    """Return the orthonormal principal axes of largest variance, (N, D) -> (D, AXES)."""
    mean = points.mean(axis=0, dtype=np.float64)
    second_moment = points.T @ points / np.float32(len(points))
    axes = np.linalg.eigh(second_moment - np.outer(mean, mean))[1][:, -AXES:]
    return axes.astype(np.float32)
