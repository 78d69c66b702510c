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
"""Which design a network of this name has, where it once had another; part of its stages' keys."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A network of the registry, and its options."""

    name: str = "resnet_small"
    """A name that `thyroid.networks` registers, or timm:NAME of the package timm."""
    width: int | None = None
    """Channels of the first stage; None: the network's own default."""
    cross_feature: Literal["none", "input", "stem", "context"] = "none"
    """Source of x_i in H(x) = F(x) + x + x_i: the image, the stem's output, or the mean over all
    pixels of the block's shortcut. x_i is active from the first cross images on."""
    weights: str | None = None
    """SHA-256 of the weights that training starts from, set by --weights; None: random."""
    input_mean: float = added(0.0)
    """Subtracted from the input before the first layer; set by --weights, as networks of
    photographs expect standardised grey values."""
    input_std: float = added(1.0)
    """Divides the input after that; likewise."""
    precision: Literal["auto", Precision] = "auto"
    """`auto`: the faster on this machine's processor, by precision.py's table; an
    execution.precision that is not the machine's own choice wins."""
    layout: Literal["auto", Layout] = "auto"
    """Memory layout of its pictures; `auto`: channels_last."""
    compile: Literal["off", "on"] = "off"
    """Training through torch.compile, on a GPU with CUDA graphs, for small networks whose kernels
    are done before the next is launched; on a processor it takes longer than it saves."""

    def __post_init__(self) -> None:
        require_within("network", self)

    @property
    def libraries(self) -> tuple[str, ...]:
        """Libraries that decide its numbers, beside those of every network."""
        return ("timm",) if self.name.startswith("timm:") else ()


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
    weight_average: float = 0.99
    """Decay per step of the moving average of weights, which predicts in their place; 0: none."""

    def __post_init__(self) -> None:
        require_within("optimiser", self)


@dataclass(frozen=True, kw_only=True)
class FineTuningConfig:
    """How the layers that came with weights are trained: all but the last one and x_i.

    Without weights to start from it says nothing.
    """

    rate: float = 1.0
    """Factor on their learning rate; 0: they stay as they came."""
    frozen_epochs: int = 0
    """Epochs from the first in which they stay as they came, the statistics of their batch
    normalisation included, while the last layer learns."""

    def __post_init__(self) -> None:
        require_within("fine_tuning", self)


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
        require_within("schedule", self)

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
    """Length of the cross phase, the last epochs of the schedule, if the order is `retrain`."""
    share: float = 0.5
    """Share of cross images in a batch of the cross phase; the rest are single ones."""
    ramp: Literal["constant", "linear", "cosine"] = "constant"
    """`constant`: this share from the start; otherwise it rises from 0 over `ramp_epochs`."""
    ramp_epochs: int = 12
    """Length of the ramp, from the phase's beginning."""
    rehearsal: float = 1.0
    """Share of the single images that the cross phase still draws from; 0: cross images alone."""
    rate: float = 1.0
    """Factor on the learning rate in the cross phase."""
    trainable: Literal["all", "last_stages", "head"] = "all"
    """Parameters that the cross phase trains: all; the last two stages, head and x_i; or head and
    x_i."""
    synthetic: float = 0.0
    """Share of synthetic images among the cross images."""
    superposed: float = 0.0
    """Share of superpositions among the cross images: photons of two single images in one."""
    secondary: float = 0.0
    """Share of a cross image's target that goes to its other findings; the rest is the primary."""

    def __post_init__(self) -> None:
        require_within("cross", self)
        if self.synthetic + self.superposed > 1:
            raise InputError(
                f"cross.synthetic {self.synthetic} and cross.superposed {self.superposed} are "
                "shares of the cross images: together they must not exceed 1."
            )


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """Resources and precision of a stage; part of its key, since they change the last bits."""

    workers: int = 1
    """Processes that train together; the batch is divided among them."""
    threads: int = 1
    """CPU threads per worker."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""
    precision: Literal["auto", Precision] = "auto"
    """`auto`: bf16 autocast where the processor has instructions for it."""
    layout: Layout = "channels_last"
    """Memory layout in generators and label filter; that of the classifier is in `network`."""

    def __post_init__(self) -> None:
        require_within("execution", self)
