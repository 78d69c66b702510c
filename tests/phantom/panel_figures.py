"""Figures of a panel: a scintigram on display, 128 x 128 pixels, its hottest pixel white.

These figures were measured on real panels, whose pixel size is unknown, so lengths are in pixels.
Peaks are those of the picture after smoothing by a Gaussian of one pixel, because single pixels are
noisy. The position of the gland is known: from a reader's contour in real panels, from the
simulated isthmus here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, gaussian_filter, uniform_filter

from thyroid.phantom.pictures import Export, picture_of
from thyroid.phantom.simulator import SimulatedScintigram

SIZE = 128
AROUND_MM = 10.0
"""Reach of the gland's blur beyond its outline."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """A scintigram on display."""

    picture: npt.NDArray[np.float64]
    """(128, 128), 0 to 255."""
    smooth: npt.NDArray[np.float64]
    """(128, 128), smoothed by one pixel."""
    x: npt.NDArray[np.float64]
    """(128, 128) mm from the isthmus, to the image's right."""
    y: npt.NDArray[np.float64]
    """(128, 128) mm from the isthmus, upwards."""
    pixel_mm: float
    gland: Mask
    """(128, 128): above 40 % of the gland's peak, near the isthmus."""

    @classmethod
    def of(cls, scintigram: SimulatedScintigram, export: Export | None) -> Panel:
        """Export a picture, neither shrunk nor turned, and average its pixels to 128 x 128."""
        factor = scintigram.centre.matrix // SIZE
        upright = None if export is None else replace(export, shrunk=0, rotated=0)
        picture = picture_of(scintigram.anterior, upright, key=scintigram.patient)
        picture = picture.reshape(SIZE, factor, SIZE, factor).mean((1, 3))
        picture = np.rint(255 * picture / picture.max())
        pixel_mm = scintigram.centre.pixel_mm * factor
        row, column = (place / factor for place in scintigram.isthmus)
        middle = np.arange(SIZE) + 0.5
        x, y = np.meshgrid((middle - column) * pixel_mm, (row - middle) * pixel_mm)
        smooth = gaussian_filter(picture, 1)
        near = (abs(x) < 48) & (y > -45) & (y < 50)
        peak = smooth[(abs(x) < 40) & (y > -35) & (y < 38)].max()
        return cls(
            picture=picture, smooth=smooth, x=x, y=y, pixel_mm=pixel_mm,
            gland=near & (smooth > 0.4 * peak),
        )  # fmt: skip

    @property
    def gland_peak(self) -> float:
        """Peak of the gland, 0 to 255."""
        return float(self.smooth[self.gland & (self.y < 38)].max())

    def outside_over_gland(self) -> float:
        """Return the peak outside of the gland over the gland's peak."""
        place = (abs(self.x) < 42) & (self.y > -42) & (self.y < 42)  # cold parts belong to it
        return float(self.smooth[~self._around_gland() & ~place].max()) / self.gland_peak

    def gland_area(self) -> int:
        """Return the pixels above 40 % of the gland's peak."""
        return int(self.gland.sum())

    def upper_over_lower(self) -> float:
        """Return the maximum of the picture's upper half over that of its lower half."""
        return float(self.smooth[: SIZE // 2].max() / self.smooth[SIZE // 2 :].max())

    def hottest_above(self) -> float:
        """Return the distance in pixels from the gland's centre to the hottest spot above it."""
        above = np.where((self.y > 38) & ~self._around_gland(), self.smooth, -1)
        row, column = np.unravel_index(above.argmax(), above.shape)
        rows, columns = np.nonzero(self.gland)
        return float(np.hypot(row - rows.mean(), column - columns.mean()))

    def chest_noise(self) -> float:
        """Return the relative noise in the chest, nan if the field shows less than 150 pixels of
        it.

        The standard deviation in a box of 7 x 7 pixels over its mean, as the median of all boxes
        45 to 90 mm below the isthmus and up to 60 mm beside the midline.
        """
        chest = (self.y < -45) & (self.y > -90) & (abs(self.x) < 60)
        if chest.sum() < 150:
            return float("nan")
        mean = uniform_filter(self.picture, 7)
        variance = uniform_filter(self.picture**2, 7) - mean**2
        relative = np.sqrt(np.maximum(variance, 0) * 49 / 48) / np.maximum(mean, 1e-6)
        return float(np.median(relative[chest]))

    def unevenness(self) -> float:
        """Return the gland's unevenness: 0 if its rates fall evenly from the middle to the outline.

        The standard deviation of the logarithm of the picture, smoothed by 2 pixels, about its own
        smoothing by 6 pixels, in the gland's inner part.
        """
        inner = self.gland & ~binary_dilation(~self.gland, iterations=2)
        fine, coarse = (gaussian_filter(self.picture, sigma) for sigma in (2.0, 6.0))
        ratio = np.log(np.maximum(fine, 1) / np.maximum(coarse, 1))[inner]
        return float(ratio.std()) if ratio.size > 20 else float("nan")

    def _around_gland(self) -> Mask:
        around: Mask = binary_dilation(
            self.gland, iterations=max(2, round(AROUND_MM / self.pixel_mm))
        )
        return around
