"""What a stage that has not been computed will take, from those that have. No torch, no ray."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Hashable, Iterable

from thyroid.stage import Stage
from thyroid.stage_config import (
    DcganSegmentConfig,
    SegmentConfig,
    SrganSegmentConfig,
    SynthesisStageConfig,
)

PRIOR = {
    "classifier": 2e-4,  # per epoch and input pixel, of 544 images by the small ResNet
    "dcgan": 1e-6,  # per picture and pixel
    "srgan": 1e-6,
    "synthesis": 1e-3,  # per pixel of a picture
}
"""Seconds per unit of work before any stage has been timed: one core of an Intel Xeon. Their ratios
are what matters."""

SHORT = 0.2
"""Seconds of a stage of any other kind."""


class Costs:
    """Seconds per unit of work, learned from stages that were timed.

    A stage's time is its work (epochs and steps times pixels) times a rate. The rate is that of the
    stages that agree with it in all traits that matter; where there are none, in all traits but the
    last, and so on; and of its kind's prior at the end.

    >>> costs = Costs()
    >>> costs.learn(stage, seconds=12.0)  # doctest: +SKIP
    >>> costs.seconds(twice_as_long)  # doctest: +SKIP
    24.0
    """

    def __init__(self) -> None:
        self._work: dict[tuple[Hashable, ...], float] = defaultdict(float)
        self._seconds: dict[tuple[Hashable, ...], float] = defaultdict(float)

    def learn(self, stage: Stage, seconds: float) -> None:
        """Take note of what a stage's one computation took."""
        traits, work = _traits(stage), _work(stage)
        for count in range(1, len(traits) + 1):
            self._work[traits[:count]] += work
            self._seconds[traits[:count]] += seconds

    def seconds(self, stage: Stage) -> float:
        """Expected wall seconds of computing a stage whose inputs are there."""
        traits, work = _traits(stage), _work(stage)
        for count in range(len(traits), 0, -1):
            known = traits[:count]
            if known in self._work:
                return work * self._seconds[known] / self._work[known]
        return work * PRIOR.get(stage.kind, SHORT)


def marginal(wanted: Iterable[Stage], computed: Container[str], costs: Costs) -> float:
    """Expected seconds of all that some stages need and that is not computed yet.

    Parameters
    ----------
    wanted : such as the last stages of each seed's training; what they share counts once
    computed : keys of the stages that are there, or on their way
    """
    missing = {stage.key: stage for final in wanted for stage in final.lineage(computed)}
    return sum(costs.seconds(stage) for stage in missing.values())


def _work(stage: Stage) -> float:
    """What a stage's time is proportional to, other traits being equal."""
    match stage.config:
        case SegmentConfig() as config:
            return float(config.epochs * config.input.size**2)
        case DcganSegmentConfig() as config:
            pictures = config.epochs * config.dcgan.steps_per_epoch * config.dcgan.batch_size
            return float(pictures * config.size**2)
        case SrganSegmentConfig() as config:
            pictures = config.epochs * config.srgan.steps_per_epoch * config.srgan.batch_size
            return float(pictures * config.input.size**2)
        case SynthesisStageConfig() as config:
            return float(config.size**2)
        case _:
            return 1.0


def _traits(stage: Stage) -> tuple[Hashable, ...]:
    """What a stage's time per unit of work depends on, the most important first."""
    traits: tuple[Hashable, ...] = (stage.kind, stage.execution)
    match stage.config:
        case SegmentConfig(network=network, cross=cross) as config:
            traits += (network.name, network.width, config.input.size)
            traits += (cross.trainable if cross else "all", network.cross_feature)
            traits += (config.augmentation.thinning, config.synthetic is not None)
        case DcganSegmentConfig() as config:
            traits += (config.dcgan.width, config.size)
        case SrganSegmentConfig(srgan=srgan) as config:
            traits += (config.adversarial, srgan.width, srgan.blocks, srgan.scale)
    return traits
