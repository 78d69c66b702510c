"""The configuration of each kind of stage: the fields that decide its bits, and no others.

They are part of the stage's key (`thyroid.stage`); `thyroid.pipeline` fills them from the recipe.
Imports no torch and no ray.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from thyroid.configuration import added
from thyroid.recipe import (
    DESIGNS,
    AugmentationConfig,
    DcganConfig,
    ExecutionConfig,
    FlowConfig,
    InputConfig,
    NetworkConfig,
    OptimiserConfig,
    SrganConfig,
    SynthesisConfig,
    Views,
)


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """A value that moves from `start` to `stop` over some epochs of the run."""

    first_epoch: int = 0
    epochs: int = 1
    start: float = 1.0
    stop: float = 1.0
    shape: Literal["linear", "cosine"] = "linear"
    """`linear`, or `cosine`, which is slow at both ends: (1 - cos(pi t)) / 2."""

    def at(self, epoch: float) -> float:
        """The value at a (fractional) number of epochs since the run's beginning."""
        share = min(max((epoch - self.first_epoch) / self.epochs, 0.0), 1.0)
        if self.shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + (self.stop - self.start) * share


@dataclass(frozen=True, kw_only=True)
class SyntheticShare:
    """Synthetic images in a segment's batches: their share, and the weights among them."""

    share: float
    """Share of each batch, or in the cross phase of its cross images; above 0, at most 1."""
    class_exponent: float
    cross_share: float | None
    label_filter_weight: float
    of_all: bool = added(False)
    """True: `share` is a share of all images, also in the cross phase."""


@dataclass(frozen=True, kw_only=True)
class CrossPhase:
    """Composition of batches in the cross phase, and the parameters that it trains."""

    share: Ramp
    """Share of cross images in a batch."""
    rehearsal: float
    superposed: float
    """Share of superpositions among the cross images."""
    crosses: str
    """Combinations that are superposed, as in `SynthesisConfig`; `none`: none."""
    trainable: Literal["all", "last_stages", "head"]


class OfNetwork:
    """The stage's key also has the versions of its network: of its libraries, and of its design."""

    network: NetworkConfig

    @property
    def libraries(self) -> tuple[str, ...]:
        """Libraries that decide the numbers of this network, beside those of its kind of stage."""
        return self.network.libraries

    @property
    def design(self) -> int | None:
        """Number of the network's design; None where it has always been the same."""
        return DESIGNS.get(self.network.name)


@dataclass(frozen=True, kw_only=True)
class SegmentConfig(OfNetwork):
    """Some consecutive epochs of a classifier's training."""

    input: InputConfig
    augmentation: AugmentationConfig
    network: NetworkConfig
    optimiser: OptimiserConfig
    execution: ExecutionConfig
    seed: int
    first_epoch: int
    epochs: int
    rate: Ramp
    """Factor on the optimiser's learning rate."""
    phase: Literal["mixed", "single", "cross"] = "mixed"
    """All training images, single images alone, or the cross training set."""
    cross: CrossPhase | None = None
    """None outside of the cross phase."""
    secondary: float = 0.0
    """Share of a cross image's target that goes to its other findings."""
    synthetic: SyntheticShare | None = None
    """None: real images only."""
    pretrained_rate: float = added(1.0)
    """Factor on the learning rate of the layers that came with weights; 0: they are frozen, with
    the statistics of their batch normalisation."""
    rates: Literal["equal", "graded"] = added("equal")
    """`graded`: the factor of the first eighth of these layers; it approaches 1 with depth."""
    statistics: Literal["learned", "kept"] = added("learned")
    """`kept`: the statistics of these layers' batch normalisation do not change."""


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(OfNetwork):
    """A network with its initial weights, and a logistic regression as its last layer."""

    input: InputConfig
    network: NetworkConfig
    execution: ExecutionConfig
    seed: int


@dataclass(frozen=True, kw_only=True)
class DcganSegmentConfig:
    """Some consecutive epochs of the DCGAN's training."""

    dcgan: DcganConfig
    """Its numbers of epochs are set to 1 and not read: longer trainings share shorter ones."""
    size: int
    """Side of the pictures, pixels."""
    execution: ExecutionConfig
    seed: int
    first_epoch: int
    epochs: int


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """The training of a generator of `thyroid.generators`, or some consecutive epochs of it."""

    name: str
    source: str
    """SHA-256 of its file: other code makes another artifact."""
    size: int
    """Side of the pictures, pixels."""
    execution: ExecutionConfig
    seed: int
    settings: FlowConfig | None = added(None)
    """Its section of the recipe, without the training's length and drawing; None for a generator
    that does not learn in epochs."""
    first_epoch: int = added(0)
    epochs: int = added(1)


@dataclass(frozen=True, kw_only=True)
class SrganSegmentConfig:
    """Some consecutive epochs of the SRGAN's training, of its pixel or its adversarial part."""

    srgan: SrganConfig
    """Its numbers of epochs are set to 1 and not read, as above."""
    input: InputConfig
    """Input of the label filter, and so of the enlarged pictures."""
    execution: ExecutionConfig
    seed: int
    first_epoch: int
    epochs: int
    adversarial: bool
    """True: with the perceptual and adversarial terms."""


@dataclass(frozen=True, kw_only=True)
class SynthesisStageConfig:
    """A pool of synthetic scintigrams of one seed."""

    synthesis: SynthesisConfig
    """Its number of pools is set to 1 and not read: trainings with more share those with fewer."""
    size: int
    """Side of the pictures, pixels."""
    execution: ExecutionConfig
    seed: int
    drawing: FlowConfig | None = added(None)
    """Section of a generator that learns in epochs, without the training's length."""
    pool: int = added(0)
    """Number of the pool, from 0."""


@dataclass(frozen=True, kw_only=True)
class OracleConfig:
    """The pool of freshly simulated scintigrams that stands for perfect synthesis."""

    synthesis: SynthesisConfig
    size: int
    """Side of the pictures, pixels."""
    execution: ExecutionConfig
    seed: int
    pool: int = 0
    """Number of the pool, from 0."""


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """The comparison of synthetic scintigrams with real ones."""

    input: InputConfig
    execution: ExecutionConfig
    seed: int


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """A user's weights file, kept in the store: the stage's `dataset` is its SHA-256."""


@dataclass(frozen=True, kw_only=True)
class PredictionConfig:
    """Predictions of a trained classifier for one part of the data set."""

    execution: ExecutionConfig
    part: str
    """`validation` or `test`; `all` for a separate test set."""
    views: Views
    """Views of an image whose probabilities are averaged."""


@dataclass(frozen=True, kw_only=True)
class CasesConfig:
    """The selection of images that the report shows in detail."""

    execution: ExecutionConfig
    most: int = 6
    """Maximum of confident errors, and of uncertain images."""


@dataclass(frozen=True, kw_only=True)
class DistancesConfig:
    """The distances of validation images from training images and from altered ones, in a network's
    features.
    """

    execution: ExecutionConfig
    most: int = 4000
    """Most training images; of more, a random selection is taken."""
    altered: int = 300
    """Pictures per way of altering them; at most as many as there are training images."""
