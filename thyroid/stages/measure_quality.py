"""The quality stage: compares synthetic scintigrams with real ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits
from torch import Tensor

from thyroid.acquisition import stabilised
from thyroid.configuration import to_json
from thyroid.data.dataset import Dataset
from thyroid.evaluate.case_mix import draw_same_mix, mix_weights
from thyroid.evaluate.generator_quality import (
    FEWEST_FRECHET,
    FEWEST_KERNEL,
    FEWEST_MEAN,
    FEWEST_NEIGHBOURS,
    FEWEST_PERCENTILE,
    compare,
    mean_of,
    memorisation,
    nearest_distances,
    neighbour_dispersion,
    total_counts_distance,
)
from thyroid.evaluate.metrics import macro_f1
from thyroid.networks.resnet import ResNet
from thyroid.run_files.quality_json import (
    EVERYTHING,
    ImageNumbers,
    Quality,
    QualityRow,
    write_quality,
)
from thyroid.stage_config import QualityConfig
from thyroid.stages import split, synthesise
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import Compute, seed_of, start
from thyroid.stages.feature_network import features_and_classes, load_feature_network
from thyroid.stages.images import images
from thyroid.stages.predict_part import probabilities
from thyroid.stages.super_resolution import super_resolution

Floats = npt.NDArray[np.float64]

THUMBNAIL = 32
"""Side in pixels of the thumbnails in which copies are searched for."""

MEASURES: Mapping[str, Literal["lower", "higher", "equal"]] = {
    "frechet_distance": "lower",
    "kernel_distance": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
    "classification_macro_f1": "higher",
    "classification_accuracy": "higher",
    "label_fidelity": "higher",
    "nearest_training_distance": "equal",
    "share_suspiciously_near": "lower",
    "neighbour_dispersion": "equal",
    "total_counts_distance": "lower",
}
"""Each measure with its better direction: lower, higher, or equal to the yardstick."""

ABOUT = (
    "Synthetic images are compared with real images of the validation part; test images are not "
    "read. The group 'all' has the validation part's mix of findings, without those that have no "
    "synthetic images or, for distances, no training images.",
    "Features are those of a classifier that neither the generators nor the filter have seen, but "
    "that was trained on the same training images.",
    "The yardstick of distances, precision, recall, density, coverage and total counts is as many "
    "real training images in place of the synthetic ones. The classifier has seen those, which "
    "moves their features away from those of unseen images: if anything, the yardstick looks "
    "worse than fresh real images would, and synthetic images look better beside it than they are.",
    "The yardstick of label fidelity, neighbour dispersion and memorisation is the validation "
    "images, which the classifier has not seen; in memorisation it is 1 and 0.05 by construction.",
    "The yardstick of classification is the same network trained on real images for as many steps.",
    "Super-resolution: half of each validation image's photons, made coarse and enlarged again, is "
    "compared with the other half, whose noise bounds PSNR and SSIM.",
    f"A value is null where images are too few: fewer than {FEWEST_FRECHET} of either set for the "
    f"Frechet distance, {FEWEST_KERNEL} for the kernel distance, {FEWEST_NEIGHBOURS} for "
    f"precision, recall, density and coverage, {FEWEST_MEAN} for any other, and "
    f"{FEWEST_PERCENTILE} validation images for the share that is suspiciously near. Even with "
    "more, the Frechet distance is too large, of synthetic and of real images; the error grows as "
    "images become fewer.",
)
"""Explanations that a reader of the numbers needs."""


def fit(
    config: QualityConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Write quality.json: every measure, overall and for each combination of findings.

    `ABOUT`, which the file repeats, explains the yardstick and its errors.

    Yields
    ------
    dict
        Once: each measure overall, its yardstick as `real_` and its name, and super_resolution, as
        `thyroid.stages.super_resolution` gives it.

    Raises
    ------
    LeakError
        When synthetic images, the SRGAN or a label filter come from other images than this split's
        training part.
    """
    on = start(config.execution)
    threadpool_limits(config.execution.threads)  # numpy's libraries; `start` set torch's
    dataset, parts = split.open_split(inputs)
    pool, _ = synthesise.load(inputs["synthetic"])
    feature_network = load_feature_network(inputs["feature_network"], on)

    # What is measured of each image
    training = images(dataset, parts.train, config.input, on)[:]
    copies = _thumbnails(torch.cat([training, training.flip(-1)]))  # augmentation mirrors
    train = _measured(dataset, parts.train, None, feature_network, config, on)
    held_out = _measured(dataset, parts.validation, copies, feature_network, config, on)
    made = _measured(pool, np.arange(len(pool)), copies, feature_network, config, on)
    by_real, by_synthetic = (
        _named(inputs[name], dataset, parts.validation, on)
        for name in ("trained_on_real", "trained_on_synthetic")
    )

    # Overall, then each combination of findings
    shared = set(made.groups) & set(held_out.groups)
    every = sorted(set(made.groups) | set(held_out.groups), key=lambda text: (";" in text, text))
    rows: list[QualityRow] = []
    for group, members in {EVERYTHING: shared, **{text: {text} for text in every}}.items():
        own = np.random.default_rng(seed_of(config.seed, "quality", group))
        tested = np.isin(held_out.groups, [group]) | (group == EVERYTHING)
        found = {
            **_compared(made.only(members), train.only(members), held_out.only(members), own),
            **_one_by_one(made.only(members), held_out.only(members)),
            **_classified(held_out.labels[tested], by_synthetic[tested], by_real[tested]),
        }
        if group == EVERYTHING:
            found |= _macro_f1(held_out.labels, by_synthetic, by_real, len(dataset.info.classes))
        rows += [
            QualityRow(measure=name, group=group, **found[name]._asdict(), better=better)
            for name, better in MEASURES.items()
            if name in found
        ]

    enlarged = super_resolution(inputs, dataset, parts, feature_network, config, on)
    numbers = ImageNumbers(train=len(train), validation=len(held_out), synthetic=len(made))
    quality = Quality(about=ABOUT, images=numbers, rows=tuple(rows), super_resolution=enlarged)
    write_quality(folder, quality)
    overall = [row for row in rows if row.group == EVERYTHING]
    yield {
        "seed": config.seed,
        **{row.measure: row.synthetic for row in overall},
        **{f"real_{row.measure}": row.real for row in overall},
        "super_resolution": None if enlarged is None else to_json(enlarged),
    }


class _Value(NamedTuple):
    """A measure of synthetic images, and of real ones as its yardstick."""

    synthetic: float | None
    real: float | None
    images: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    """Some images, and measurements of each."""

    groups: npt.NDArray[np.object_]  # (N,) findings
    labels: npt.NDArray[np.int64]  # (N,)
    features: Floats  # (N, D) of the feature network
    agrees: Floats  # (N,) 1 where the feature network gives the label
    nearest: Floats  # (N,) distance to the nearest training image; NaN for training images
    dispersion: Floats  # (N,) 1 for Poisson noise; NaN for pictures
    totals: Floats  # (N,) counts; NaN for pictures

    def __len__(self) -> int:
        return len(self.groups)

    def only(self, members: Collection[str]) -> _Measured:
        """The images of some groups."""
        chosen = np.isin(self.groups, list(members))
        return _Measured(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


def _measured(
    dataset: Dataset,
    rows: npt.NDArray[np.int64],
    copies: Floats | None,
    feature_network: ResNet,
    config: QualityConfig,
    on: Compute,
) -> _Measured:
    """All that is measured image by image; `copies` are thumbnails of training images."""
    counts = images(dataset, rows, config.input, on)[:]
    features, verdict = features_and_classes(feature_network, counts, config.input.normalisation)
    labels = dataset.labels[rows]
    unknown = np.full(len(rows), np.nan)
    photons = dataset.info.kind == "counts"
    matrices = counts.double().cpu().numpy()
    return _Measured(
        groups=dataset.images["findings"].to_numpy(dtype=object)[rows],
        labels=labels,
        features=features,
        agrees=(verdict == labels).astype(np.float64),
        nearest=unknown if copies is None else nearest_distances(_thumbnails(counts), copies),
        dispersion=neighbour_dispersion(matrices) if photons else unknown,
        totals=matrices.sum((1, 2)) if photons else unknown,
    )


def _thumbnails(counts: Tensor) -> Floats:
    """Small stabilised pictures, (N, S, S) -> (N, 32 * 32) float64, of mean square 1.

    With few pixels, noise hides less of what two pictures share.
    """
    side = min(THUMBNAIL, counts.shape[-1])
    pixels = (counts.shape[-1] / side) ** 2
    small = F.adaptive_avg_pool2d(counts.unsqueeze(1), side).squeeze(1) * pixels
    return stabilised(small).flatten(1).double().cpu().numpy()


def _named(
    model: Path, dataset: Dataset, rows: npt.NDArray[np.int64], on: Compute
) -> npt.NDArray[np.int64]:
    """(N,) the class that a trained model predicts for each image."""
    network, _, input_config = load_model(model, on)
    counts = images(dataset, rows, input_config, on)
    return probabilities(network, counts, input_config.normalisation, on).argmax(1).numpy()


def _compared(
    made: _Measured, train: _Measured, held_out: _Measured, own: np.random.Generator
) -> dict[str, _Value]:
    """Compare sets: as many synthetic as training images, in the held-out images' mix."""
    reference, (ours, yardstick) = draw_same_mix(held_out.groups, (made.groups, train.groups), own)
    target, mix = held_out.features[reference], held_out.groups[reference]
    synthetic = compare(made.features[ours], target, (made.groups[ours], mix))
    real = compare(train.features[yardstick], target, (train.groups[yardstick], mix))
    synthetic["total_counts_distance"], real["total_counts_distance"] = (
        total_counts_distance(totals, held_out.totals[reference])
        for totals in (made.totals[ours], train.totals[yardstick])
    )
    return {name: _Value(value, real[name], len(ours)) for name, value in synthetic.items()}


def _one_by_one(made: _Measured, held_out: _Measured) -> dict[str, _Value]:
    """Means over images: synthetic ones weighted to the held-out images' mix."""
    weights = mix_weights(made.groups, held_out.groups)
    alike = np.ones(len(held_out))
    copied = memorisation(made.nearest, held_out.nearest, weights)
    by_construction = memorisation(held_out.nearest, held_out.nearest, alike)
    means = {
        "label_fidelity": (mean_of(made.agrees, weights), mean_of(held_out.agrees, alike)),
        "neighbour_dispersion": (
            mean_of(made.dispersion, weights),
            mean_of(held_out.dispersion, alike),
        ),
        **{name: (value, by_construction[name]) for name, value in copied.items()},
    }
    return {name: _Value(*values, len(made)) for name, values in means.items()}


def _classified(
    labels: npt.NDArray[np.int64],
    by_synthetic: npt.NDArray[np.int64],
    by_real: npt.NDArray[np.int64],
) -> dict[str, _Value]:
    """Accuracy of training on synthetic and on real images (Ravuri & Vinyals 2019)."""
    alike = np.ones(len(labels))
    synthetic, real = (
        mean_of((named == labels).astype(np.float64), alike) for named in (by_synthetic, by_real)
    )
    return {"classification_accuracy": _Value(synthetic, real, len(labels))}


def _macro_f1(
    labels: npt.NDArray[np.int64],
    by_synthetic: npt.NDArray[np.int64],
    by_real: npt.NDArray[np.int64],
    classes: int,
) -> dict[str, _Value]:
    synthetic, real = (macro_f1(labels, named, classes) for named in (by_synthetic, by_real))
    return {"classification_macro_f1": _Value(synthetic, real, len(labels))}
