"""Sections of a recipe about images: how they are split, scaled and randomly changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from thyroid.bounds import require_within
from thyroid.configuration import added
from thyroid.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """The split of patients into training, validation and test part."""

    folds: int | None = None
    """Parts of the patients that are validated in turn, each by a network that was trained on the
    others; 1: one split, by `validation`; default: 5 where every fold leaves a training patient of
    each class, else 1."""
    folds_by: Literal["patient", "centre"] = "patient"
    """`centre`: each centre is one fold, validated by a network that never saw it."""
    fold: int = 0
    """The fold that is the validation part. A run sets it: it trains a network for each."""
    validation: float = 0.2
    """Share of patients used to choose between recipes where there is one split, 0 to 0.9."""
    test: float = 0.2
    """Share of patients read once, by the final evaluation; 0 when the test set lies elsewhere."""
    seed: int = 0
    """Seed of the random split."""
    leave_out_centre: str | None = None
    """This centre is the whole test part (`test` is then ignored)."""
    images_per_class: int | None = added(None)
    """Train on patients with about so many images of each class, crosses by their primary finding:
    those of a smaller number are among those of a larger one. An epoch has as many steps as with
    all; validation and test part stay. None: all patients."""
    unseen: str | None = added(None)
    """Combination of findings such as graves+cold_nodule: its patients are neither trained on nor
    validated on, but tested on."""

    def __post_init__(self) -> None:
        require_within("split", self)
        if self.unseen is not None and len(set(self.unseen_findings)) < 2:
            raise InputError(
                f"split.unseen is '{self.unseen}' but must be two findings or more, such as "
                "graves+cold_nodule."
            )
        if self.folds is not None and self.fold >= self.folds:
            raise InputError(f"split.fold is {self.fold} but there are {self.folds} folds from 0.")
        if self.leave_out_centre is None and self.validation + self.test >= 1:
            raise InputError(
                f"split.validation {self.validation} and split.test {self.test} leave no patient "
                "to train on: lower one of them."
            )

    @property
    def unseen_findings(self) -> tuple[str, ...]:
        """Findings of the unseen combination, the primary one first; none where there is none."""
        text = self.unseen or ""
        return tuple(name.strip() for name in text.split("+") if name.strip())


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """The input of a network: size and normalisation of a scintigram."""

    size: int = 64
    """Side in pixels; divides the data set's size. Counts of a block of pixels are summed."""
    normalisation: Literal["sqrt_mean", "log_mean", "mean", "maximum"] = "sqrt_mean"
    """Scaling of counts to intensities; `maximum` destroys the uptake cue, to show that it does."""

    def __post_init__(self) -> None:
        require_within("input", self)


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Random changes of training images, drawn anew for each image and epoch."""

    rotation_deg: float = 10.0
    """Rotation in the plane, uniform in +- this."""
    shift: float = 0.06
    """Displacement along each axis, uniform in +- this share of the image side."""
    zoom: float = 0.12
    """Log-uniform magnification in [1 / (1 + zoom), 1 + zoom]."""
    anisotropy: float = 0.05
    """Log-uniform stretch of the width against the height, likewise."""
    mirror: float = 0.5
    """Probability of exchanging left and right."""
    thinning: float = 0.0
    """Probability that counts are thinned binomially (an exact shorter acquisition)."""
    thinning_floor: float = 0.3
    """The smallest share of counts kept; the share is log-uniform from here to 1."""
    windowing: float = added(0.0)
    """Probability that a picture is displayed anew, as another workstation would: its hottest parts
    clipped, its faintest ones black, and with a gamma. Counts are never windowed."""

    def __post_init__(self) -> None:
        require_within("augmentation", self)
