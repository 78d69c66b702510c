"""Sections of a recipe about synthetic images: generators, label filter, mixing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from thyroid.bounds import require_within
from thyroid.configuration import added
from thyroid.errors import InputError


@dataclass(frozen=True, kw_only=True)
class DcganConfig:
    """The generator of scintigrams: DCGAN (Radford 2015) conditional on the findings.

    Its pictures are `input.size / srgan.scale` pixels wide.
    """

    latent: int = 100
    """Random numbers per picture."""
    width: int = 32
    """Channels before the last layer; layers towards the 4x4 layer have up to 8 times as many.
    Radford: 128."""
    normalisation: Literal["spectral", "batch"] = "spectral"
    """Normalisation of the discriminator: spectral (Miyato 2018), or batch as published."""
    loss: Literal["hinge", "non_saturating"] = "hinge"
    """Hinge (Lim & Ye 2017), or the published binary cross-entropy."""
    generator_rate: float = 5e-4
    """Adam's learning rate (beta1 0.5, as published); Radford: 2e-4."""
    discriminator_rate: float = 8e-4
    """Adam's learning rate; higher, because spectral normalisation slows learning (Heusel 2017)."""
    augmentation: float = 1.0
    """Strength of the differentiable augmentation (Zhao 2020) of real and generated pictures."""
    ema_images: int = 20_000
    """Half-life, in images, of the moving average of the weights; the averaged weights are kept.
    0: the last weights are kept."""
    batch_size: int = 64
    """Images per step over all workers."""
    epochs: int = 36
    """Length of the training; an epoch is `steps_per_epoch` steps, however small the data."""
    steps_per_epoch: int = 100
    """Steps of both networks per epoch; each epoch ends with a sample sheet."""
    segment_epochs: int = 9
    """A part of at most this many epochs is one stored artifact."""

    def __post_init__(self) -> None:
        require_within("dcgan", self)


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Flow matching (Lipman 2023), the generator `flow`; pictures as wide as the DCGAN's."""

    width: int = 64
    """Channels at a quarter of the resolution; there are twice as many at an eighth."""
    blocks: int = 1
    """Residual blocks at each of these resolutions, in the downward and in the upward path."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""
    weight_average: float = 0.999
    """Decay per step of the moving average of the weights; the averaged weights draw the
    pictures."""
    unlabelled: float = 0.1
    """Share of training images whose findings are hidden, for guidance (Ho & Salimans 2021)."""
    batch_size: int = 16
    """Images per step."""
    epochs: int = 12
    """Length of the training; an epoch is `steps_per_epoch` steps, however small the data."""
    steps_per_epoch: int = 200
    """Steps per epoch."""
    segment_epochs: int = 6
    """A part of at most this many epochs is one stored artifact."""
    guidance: float = 3.0
    """How strongly drawing follows the findings; 1: as learned; above 1: clearer but less
    varied."""
    sampling_steps: int = 20
    """Steps from noise to a picture. Each takes two passes through the network, or one if guidance
    is 1."""

    def __post_init__(self) -> None:
        require_within("flow", self)

    @property
    def of_training(self) -> FlowConfig:
        """The settings that a segment of training depends on; the others have fixed values.

        A longer training therefore continues a shorter one, and drawing with another guidance uses
        the same network.
        """
        usual = FlowConfig()
        return replace(
            self,
            epochs=1,
            segment_epochs=1,
            guidance=usual.guidance,
            sampling_steps=usual.sampling_steps,
        )

    @property
    def of_drawing(self) -> FlowConfig:
        """The settings with fixed values for the length of the training."""
        return replace(self, epochs=1, segment_epochs=1)


@dataclass(frozen=True, kw_only=True)
class SrganConfig:
    """Super-resolution of the generator's pictures: SRGAN (Ledig 2017)."""

    scale: Literal[1, 2, 4] = 2
    """Factor of enlargement; 1: no super-resolution."""
    width: int = 32
    """Channels of the residual blocks; Ledig: 64."""
    blocks: int = 4
    """Residual blocks; Ledig: 16."""
    learning_rate: float = 1e-3
    """Adam's learning rate in both networks; Ledig: 1e-4, for a million steps."""
    pixel_weight: float = 1.0
    """Weight of the mean squared error."""
    perceptual_weight: float = 0.1
    """Weight of the perceptual loss, the squared error of features."""
    adversarial_weight: float = 1e-3
    """Weight of the adversarial loss."""
    vgg19: str | None = None
    """SHA-256 of the VGG-19 weights whose features are compared, set by --vgg19 FILE. None:
    features of a classifier trained on the training part."""
    batch_size: int = 32
    """Images per step over all workers."""
    pixel_epochs: int = 4
    """Epochs with the pixel loss alone, at the start. If this and `adversarial_epochs` are 0,
    pictures are enlarged by bicubic interpolation."""
    adversarial_epochs: int = 3
    """Epochs with all three terms of the loss."""
    steps_per_epoch: int = 50
    """Steps per epoch; the network is checked after each epoch."""
    segment_epochs: int = 8
    """A part of at most this many epochs is one stored artifact."""

    def __post_init__(self) -> None:
        require_within("srgan", self)
        if self.adversarial_epochs and not self.pixel_epochs:
            raise InputError(
                "srgan.adversarial_epochs needs a network to start from: set srgan.pixel_epochs."
            )


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """The synthetic scintigrams that training may draw from."""

    images_per_class: int = 240
    """Images of each single class, before the filter."""
    images_per_cross: int = 240
    """Images of each combination of findings, before the filter."""
    crosses: str = "seen"
    """Combinations of findings to synthesise: `seen` (those of the training part), `none`, or a
    list such as `graves+cold_nodule,hashimoto+hot_nodule`, each with its primary finding first. The
    list may also contain `seen`."""
    rejection: float = 0.3
    """The label filter drops an image if the filter gives another label at least this probability
    (0.3: nearly always if the filter disagrees with the label); 1: no filter."""
    pools: int = added(1)
    """Number of pools, each with the images above. Each segment of a training draws from the next
    pool, and after the last pool from the first again. With as many pools as segments, no synthetic
    image is used in two segments."""

    def __post_init__(self) -> None:
        require_within("synthesis", self)


@dataclass(frozen=True, kw_only=True)
class MixingConfig:
    """Shares of synthetic scintigrams in a classifier's training. An epoch has as many steps as
    without synthetic images, so the compute is the same.

    For mixing at one share throughout, give both shares the same value. For pre-training on
    synthetic images and fine-tuning on real ones, set `synthetic_share` to 1 and `final_share` to
    0. If `cross.order` is not `mixed`, the single phase uses these shares without the share of
    cross images in them (`cross_share`), and the cross phase uses `cross.synthetic`.
    """

    synthetic_share: float = 0.0
    """Share of synthetic images per batch until the learning rate decays; 0.5: one per real
    image."""
    final_share: float = 0.0
    """The same while the learning rate decays."""
    class_exponent: float = 1.0
    """A class's share of the synthetic images is proportional to its number of real images raised
    to this power: 1 keeps the proportions, 0 makes classes equal, below 0 favours rare classes."""
    cross_share: float | None = None
    """Share of cross images among the synthetic ones; None: as among the real ones."""

    label_filter_weight: float = 0.0
    """Weight of the label filter's probabilities in a synthetic image's target; the label gets the
    rest."""
    dose: float | None = added(None)
    """Share of synthetic images among all images that training draws, in every batch of every
    phase. Synthetic images of one finding replace real ones of one finding, and synthetic crosses
    replace real crosses. It overrides the shares above and `cross.synthetic`; None: those apply."""

    def __post_init__(self) -> None:
        require_within("mixing", self)
