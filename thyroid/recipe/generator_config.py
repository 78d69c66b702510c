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
    """Channels before the last layer, doubled towards the 4x4 layer up to 8 times; Radford: 128."""
    normalisation: Literal["spectral", "batch"] = "spectral"
    """Normalisation of the discriminator: spectral (Miyato 2018), or batch as published."""
    loss: Literal["hinge", "non_saturating"] = "hinge"
    """Hinge (Lim & Ye 2017), or the published binary cross-entropy."""
    generator_rate: float = 5e-4
    """Adam's learning rate (beta1 0.5, as published); Radford: 2e-4."""
    discriminator_rate: float = 8e-4
    """The same; higher, as spectral normalisation slows it (Heusel 2017)."""
    augmentation: float = 1.0
    """Strength of the differentiable augmentation (Zhao 2020) of real and generated pictures."""
    ema_images: int = 20_000
    """Images over which the kept weights' moving average halves its memory; 0 keeps the last."""
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
    """Channels at a quarter of the picture's side, doubled at an eighth."""
    blocks: int = 1
    """Residual blocks at each of these sides, down and up."""
    learning_rate: float = 1e-3
    """Adam's."""
    weight_average: float = 0.999
    """Decay per step of the moving average of weights, which draws."""
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
    """Strength of the findings in drawing; 1: as learned, more: clearer and less varied."""
    sampling_steps: int = 20
    """Steps from noise to a picture; each costs two passes of the network, one at guidance 1."""

    def __post_init__(self) -> None:
        require_within("flow", self)

    @property
    def of_training(self) -> FlowConfig:
        """The same without what a segment of training does not depend on: its length, and drawing.

        So longer trainings go on from shorter ones, and other guidance draws from the same network.
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
        """The same without the length of the training."""
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
    """Adam's, in both networks; Ledig: 1e-4, for a million steps."""
    pixel_weight: float = 1.0
    """Weight of the mean squared error."""
    perceptual_weight: float = 0.1
    """Weight of the squared error of features."""
    adversarial_weight: float = 1e-3
    """Weight of the adversarial loss."""
    vgg19: str | None = None
    """SHA-256 of the VGG-19 weights whose features are compared, set by --vgg19 FILE; None: those
    of a classifier trained on the training part."""
    batch_size: int = 32
    """Images per step over all workers."""
    pixel_epochs: int = 4
    """Epochs of the pixel loss alone, which come first; 0 of both: bicubic interpolation."""
    adversarial_epochs: int = 3
    """Epochs of all three terms."""
    steps_per_epoch: int = 50
    """Steps between two checks."""
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
    """`seen`: the combinations of the training part; `none`; or a list such as
    `graves+cold_nodule,hashimoto+hot_nodule`, the primary finding first, in which `seen` stands for
    those, too."""
    rejection: float = 0.3
    """The label filter drops an image if it gives another label at least this probability (0.3:
    nearly whenever it disagrees); 1: no filter."""
    pools: int = added(1)
    """Pools of that many images. The segments of a training draw from one after the other, then
    from the first again; as many as segments: no synthetic image is seen in two of them."""

    def __post_init__(self) -> None:
        require_within("synthesis", self)


@dataclass(frozen=True, kw_only=True)
class MixingConfig:
    """Shares of synthetic scintigrams in a classifier's training. An epoch has as many steps as
    without them, so that the compute is the same.

    Mixing is one share throughout; pre-training on synthetic images and fine-tuning on real ones
    is `synthetic_share` 1 and `final_share` 0. Where the order is not `mixed`, the single phase
    takes of these shares what is not `cross_share`; the cross phase has `cross.synthetic`.
    """

    synthetic_share: float = 0.0
    """Share of synthetic images per batch until the learning rate decays; 0.5 is one per real."""
    final_share: float = 0.0
    """The same while the learning rate decays."""
    class_exponent: float = 1.0
    """Synthetic images of a class are drawn in proportion to its real ones to this power: 1 keeps
    the proportions, 0 makes classes equal, below 0 favours rare ones."""
    cross_share: float | None = None
    """Share of cross images among the synthetic ones; None: as among the real ones."""

    label_filter_weight: float = 0.0
    """Weight of the label filter's probabilities in a synthetic image's target; label: the rest."""
    dose: float | None = added(None)
    """Share of synthetic images among all images that training draws, in every batch of every
    phase: real images of one finding make way for synthetic ones of one, and crosses for crosses.
    It takes the place of the shares above and of `cross.synthetic`; None: they hold."""

    def __post_init__(self) -> None:
        require_within("mixing", self)
