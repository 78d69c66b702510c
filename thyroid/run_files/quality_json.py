"""RUN/synthetic/quality.json: how good the first seed's synthetic images are.

The quality stage's artifact has the same file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thyroid.files import replace_text
from thyroid.run_files.json_file import read_json, text_of

FILE, FOLDER = "quality.json", "synthetic"

EVERYTHING = "all"
"""The group of all images, with the validation part's proportions of findings."""

Way = Literal["bicubic", "pixel", "adversarial"]
"""Ways to enlarge an image: by interpolation, and by the SRGAN after each part of its training."""


@dataclass(frozen=True, kw_only=True)
class QualityRow:
    """One measure of one group of images; `Quality.about` explains the value of real images."""

    measure: str
    group: str
    """Findings joined by `;`, or `all`."""
    synthetic: float | None
    """Value of synthetic images; None: too few images."""
    real: float | None
    """Value of real images, for comparison; None: too few images."""
    images: int
    """Number of synthetic images that were measured."""
    better: Literal["lower", "higher", "equal"]
    """Which value is better: a lower one, a higher one, or one equal to `real`."""


@dataclass(frozen=True, kw_only=True)
class ImageNumbers:
    """Numbers of images that were measured."""

    train: int
    validation: int
    synthetic: int


@dataclass(frozen=True, kw_only=True)
class SuperResolution:
    """Enlarged validation images compared with their targets, by way to enlarge."""

    psnr_db: dict[Way, float | None]
    """dB: peak signal-to-noise ratio."""
    ssim: dict[Way, float | None]
    """Structural similarity, at most 1."""
    kernel_distance: dict[Way, float | None]
    """Kernel distance; None: too few images."""
    images: int

    def __post_init__(self) -> None:
        for measure in (self.psnr_db, self.ssim, self.kernel_distance):
            if tuple(measure) != WAYS:
                raise ValueError(f"ways to enlarge other than {WAYS}")


WAYS: tuple[Way, ...] = ("bicubic", "pixel", "adversarial")


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Content of quality.json."""

    format_version: Literal[1] = 1
    about: tuple[str, ...]
    """Sentences that a reader of the numbers needs."""
    images: ImageNumbers
    rows: tuple[QualityRow, ...]
    super_resolution: SuperResolution | None
    """Quality of super-resolution; None without an SRGAN."""


def write_quality(folder: Path, quality: Quality) -> None:
    """Write quality.json."""
    replace_text(folder / FILE, text_of(quality, indent=2))


def read_quality(folder: Path) -> Quality | None:
    """Read quality.json; None if the folder has none.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    return read_json(Quality, folder / FILE)
