"""Pictures unlike any thyroid scintigram, as photon counts, which a model must reject.

Each is scaled to the total counts of a scintigram and drawn as Poisson counts, so that it cannot be
recognised by brightness or noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import data_store
import numpy as np
import numpy.typing as npt
import pydicom.data
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits, load_sample_images

Floats = npt.NDArray[np.float64]

VARIANTS = 8
"""Number of pictures of each file: the whole picture, and parts of it."""
MADE = 40
"""Number of pictures of each kind that is made here or made from scintigrams."""
MODALITIES = {
    "CT": "CT slices",
    "MR": "MR slices",
    "CR": "radiographs",
    "US": "ultrasound",
    "NM": "bone scan",
}


def other_pictures(
    scintigrams: npt.NDArray[np.uint16], seed: int = 0
) -> dict[str, npt.NDArray[np.uint16]]:
    """Return pictures by their kind, (n, H, H) each, on the grid of some scintigrams (N, H, H)."""
    side = scintigrams.shape[1]
    totals = scintigrams.reshape(len(scintigrams), -1).sum(1)
    rng = np.random.default_rng(seed)
    kinds = _from_files(side, rng) | _made(side, rng) | _turned(scintigrams, rng)
    return {kind: _counted(pictures, totals, rng) for kind, pictures in kinds.items()}


def _counted(
    pictures: list[Floats], totals: npt.NDArray[np.uint64], rng: np.random.Generator
) -> npt.NDArray[np.uint16]:
    counts = []
    for picture in pictures:
        rate = np.maximum(picture - min(picture.min(), 0), 0)
        if not rate.any():  # an empty part of a file
            continue
        rate *= rng.choice(totals) / rate.sum()
        counts.append(rng.poisson(rate).clip(0, 65535).astype(np.uint16))
    return np.stack(counts)


def _from_files(side: int, rng: np.random.Generator) -> dict[str, list[Floats]]:
    """DICOM files of pydicom and pydicom-data, photographs and handwritten digits."""
    kinds: dict[str, list[Floats]] = {}
    for modality, pixels in _dicom_files():
        found = kinds.setdefault(MODALITIES.get(modality, "other DICOM files"), [])
        found += _parts(pixels, side, VARIANTS, rng)
    photographs = [photograph.mean(axis=2) for photograph in load_sample_images().images]
    kinds["photographs"] = [part for p in photographs for part in _parts(p, side, MADE // 2, rng)]
    kinds["handwritten digits"] = [_resized(d, side) for d in load_digits().images[:MADE]]
    return kinds


def _dicom_files() -> Iterator[tuple[str, Floats]]:
    """Modality and pixels (rows, columns) of each file with pixels, without duplicates."""
    seen = set()
    folders = (
        Path(pydicom.data.__file__).parent / "test_files",
        Path(data_store.__file__).parent / "data",
    )
    for path in sorted(p for folder in folders for p in folder.glob("*.dcm")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                file = pydicom.dcmread(path, force=True)
                pixels = np.asarray(file.pixel_array, dtype=np.float64)
        except Exception:  # damaged on purpose, or packed in a way that is not installed
            continue
        while pixels.ndim > 2:  # colours, then frames
            pixels = pixels.mean(axis=-1) if pixels.shape[-1] == 3 else pixels[0]
        about = (pixels.shape, round(float(pixels.mean())), round(float(pixels.std())))
        if min(pixels.shape) >= 32 and about not in seen and pixels.std() > 0:
            seen.add(about)
            yield str(file.get("Modality")), np.maximum(pixels, np.percentile(pixels, 5))


def _parts(picture: Floats, side: int, number: int, rng: np.random.Generator) -> list[Floats]:
    """The whole picture, then random squares of it, half of them mirrored."""
    parts = [_resized(picture, side)]
    while len(parts) < number:
        length = int(min(picture.shape) * rng.uniform(0.5, 1))
        top, left = (int(rng.integers(0, n - length + 1)) for n in picture.shape)
        part = _resized(picture[top : top + length, left : left + length], side)
        if part.std() > 0:
            parts.append(part[:, ::-1] if len(parts) % 2 else part)
    return parts


def _resized(picture: Floats, side: int) -> Floats:
    given = Image.fromarray((picture - picture.min()).astype(np.float32))
    resized = given.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float64)


def _made(side: int, rng: np.random.Generator) -> dict[str, list[Floats]]:
    y, x = np.mgrid[:side, :side] / side - 0.5

    def spot(cy: float, cx: float, height: float, width: float) -> Floats:
        return np.exp(-0.5 * (((y - cy) / height) ** 2 + ((x - cx) / width) ** 2))

    def disc(cy: float, cx: float, height: float, width: float) -> Floats:
        return 1.0 * (((y - cy) / height) ** 2 + ((x - cx) / width) ** 2 < 1)

    def blank() -> Floats:
        return np.ones((side, side))

    def hot_spot() -> Floats:
        radius = rng.uniform(0.01, 0.06)
        at = rng.uniform(-0.4, 0.4, 2)
        return rng.uniform(0.001, 0.05) + spot(at[0], at[1], radius, radius)

    def petri_dish() -> Floats:
        dish = 0.1 + disc(0, 0, 0.42, 0.42)
        for _ in range(rng.integers(5, 60)):
            at, radius = rng.uniform(-0.28, 0.28, 2), rng.uniform(0.01, 0.03)
            dish = dish + rng.uniform(0.5, 3) * disc(at[0], at[1], radius, radius)
        return dish

    def kidneys() -> Floats:
        tall, apart = rng.uniform(0.1, 0.16), rng.uniform(0.14, 0.24)
        pair = [disc(rng.uniform(-0.1, 0.1), s * apart, tall, 0.55 * tall) for s in (-1, 1)]
        return 0.1 + rng.uniform(0.5, 1) * pair[0] + pair[1] + spot(0.42, 0, 0.06, 0.08)

    def lungs() -> Floats:
        pair = [disc(0, s * 0.2, rng.uniform(0.3, 0.4), rng.uniform(0.12, 0.16)) for s in (-1, 1)]
        return 0.03 + pair[0] + pair[1]

    def stripes() -> Floats:
        return 1.2 + np.sin(rng.uniform(10, 80) * (x + rng.normal() * y))

    def noise() -> Floats:
        return rng.random((side, side))

    def flood() -> Floats:
        """A sheet source, used for the daily check of cameras, with uneven sensitivity."""
        field = disc(0, 0, 0.48, 0.48) if rng.random() < 0.5 else blank()
        at_y, at_x = rng.uniform(-0.4, 0.4, 2)
        return field * (1 + rng.uniform(0, 0.2) * spot(at_y, at_x, 0.3, 0.3))

    def bars() -> Floats:
        """Lead bars of four widths, one width in each quadrant."""
        found = np.zeros((side, side))
        for place, width in enumerate(rng.permutation([3, 4, 6, 8])):
            down, right = place // 2 * side // 2, place % 2 * side // 2
            lines = np.indices((side // 2, side // 2))[place % 2] // width % 2
            found[down : down + side // 2, right : right + side // 2] = 0.1 + lines
        return found

    def rods(hot: bool) -> Floats:
        """Six sectors of rods in a round phantom, hot or cold."""
        found = disc(0, 0, 0.42, 0.42) * (0.2 if hot else 1)
        for sector in range(6):
            radius = 0.012 + 0.006 * sector
            for out in np.arange(0.1, 0.38, 4 * radius):
                for turn in np.linspace(-0.4, 0.4, max(int(0.8 * out / (4 * radius)) + 1, 1)):
                    angle = sector * np.pi / 3 + turn
                    rod = disc(out * np.sin(angle), out * np.cos(angle), radius, radius)
                    found = found + (0.8 if hot else -0.8) * rod
        return np.maximum(found, 0)

    def logo() -> Floats:
        """Letters and a frame, dark on light or light on dark."""
        picture = Image.new("L", (side, side), 0)
        pen = ImageDraw.Draw(picture)
        low, high = rng.uniform(0.05, 0.3), rng.uniform(0.7, 0.95)
        pen.rectangle((low * side, low * side, high * side, high * side), outline=255, width=3)
        text = "".join(chr(c) for c in rng.integers(65, 91, rng.integers(1, 5)))
        pen.text(
            (side * 0.3, side * 0.35), text, fill=255, font_size=int(rng.uniform(0.2, 0.5) * side)
        )
        dark = np.asarray(picture, dtype=np.float64) / 255
        return dark if rng.random() < 0.5 else 1 - dark

    makers: dict[str, Callable[[], Floats]] = {
        "noise": noise,
        "flood sources": flood,
        "bar phantoms": bars,
        "hot rods": lambda: rods(hot=True),
        "cold rods": lambda: rods(hot=False),
        "logos": logo,
        "blank fields": blank,
        "one hot spot": hot_spot,
        "Petri dishes": petri_dish,
        "kidneys": kidneys,
        "lungs": lungs,
        "stripes": stripes,
    }
    return {kind: [make() for _ in range(MADE)] for kind, make in makers.items()}


def _turned(
    scintigrams: npt.NDArray[np.uint16], rng: np.random.Generator
) -> dict[str, list[Floats]]:
    """Scintigrams that are changed so that no camera could have made them."""
    drawn = [scintigrams[i].astype(float) for i in rng.permutation(len(scintigrams))[: 5 * MADE]]
    side, some = scintigrams.shape[1], drawn[:MADE]

    def five(number: int) -> Floats:
        field = np.zeros((side, side))
        third = side // 3
        for place, image in enumerate(drawn[5 * number : 5 * number + 5]):
            top, left = (place % 2) * third + place // 4 * third, place // 2 * third
            centre = image[side // 4 : 3 * side // 4, side // 4 : 3 * side // 4]
            field[top : top + third, left : left + third] += _resized(centre, third)
        return field

    return {
        "upside down": [image[::-1] for image in some],
        "lying on the side": [np.rot90(image).copy() for image in some],
        "five glands": [five(number) for number in range(MADE)],
        "scattered pixels": [rng.permutation(image.ravel()).reshape(side, side) for image in some],
        "four times larger": [
            _resized(image[3 * side // 8 : 5 * side // 8, 3 * side // 8 : 5 * side // 8], side)
            for image in some
        ],
    }
