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
    """Number of cross-validation folds. Each fold is validated by a network that was trained on the
    other folds. 1: a single split, by `validation`. Default: 5 if every fold then leaves a training
    patient of each class, else 1."""
    folds_by: Literal["patient", "centre"] = "patient"
    """`centre`: each centre is one fold, and its network never saw that centre."""
    fold: int = 0
    """Index of the validation fold. A run sets it, because it trains one network per fold."""
    validation: float = 0.2
    """Share of patients in the validation part of a single split, 0 to 0.9; recipes are compared on
    this part."""
    test: float = 0.2
    """Share of patients in the test part, which only the final evaluation reads; 0 with a separate
    test set."""
    seed: int = 0
    """Seed of the random split."""
    leave_out_centre: str | None = None
    """Centre whose patients form the test part; `test` is then ignored."""
    images_per_class: int | None = added(None)
    """Train on a subset of the patients, with about this many images of each class (a cross image
    counts for its primary finding). Smaller subsets lie within larger ones. The steps per epoch and
    the validation and test parts do not change. None: all patients."""
    unseen: str | None = added(None)
    """Combination of findings, such as graves+cold_nodule, whose patients are not used for training
    or validation; those in the test part are tested."""

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
        """Findings of the unseen combination, the primary one first; empty if `unseen` is None."""
        text = self.unseen or ""
        return tuple(name.strip() for name in text.split("+") if name.strip())


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """The input of a network: size and normalisation of a scintigram."""

    size: int = 64
    """Side in pixels; it must divide the side of the data set's images. Blocks of pixels are
    summed."""
    normalisation: Literal["sqrt_mean", "log_mean", "mean", "maximum"] = "sqrt_mean"
    """Scaling of counts to intensities. `maximum` removes the information on uptake; use it to
    measure how much that information helps."""

    def __post_init__(self) -> None:
        require_within("input", self)


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Random changes of training images, drawn anew for each image and epoch."""

    rotation_deg: float = 10.0
    """Rotation in the plane, uniform between minus and plus this many degrees."""
    shift: float = 0.06
    """Shift along each axis, uniform between minus and plus this share of the image side."""
    zoom: float = 0.12
    """Log-uniform magnification in [1 / (1 + zoom), 1 + zoom]."""
    anisotropy: float = 0.05
    """Log-uniform stretch of the width relative to the height, in [1 / (1 + this), 1 + this]."""
    mirror: float = 0.5
    """Probability of mirroring left and right."""
    thinning: float = 0.0
    """Probability that counts are thinned binomially, which simulates a shorter acquisition
    exactly."""
    thinning_floor: float = 0.3
    """Smallest share of counts that is kept; the share is log-uniform between this and 1."""
    windowing: float = added(0.0)
    """Probability that a picture's grey levels are changed as if another workstation displayed it:
    the hottest parts are clipped, the faintest parts are black, and a gamma is applied. Counts are
    never windowed."""

    def __post_init__(self) -> None:
        require_within("augmentation", self)
