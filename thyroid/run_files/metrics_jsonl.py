"""RUN/metrics.jsonl: what the final trainings yielded, a line for each network and epoch.

For each fold and seed, the lines of the generators come first if the recipe has synthetic images,
then those of the classifier. The classifier that the label filter uses is not listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thyroid.configuration import from_json, to_json
from thyroid.errors import InputError
from thyroid.files import replace_text
from thyroid.run_files.json_file import refuse

FILE = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class Yielded:
    """The fields of every line."""

    stage: str
    """Kind of the training, which decides the other fields."""
    seed: int
    """Seed of the training."""
    fold: int = 0
    """Fold that validates the network; 0 where there is one split."""
    reused: bool
    """True: it was read from the store."""


@dataclass(frozen=True, kw_only=True)
class ClassifierEpoch(Yielded):
    """An epoch of the classifier.

    The network that is validated has the averaged weights, and sees one view of each image.
    """

    stage: Literal["classifier"] = "classifier"
    epoch: int
    """Epoch, from 1."""
    phase: Literal["single", "cross", "mixed"]
    """Phase of the training, as cross.order says."""
    learning_rate: float
    """AdamW's learning rate in this epoch."""
    train_loss: float
    """Nats: mean cross-entropy over the epoch's batches."""
    images: int | None = None
    """Images that the batches drew, counted with repetitions; None in runs of earlier versions."""
    synthetic_images: int | None = None
    """Synthetic images among them."""
    validation_loss: float
    """Nats: mean cross-entropy over validation images."""
    validation_accuracy: float
    """Share of the validation images that are classified correctly."""
    validation_cross_recall: float | None
    """The same for images of several diseases, by their primary finding; None if there are none."""
    validation_macro_f1: float
    """F1 averaged over classes."""
    train_seconds: float
    """Seconds that the epoch's steps took."""
    images_per_second: float
    """Images per second of these steps."""


@dataclass(frozen=True, kw_only=True)
class ProbeFit(Yielded):
    """The fit of a probe, a logistic regression on a network's features."""

    stage: Literal["probe"] = "probe"
    images: int
    """Training images."""
    features: int
    """Number of features, the inputs of the last layer."""
    penalty: float
    """L2 penalty on the weights of standardised features that was chosen."""
    train_seconds: float
    """Seconds that it took to compute features, choose the penalty and fit."""


@dataclass(frozen=True, kw_only=True)
class DcganEpoch(Yielded):
    """An epoch of the DCGAN."""

    stage: Literal["dcgan"] = "dcgan"
    epoch: int
    """Epoch, from 1."""
    discriminator_loss: float
    """Mean over the epoch of the loss that dcgan.loss names."""
    generator_loss: float
    """Mean over the epoch of the generator's loss."""
    real_score: float
    """Mean of the discriminator's output (a logit) for real images."""
    fake_score: float
    """The same for generated images."""
    diversity: float
    """Spread of generated pictures of the same findings, as a multiple of the real ones'."""
    train_seconds: float
    """Seconds that the epoch's steps took."""
    images_per_second: float
    """Images per second of these steps."""


@dataclass(frozen=True, kw_only=True)
class GeneratorFit(Yielded):
    """The training of a generator other than the DCGAN, or one epoch of it."""

    stage: Literal["generator"] = "generator"
    epoch: int = 1
    """Epoch, from 1; 1 if it is fitted in one step."""
    images: int
    """Number of training images that it got."""
    loss: float | None = None
    """Mean of its own loss over the epoch; None if it is fitted in one step."""
    train_seconds: float = 0.0
    """Seconds that the epoch took; 0 if it is fitted in one step."""
    images_per_second: float | None = None
    """Images per second that it learned from; None if it is fitted in one step."""


@dataclass(frozen=True, kw_only=True)
class SrganEpoch(Yielded):
    """An epoch of the SRGAN."""

    stage: Literal["srgan"] = "srgan"
    epoch: int
    """Epoch, from 1."""
    part: Literal["pixel", "adversarial"]
    """pixel, then adversarial."""
    pixel_loss: float
    """Squared error over the variance of a Poisson count, mean over the epoch."""
    perceptual_loss: float | None
    """Mean squared distance of features, as a share of the target's; None in the pixel part."""
    adversarial_loss: float | None
    """Nats: -log of the discriminator's probability that enlarged pictures are real; None in the
    pixel part."""
    discriminator_loss: float | None
    """Nats: cross-entropy of the discriminator, of real and of enlarged pictures; None in the
    pixel part."""
    validation_psnr_db: float
    """dB: peak signal-to-noise ratio of enlarged validation images."""
    bicubic_psnr_db: float
    """dB: the same for bicubic interpolation."""
    train_seconds: float
    """Seconds that the epoch's steps took."""
    images_per_second: float
    """Images per second of these steps."""


@dataclass(frozen=True, kw_only=True)
class SynthesisedGroup(Yielded):
    """The synthetic images of one combination of findings."""

    stage: Literal["synthesis"] = "synthesis"
    findings: str
    """Classes that the images show, joined by `;`."""
    made: int
    """Images that were made."""
    dropped: int
    """Images among them that the label filter dropped."""


Metrics = ClassifierEpoch | ProbeFit | DcganEpoch | GeneratorFit | SrganEpoch | SynthesisedGroup

KINDS: dict[str, type[Metrics]] = {
    "classifier": ClassifierEpoch,
    "probe": ProbeFit,
    "dcgan": DcganEpoch,
    "generator": GeneratorFit,
    "srgan": SrganEpoch,
    "synthesis": SynthesisedGroup,
}


def metrics_of(line: Mapping[str, Any]) -> Metrics:
    """Return the record of what a stage yielded.

    Raises
    ------
    InputError, KeyError, TypeError
        When a field is missing, unknown or of another type.
    """
    return from_json(KINDS[line["stage"]], line)


def write_metrics(run: Path, metrics: Iterable[Metrics]) -> None:
    """Write RUN/metrics.jsonl."""
    lines = [json.dumps(to_json(each), allow_nan=False) + "\n" for each in metrics]
    replace_text(run / FILE, "".join(lines))


def read_metrics(run: Path) -> list[Metrics]:
    """Return the lines of RUN/metrics.jsonl; none where there is no such file.

    Raises
    ------
    InputError
        When a line is damaged.
    """
    path = run / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    metrics = []
    for number, line in enumerate(lines, start=1):
        try:
            metrics.append(metrics_of(json.loads(line, parse_constant=refuse)))
        except (InputError, ValueError, TypeError, KeyError, AttributeError):
            raise InputError(
                f"{path}, line {number} is not a line of a training run: run the command again."
            ) from None
    return metrics
