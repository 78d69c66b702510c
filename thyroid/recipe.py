"""The recipe: everything that decides a result, as data. Imports nothing heavy, so that trial
drivers and `--help` stay light.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from thyroid.configuration import from_json, require_within, to_json
from thyroid.errors import InputError

Precision = Literal["fp32", "bf16"]
Layout = Literal["channels_last", "contiguous"]


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How patients are dealt to training, validation and test."""

    validation: float = 0.2
    """Share of patients used to choose between recipes, 0 to 0.9."""
    test: float = 0.2
    """Share of patients read once, by the final evaluation; 0 when the test set lies elsewhere."""
    seed: int = 0
    """Which split of the many possible ones."""
    leave_out_centre: str | None = None
    """This centre is the whole test part (`test` is then ignored)."""

    def __post_init__(self) -> None:
        require_within("split", self, validation=(0.01, 0.9), test=(0, 0.9))
        if self.leave_out_centre is None and self.validation + self.test >= 1:
            raise InputError(
                f"split.validation {self.validation} and split.test {self.test} leave no patient "
                "to train on: lower one of them."
            )


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """What a network sees of a scintigram."""

    size: int = 64
    """Side in pixels; divides the data set's size. Counts of a block of pixels are summed."""
    normalisation: Literal["sqrt_mean", "log_mean", "mean", "maximum"] = "sqrt_mean"
    """How counts become intensities; `maximum` destroys the uptake cue and is there to show it."""

    def __post_init__(self) -> None:
        require_within("input", self, size=(16, 4096))


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

    def __post_init__(self) -> None:
        require_within(
            "augmentation",
            self,
            rotation_deg=(0, 180),
            shift=(0, 1),
            zoom=(0, 4),
            anisotropy=(0, 4),
            mirror=(0, 1),
            thinning=(0, 1),
            thinning_floor=(0.001, 1),
        )


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which network of the registry."""

    name: str = "resnet_small"
    """A name that `thyroid.networks` registers."""
    width: int | None = None
    """Channels of the first stage; None: the network's own default."""
    cross_feature: Literal["none", "input", "stem", "context"] = "none"
    """Source of x_i in H(x) = F(x) + x + x_i: the image, the stem's output, or the mean over all
    pixels of what the block's shortcut carries; from the first cross images on."""
    weights: str | None = None
    """SHA-256 of the weights that training starts from, set by --weights FILE; None: random."""
    precision: Literal["auto", Precision] = "auto"
    """`auto`: what is fastest on this machine's processor, measured; or execution.precision where
    that is another than its own choice."""
    layout: Literal["auto", Layout] = "auto"
    """Of its pictures in memory; `auto`: what is fastest on this machine's processor, measured."""
    compile: Literal["off", "on"] = "off"
    """Training through torch.compile, on a GPU with CUDA graphs, for small networks whose kernels
    are done before the next is launched; on a processor it takes longer than it saves."""

    def __post_init__(self) -> None:
        if self.width is not None:
            require_within("network", self, width=(1, 4096))


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """AdamW (Loshchilov & Hutter 2019) and the loss it minimises."""

    learning_rate: float = 2e-3
    """Rate of the constant part of the schedule."""
    weight_decay: float = 0.05
    """Decoupled; weights of convolutions and linear layers only."""
    batch_size: int = 32
    """Images per step over all workers."""
    label_smoothing: float = 0.1
    """Share of the target spread over all classes."""

    def __post_init__(self) -> None:
        require_within(
            "optimiser",
            self,
            learning_rate=(1e-8, 10),
            weight_decay=(0, 10),
            batch_size=(2, 65536),
            label_smoothing=(0, 0.99),
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Warm-up, then a constant learning rate, then a linear decay to zero.

    Nothing before the decay depends on when it starts, so runs of different length share
    their beginning.
    """

    warmup_epochs: int = 2
    """The rate rises linearly from 0."""
    constant_epochs: int = 60
    """The rate stays."""
    decay_epochs: int = 24
    """The rate falls linearly to 0."""
    segment_epochs: int = 6
    """A part of at most this many epochs is one stored, shareable artifact."""

    def __post_init__(self) -> None:
        most = 1_000_000
        require_within(
            "schedule",
            self,
            warmup_epochs=(0, most),
            constant_epochs=(0, most),
            decay_epochs=(0, most),
            segment_epochs=(1, most),
            epochs=(1, most),
        )

    @property
    def epochs(self) -> int:
        """Length of the whole run in epochs."""
        return self.warmup_epochs + self.constant_epochs + self.decay_epochs


@dataclass(frozen=True, kw_only=True)
class CrossConfig:
    """Cross-training: when cross images, which show more than one disease, are trained on.

    An epoch has as many steps in every phase, so that orders compare at equal compute.
    """

    order: Literal["mixed", "retrain", "never"] = "mixed"
    """All training images from the start; single images first, then the cross training set, as
    published; or single images alone."""
    epochs: int = 24
    """The last so many epochs are the cross phase, where the order is `retrain`."""
    share: float = 0.5
    """Of cross images in a batch of the cross phase; the rest are single ones."""
    ramp: Literal["constant", "linear", "cosine"] = "constant"
    """How that share is reached: at once, or from 0 over `ramp_epochs`."""
    ramp_epochs: int = 12
    """Length of the ramp, from the phase's beginning."""
    rehearsal: float = 1.0
    """Share of the single images that the cross phase still draws from; 0: cross images alone."""
    rate: float = 1.0
    """Factor on the learning rate in the cross phase."""
    trainable: Literal["all", "last_stages", "head"] = "all"
    """What the cross phase changes: everything; the last two stages, head and x_i; or head and
    x_i."""
    synthetic: float = 0.0
    """Share of the generator's among the cross images."""
    superposed: float = 0.0
    """Share of superpositions among the cross images: photons of two single images in one."""
    secondary: float = 0.0
    """Share of a cross image's target that goes to its other findings; the rest is the primary."""

    def __post_init__(self) -> None:
        require_within(
            "cross",
            self,
            epochs=(1, 1_000_000),
            share=(0.01, 1),
            ramp_epochs=(1, 1_000_000),
            rehearsal=(0, 1),
            rate=(1e-6, 100),
            synthetic=(0, 1),
            superposed=(0, 1),
            secondary=(0, 0.5),
        )
        if self.synthetic + self.superposed > 1:
            raise InputError(
                f"cross.synthetic {self.synthetic} and cross.superposed {self.superposed} are "
                "shares of the cross images: together they must not exceed 1."
            )


@dataclass(frozen=True, kw_only=True)
class MixingConfig:
    """How synthetic scintigrams enter a classifier's training; an epoch has as many steps as
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
    """Weight of the judge's probabilities in a synthetic image's target; the rest is its label."""

    def __post_init__(self) -> None:
        require_within(
            "mixing",
            self,
            synthetic_share=(0, 1),
            final_share=(0, 1),
            class_exponent=(-2, 2),
            label_filter_weight=(0, 1),
        )
        if self.cross_share is not None:
            require_within("mixing", self, cross_share=(0, 1))


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
    """Of the discriminator: spectral (Miyato 2018), or batch as published."""
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
    """Steps of both networks between two sample sheets."""
    segment_epochs: int = 9
    """A part of at most this many epochs is one stored artifact."""

    def __post_init__(self) -> None:
        most = 1_000_000
        require_within(
            "dcgan",
            self,
            latent=(1, 4096),
            width=(1, 4096),
            generator_rate=(1e-8, 1),
            discriminator_rate=(1e-8, 1),
            augmentation=(0, 4),
            ema_images=(0, 1e9),
            batch_size=(2, 65536),
            epochs=(1, most),
            steps_per_epoch=(1, most),
            segment_epochs=(1, most),
        )


@dataclass(frozen=True, kw_only=True)
class SrganConfig:
    """Super-resolution of the generator's pictures: SRGAN (Ledig 2017)."""

    scale: Literal[1, 2, 4] = 2
    """Factor by which it enlarges; 1: no super-resolution."""
    width: int = 32
    """Channels of the residual blocks; Ledig: 64."""
    blocks: int = 4
    """Residual blocks; Ledig: 16."""
    learning_rate: float = 1e-3
    """Adam's, in both networks; Ledig: 1e-4, for a million steps."""
    pixel_weight: float = 1.0
    """Of the mean squared error."""
    perceptual_weight: float = 0.1
    """Of the squared error of features."""
    adversarial_weight: float = 1e-3
    """Of the discriminator's verdict."""
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
        most = 1_000_000
        require_within(
            "srgan",
            self,
            width=(1, 4096),
            blocks=(1, 256),
            learning_rate=(1e-8, 1),
            pixel_weight=(0, 1e6),
            perceptual_weight=(0, 1e6),
            adversarial_weight=(0, 1e6),
            batch_size=(2, 65536),
            pixel_epochs=(0, most),
            adversarial_epochs=(0, most),
            steps_per_epoch=(1, most),
            segment_epochs=(1, most),
        )
        if self.adversarial_epochs and not self.pixel_epochs:
            raise InputError(
                "srgan.adversarial_epochs needs a network to start from: set srgan.pixel_epochs."
            )


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """The synthetic scintigrams that training may draw from."""

    images_per_class: int = 240
    """Of each class alone, before the filter."""
    images_per_cross: int = 240
    """Of each combination of findings, before the filter."""
    crosses: str = "seen"
    """`seen`: the combinations of the training part; `none`; or a list such as
    `graves+cold_nodule,hashimoto+hot_nodule`, the primary finding first."""
    rejection: float = 0.3
    """An image goes where the judge gives another label at least this probability (0.3: nearly
    whenever it disagrees); 1: no filter."""

    def __post_init__(self) -> None:
        most = 10_000_000
        require_within(
            "synthesis",
            self,
            images_per_class=(0, most),
            images_per_cross=(0, most),
            rejection=(0.01, 1),
        )


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """What a stage runs on; part of its key, since it changes the last bits."""

    workers: int = 1
    """Processes that train together; the batch is divided among them."""
    threads: int = 1
    """CPU threads per worker."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""
    precision: Literal["auto", Precision] = "auto"
    """`auto`: bf16 autocast where the processor has instructions for it."""
    layout: Layout = "channels_last"
    """Of the generators' and the judge's pictures in memory; the classifier's is in `network`."""

    def __post_init__(self) -> None:
        require_within("execution", self, workers=(1, 65536), threads=(1, 1024))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides a result but the data and the seed."""

    split: SplitConfig = field(default_factory=SplitConfig)
    input: InputConfig = field(default_factory=InputConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    cross: CrossConfig = field(default_factory=CrossConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    generator: str = "dcgan"
    """Of scintigrams: the DCGAN, or a file of thyroid/generators by its name."""
    dcgan: DcganConfig = field(default_factory=DcganConfig)
    srgan: SrganConfig = field(default_factory=SrganConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    label_filter: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Training of the judge, a small network on real training images alone: it filters synthetic
    ones, and its features are those that super-resolution and quality compare."""
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)

    @property
    def synthetic(self) -> bool:
        """Whether any image of a generator is trained on."""
        mixed = self.mixing.synthetic_share > 0 or self.mixing.final_share > 0
        if self.cross.order != "mixed" and self.mixing.cross_share == 1:
            mixed = False  # the single phase takes single ones, of which there are none
        return mixed or (self.cross.order == "retrain" and self.cross.synthetic > 0)


def small() -> Recipe:
    """A small residual network on 64-pixel images, a fifth of each batch synthetic crosses until
    the learning rate decays.

    On `thyroid7` (60 training images per class, 20 per cross, other centres, five seeds) the
    synthetic images changed macro-F1 of an earlier network, with strides, by +0.005 [-0.028,
    +0.038]: no difference could be shown, nor for any other recipe that was tried
    (tests/benchmarks/RESULTS.md).
    """
    crosses = MixingConfig(synthetic_share=0.2, cross_share=1.0)
    return Recipe(mixing=crosses)


def resnet18() -> Recipe:
    """The plain ResNet-18 on 128-pixel images: for a GPU, or for patience."""
    return Recipe(
        input=InputConfig(size=128),
        network=NetworkConfig(name="resnet18"),
        optimiser=OptimiserConfig(learning_rate=1e-3, batch_size=64),
    )


def paper() -> Recipe:
    """The protocol of Wang & Zhang 2020: DCGAN and SRGAN enlarge the training set, the improved
    ResNet is trained on single-feature images and then retrained on a cross training set, 100
    epochs in all.

    The abstract says no more. Decided here: a ResNet-10 on 64-pixel images, which two processors
    train in minutes (`--network.name resnet18` for a GPU); x_i from the image; 70 epochs of single
    images, all real; 30 epochs, while the learning rate decays, of batches with three cross images
    in ten, half of them synthetic: crosses are what is scarcest. (Half of each batch seemed
    to be too many, and of synthetic single images no gain could be shown:
    tests/benchmarks/RESULTS.md.) Data without crosses have no cross phase and no synthetic images.
    """
    return Recipe(
        network=NetworkConfig(cross_feature="input"),
        schedule=ScheduleConfig(warmup_epochs=2, constant_epochs=68, decay_epochs=30),
        cross=CrossConfig(order="retrain", epochs=30, share=0.3, synthetic=0.5),
        mixing=MixingConfig(synthetic_share=0.2, cross_share=1.0),  # for `--cross.order mixed`
        label_filter=ScheduleConfig(warmup_epochs=2, constant_epochs=24, decay_epochs=12),
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "small": small,
    "resnet18": resnet18,
    "paper": paper,
}
"""The presets by name."""


def for_data(recipe: Recipe, kind: Literal["counts", "display"], *, crosses: bool) -> Recipe:
    """The recipe without what such data do not allow.

    Pictures hold no counts to thin, or to superpose. Where no image is a cross and none is asked
    for, no synthetic ones can be drawn: what was to be their share is real again; and there is
    nothing to retrain on.
    """
    changes: dict[str, Any] = {}
    if kind == "display":
        changes |= {"augmentation.thinning": 0.0, "cross.superposed": 0.0}
    if not crosses and recipe.synthesis.crosses in ("seen", "none"):
        changes["cross.order"] = "mixed"
        if recipe.mixing.cross_share:
            changes["mixing.cross_share"] = None
            if recipe.mixing.cross_share == 1:
                changes |= {"mixing.synthetic_share": 0.0, "mixing.final_share": 0.0}
    return override(recipe, changes)


def read_recipe(path: Path) -> Recipe:
    """A recipe from a JSON file such as RUN/recipe.json.

    Raises
    ------
    InputError
        When the file is missing or holds something else.
    """
    try:
        return from_json(Recipe, json.loads(path.read_text()))
    except OSError as missing:
        raise InputError(f"Cannot read recipe {path}: {missing.strerror}.") from None
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"{path} is no recipe: see the recipe.json of any run.") from None


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with dotted fields replaced: `override(recipe, {"input.size": 32})`.

    Raises
    ------
    InputError
        When a field does not exist or a value is not of its type or range.
    """
    plain = to_json(recipe)
    for dotted, value in changes.items():
        *parents, leaf = dotted.split(".")
        place = plain
        for parent in parents:
            place = place.get(parent, {}) if isinstance(place, dict) else {}
        if not isinstance(place, dict) or leaf not in place:
            raise InputError(f"The recipe has no field '{dotted}': see `thyroid train --help`.")
        place[leaf] = value
    return from_json(Recipe, plain)
