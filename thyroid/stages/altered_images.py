"""Pictures that no camera makes of a thyroid: altered training images, and random patterns.

A gate learns from them what scintigrams are not (outlier exposure, Hendrycks et al. 2019). Each has
the total counts of a training image, and new Poisson noise unless its pixels were only moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]


def altered_images(counts: Floats, each: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Alter images in eight ways; one way at a time, to save memory.

    Parameters
    ----------
    counts : (N, S, S) of scintigrams
    each : number of pictures per way

    Yields
    ------
    (each, S, S) counts of one way
    """
    side = counts.shape[1]
    totals = counts.sum((1, 2))

    def drawn() -> Floats:
        return np.array(counts[rng.integers(len(counts))])

    def noisy(picture: Floats) -> Floats:
        """Draw counts of a picture (S, S) of any scale."""
        rate = np.maximum(picture, 0) + 1e-9
        made: Floats = rng.poisson(rate * rng.choice(totals) / rate.sum()).astype(np.float32)
        return made

    def upside_down() -> Floats:
        turned: Floats = np.flipud(drawn())
        return turned

    def on_its_side() -> Floats:
        turned: Floats = np.rot90(drawn(), int(rng.choice([1, 3])))
        return turned

    def enlarged() -> Floats:
        part = max(int(side / rng.uniform(2.2, 5)), 2)
        top, left = rng.integers(0, side - part + 1, 2)
        return noisy(_resized(drawn()[top : top + part, left : left + part], side))

    def in_pieces() -> Floats:
        parts = int(rng.choice([2, 4, 8]))
        length = side // parts
        image = drawn()[: parts * length, : parts * length]
        pieces = (
            image.reshape(parts, length, parts, length).swapaxes(1, 2).reshape(-1, length, length)
        )
        mixed = rng.permutation(pieces).reshape(parts, parts, length, length).swapaxes(1, 2)
        whole = np.zeros((side, side), dtype=np.float32)
        whole[: parts * length, : parts * length] = mixed.reshape(parts * length, parts * length)
        return whole

    def negative() -> Floats:
        image = drawn()
        image = np.minimum(image, np.percentile(image, 98))
        return noisy(image.max() - image)

    def texture() -> Floats:
        return noisy(_texture(side, rng))

    def spots() -> Floats:
        return noisy(_spots(side, rng))

    def field() -> Floats:
        return noisy(_field(side, rng))

    ways: tuple[Callable[[], Floats], ...] = (
        upside_down,
        on_its_side,
        enlarged,
        in_pieces,
        negative,
        texture,
        spots,
        field,
    )
    for way in ways:
        yield np.stack([way() for _ in range(each)])


def _resized(picture: Floats, side: int) -> Floats:
    given = Image.fromarray(picture.astype(np.float32))
    return np.asarray(given.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32)


def _texture(side: int, rng: np.random.Generator) -> Floats:
    """Noise whose amplitude falls with a random power of the frequency, in [0, 1]."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = 1
    waves = np.fft.rfft2(rng.normal(size=(side, side))) / frequency ** rng.uniform(0.3, 2)
    picture = np.fft.irfft2(waves, s=(side, side))
    scaled: Floats = (picture - picture.min()) / max(np.ptp(picture), 1e-12)
    return scaled ** rng.uniform(1, 4)


def _spots(side: int, rng: np.random.Generator) -> Floats:
    """One to eleven ellipses, sharp or blurred, of any size, before a faint background."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    picture = np.full((side, side), rng.uniform(0, 0.1))
    for _ in range(rng.integers(1, 12)):
        at_y, at_x = rng.uniform(-0.45, 0.45, 2)
        height, width = np.exp(rng.uniform(np.log(0.01), np.log(0.2), 2))
        turned = rng.uniform(0, np.pi)
        along = (x - at_x) * np.cos(turned) + (y - at_y) * np.sin(turned)
        across = (y - at_y) * np.cos(turned) - (x - at_x) * np.sin(turned)
        squared = (along / width) ** 2 + (across / height) ** 2
        blurred = rng.random() < 0.5
        picture += rng.uniform(0.3, 1) * (np.exp(-0.5 * squared) if blurred else squared < 1)
    return picture


def _field(side: int, rng: np.random.Generator) -> Floats:
    """A field as of a flood source: an ellipse or a rectangle, lit almost evenly, in half of the
    cases before a faint background.
    """
    y, x = np.mgrid[:side, :side] / side - 0.5
    height, width = np.exp(rng.uniform(np.log(0.1), np.log(0.7), 2))
    at_y, at_x = rng.uniform(-0.2, 0.2, 2)
    down, right = np.abs(y - at_y) / height, np.abs(x - at_x) / width
    lit = np.hypot(down, right) < 1 if rng.random() < 0.5 else np.maximum(down, right) < 1
    slope_y, slope_x = rng.uniform(-0.5, 0.5, 2)
    background = rng.uniform(0, 0.3) * (rng.random() < 0.5)
    field: Floats = lit * (1 + slope_y * y + slope_x * x) + background
    return field
