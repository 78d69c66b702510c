"""Sections of a recipe about training: network, optimiser, schedule, cross-training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from thyroid.bounds import require_within
from thyroid.configuration import added
from thyroid.errors import InputError

Precision = Literal["fp32", "bf16"]
Layout = Literal["channels_last", "contiguous"]
Views = Literal["one", "shifts", "mirrored_shifts"]

DESIGNS: Mapping[str, int] = MappingProxyType(
    dict.fromkeys(
        (
            *("alexnet_small", "vgg_small", "googlenet_small"),
            *("densenet_small", "efficientnet_small", "convnext_small"),
        ),
        2,
    )
)
"""Version of a network's design, for networks whose design has changed; part of their stages' keys.
"""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A network of the registry, and its options."""

    name: str = "resnet_small"
    """Name of a network of `thyroid.networks`, or timm:NAME for one of the package timm."""
    width: int | None = None
    """Channels of the first stage; None: the network's own default."""
    cross_feature: Literal["none", "input", "stem", "context"] = "none"
    """Source of x_i in H(x) = F(x) + x + x_i: the image, the stem's output, or the mean over all
    pixels of the block's shortcut. x_i is active from the first cross images on."""
    weights: str | None = None
    """SHA-256 of the weights that training starts from, set by --weights; None: random."""
    input_mean: float = added(0.0)
    """Mean that is subtracted from the input before the first layer. --weights sets it, because
    networks trained on photographs expect standardised grey values."""
    input_std: float = added(1.0)
    """Standard deviation by which the input is then divided; --weights sets it, too."""
    precision: Literal["auto", Precision] = "auto"
    """`auto`: the faster of bf16 and fp32 on this machine's processor, by the table in
    precision.py. An execution.precision that differs from this machine's default takes
    precedence."""
    layout: Literal["auto", Layout] = "auto"
    """Memory layout of the images; `auto`: channels_last."""
    compile: Literal["off", "on"] = "off"
    """Train with torch.compile, on a GPU with CUDA graphs. It is for small networks, in which each
    kernel ends before the next one is launched. On a CPU, compiling takes longer than it saves."""

    def __post_init__(self) -> None:
        require_within("network", self)

    @property
    def libraries(self) -> tuple[str, ...]:
        """Libraries that change this network's numbers, in addition to those of every network."""
        return ("timm",) if self.name.startswith("timm:") else ()


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """AdamW (Loshchilov & Hutter 2019) and the loss it minimises."""

    learning_rate: float = 2e-3
    """Rate of the constant part of the schedule."""
    weight_decay: float = 0.05
    """Decoupled weight decay, for the weights of convolutions and linear layers only."""
    batch_size: int = 32
    """Images per step over all workers."""
    label_smoothing: float = 0.1
    """Label smoothing: share of the target that is spread over all classes."""
    weight_average: float = 0.99
    """Decay per step of the moving average of the weights, which is used for predictions; 0:
    none."""

    def __post_init__(self) -> None:
        require_within("optimiser", self)


@dataclass(frozen=True, kw_only=True)
class FineTuningConfig:
    """Training of the layers whose weights were given: all layers but the last one and x_i.

    It has no effect without given weights.
    """

    rate: float = 1.0
    """Factor on the learning rate of these layers; 0: their weights do not change."""
    rates: Literal["equal", "graded"] = added("equal")
    """`graded`: `rate` is the factor of the first eighth of the parameter tensors of these layers;
    the others have factors that rise from it to 1, the factor of the last layer, by the same ratio
    each time. No effect with a rate of 0 or 1."""
    frozen_epochs: int = 0
    """Epochs at the start in which these layers do not change, including the statistics of their
    batch normalisation, while the last layer learns."""
    statistics: Literal["learned", "kept"] = added("learned")
    """`kept`: the means and variances of their batch normalisation stay as given while the weights
    learn, as with few images a batch may be too small to estimate them."""

    def __post_init__(self) -> None:
        require_within("fine_tuning", self)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Warm-up, then a constant learning rate, then a linear decay to zero.

    The epochs before the decay do not depend on when the decay starts, so trainings of different
    length share them.
    """

    warmup_epochs: int = 2
    """Epochs in which the learning rate rises linearly from 0."""
    constant_epochs: int = 60
    """Epochs in which the learning rate is constant."""
    decay_epochs: int = 24
    """Epochs in which the learning rate falls linearly to 0."""
    segment_epochs: int = 6
    """A part of at most this many epochs is one stored, shareable artifact."""

    def __post_init__(self) -> None:
        require_within("schedule", self)

    @property
    def epochs(self) -> int:
        """Length of the whole training in epochs."""
        return self.warmup_epochs + self.constant_epochs + self.decay_epochs


@dataclass(frozen=True, kw_only=True)
class CrossConfig:
    """Cross-training: when and how training uses cross images, which show more than one disease.

    Epochs of all phases have the same number of steps, so orders are compared at equal compute.
    """

    order: Literal["mixed", "retrain", "never"] = "mixed"
    """`mixed`: all training images from the start. `retrain`: single images first, then the cross
    training set, as published. `never`: single images only."""
    epochs: int = 24
    """Length of the cross phase, which is the end of the schedule, if `order` is `retrain`."""
    share: float = 0.5
    """Share of cross images in a batch of the cross phase; the rest are single ones."""
    ramp: Literal["constant", "linear", "cosine"] = "constant"
    """`constant`: `share` from the start; otherwise the share rises from 0 over `ramp_epochs`."""
    ramp_epochs: int = 12
    """Length of the ramp, which begins with the cross phase."""
    rehearsal: float = 1.0
    """Share of the single images that the cross phase still draws from; 0: cross images alone."""
    rate: float = 1.0
    """Factor on the learning rate in the cross phase."""
    trainable: Literal["all", "last_stages", "head"] = "all"
    """Parameters that the cross phase trains. `last_stages`: the last two stages, the head and x_i.
    `head`: the head and x_i."""
    synthetic: float = 0.0
    """Share of synthetic images among the cross images."""
    superposed: float = 0.0
    """Share of superpositions among the cross images; a superposition holds the photons of two
    single images."""
    secondary: float = 0.0
    """Share of a cross image's target that its other findings get; the primary finding gets the
    rest."""

    def __post_init__(self) -> None:
        require_within("cross", self)
        if self.synthetic + self.superposed > 1:
            raise InputError(
                f"cross.synthetic {self.synthetic} and cross.superposed {self.superposed} are "
                "shares of the cross images: together they must not exceed 1."
            )


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """Resources and precision of a stage. They are part of its key, because they change the last
    bits of its numbers.
    """

    workers: int = 1
    """Processes that train one network together; each batch is divided among them."""
    threads: int = 1
    """CPU threads per worker."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""
    precision: Literal["auto", Precision] = "auto"
    """`auto`: bf16 autocast where the processor has instructions for it."""
    layout: Layout = "channels_last"
    """Memory layout in generators and label filter; `network.layout` sets the classifier's."""

    def __post_init__(self) -> None:
        require_within("execution", self)
