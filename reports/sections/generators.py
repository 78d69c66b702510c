"""The generators of synthetic scintigrams: training, label filter, quality, cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports.line_chart import coloured_folds
from reports.run import Run
from reports.scintigrams import SidesOfGroup, contact_sheet, side_by_side
from reports.sections.data import training_sheet
from reports.sections.synthetic_gain import uses_synthetic
from reports.sections.training import Epoch, Values, by_network, columns
from thyroid.run_files.metrics_jsonl import DcganEpoch, SrganEpoch, SynthesisedGroup
from thyroid.run_files.quality_json import EVERYTHING, WAYS, Quality, QualityRow, SuperResolution

DCGAN = ("discriminator_loss", "generator_loss", "real_score", "fake_score", "diversity")
SRGAN = ("validation_psnr_db", "bicubic_psnr_db", "pixel_loss")


@dataclass(frozen=True, kw_only=True)
class DcganTraining:
    seed: int
    fold: int
    epoch: list[int]
    discriminator_loss: Values
    generator_loss: Values
    real_score: Values
    """Mean of the discriminator's outputs for real pictures."""
    fake_score: Values
    diversity: Values
    """Spread of pictures with the same findings, divided by the spread of real ones."""
    last: dict[str, float | None]
    """Values of the last epoch."""


@dataclass(frozen=True, kw_only=True)
class Dcgan:
    networks: list[DcganTraining]
    coloured: list[int]
    """Folds that have their own colours in the figures."""


@dataclass(frozen=True, kw_only=True)
class SrganTraining:
    seed: int
    fold: int
    epoch: list[int]
    validation_psnr_db: Values
    bicubic_psnr_db: Values
    pixel_loss: Values
    last: dict[str, float | None]
    """Values of the last epoch."""


@dataclass(frozen=True, kw_only=True)
class Srgan:
    networks: list[SrganTraining]
    coloured: list[int]
    """Folds that have their own colours in the figures."""
    adversarial_from: int | None
    """First epoch of the adversarial part; None if it has not begun."""


@dataclass(frozen=True, kw_only=True)
class FilteredImages:
    """Numbers of images with some findings: made, and dropped by the label filter."""

    name: str | None
    """The findings; None for all images."""
    made: int
    dropped: int
    share: float | None


@dataclass(frozen=True, kw_only=True)
class LabelFilter:
    """Numbers of images that the label filter dropped, summed over networks."""

    networks: int
    all: FilteredImages
    rows: list[FilteredImages]
    emptied: list[str]
    """Findings of which it dropped every image, for at least one network."""


@dataclass(frozen=True, kw_only=True)
class GroupQuality:
    name: str
    cells: list[QualityRow | None]
    """A row for each of the table's measures."""


@dataclass(frozen=True, kw_only=True)
class QualityTables:
    """Quality of the first network's synthetic images."""

    about: list[str]
    images: dict[str, int]
    """Number of train, validation and synthetic images."""
    overall: list[QualityRow]
    measures: list[str]
    """Names of the measures that at least one group of findings has."""
    by_group: list[GroupQuality]


@dataclass(frozen=True, kw_only=True)
class EnlargedImages:
    way: str
    """bicubic | pixel | adversarial"""
    psnr_db: float | None
    ssim: float | None
    kernel_distance: float | None


@dataclass(frozen=True, kw_only=True)
class Enlargement:
    images: int
    rows: list[EnlargedImages]
    psnr_gain_db: float | None
    """Gain in PSNR by the pixel part, whose loss optimises it."""
    nearer: bool | None
    """True if the images of the adversarial part have the smaller kernel distance from real
    ones."""


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """Cost of training one network, mean over folds and seeds."""

    name: str
    """dcgan | srgan_pixel | srgan_adversarial | classifier"""
    networks: int
    epochs: float
    seconds: float
    images_per_second: float | None
    """Median over epochs."""


@dataclass(frozen=True, kw_only=True)
class Generators:
    """All about synthetic images except their gain."""

    synthetic_share: float
    """Share of synthetic images in a training batch until the learning rate decays."""
    final_share: float
    """Share while the learning rate decays."""
    cross_synthetic: float | None
    """Share among the crosses of the cross phase; None if there is no such phase, or if one share
    applies to all images."""
    crosses_alone: bool
    name: str
    """Name of the generator."""
    scale: int
    """Factor by which an SRGAN enlarges the images; 1 without an SRGAN."""
    rejection: float
    """Probability of another label from which on the label filter drops an image."""
    examples: int | None
    dcgan: Dcgan | None
    srgan: Srgan | None
    filter: LabelFilter | None
    quality: QualityTables | None
    super_resolution: Enlargement | None
    costs: list[TrainingCost]


def generators_info(run: Run) -> Generators | None:
    """All about synthetic images except their gain; None if the recipe uses none."""
    if not uses_synthetic(run.config):
        return None
    of_recipe, quality = run.config.of_recipe, run.quality
    dose = of_recipe("mixing.dose")  # it overrides the other shares
    retrained = of_recipe("cross.order") == "retrain" and dose is None
    return Generators(
        synthetic_share=of_recipe("mixing.synthetic_share", 0.0) if dose is None else dose,
        final_share=of_recipe("mixing.final_share", 0.0) if dose is None else dose,
        cross_synthetic=of_recipe("cross.synthetic", 0.0) if retrained else None,
        crosses_alone=of_recipe("mixing.cross_share") == 1 and dose is None,
        name=of_recipe("generator", "dcgan"),
        scale=of_recipe("srgan.scale", 1),
        rejection=of_recipe("synthesis.rejection", 1.0),
        examples=None if run.examples is None else len(run.examples),
        dcgan=_dcgan(run.dcgan),
        srgan=_srgan(run.srgan),
        filter=_filter(run.synthesised, run.classes),
        quality=None if quality is None else _quality(quality, run.classes),
        super_resolution=_enlarged(quality.super_resolution) if quality else None,
        costs=_costs(run),
    )


def real_and_synthetic(run: Run) -> list[SidesOfGroup]:
    """Training images and synthetic images with the same findings and the same pixel size."""
    if run.examples is None or not uses_synthetic(run.config):
        return []
    made = contact_sheet(run.examples, per_group=3)
    return side_by_side(training_sheet(run, run.examples.info.size), made)


def _dcgan(rows: Sequence[DcganEpoch]) -> Dcgan | None:
    networks = [
        DcganTraining(seed=s, fold=f, **columns(own, DCGAN))
        for (s, f), own in by_network(rows).items()
    ]
    return Dcgan(networks=networks, coloured=coloured_folds(networks)) if networks else None


def _srgan(rows: Sequence[SrganEpoch]) -> Srgan | None:
    networks = [
        SrganTraining(seed=s, fold=f, **columns(own, SRGAN))
        for (s, f), own in by_network(rows).items()
    ]
    begins = min((row.epoch for row in rows if row.part == "adversarial"), default=None)
    return (
        Srgan(networks=networks, coloured=coloured_folds(networks), adversarial_from=begins)
        if networks
        else None
    )


def _filter(rows: Sequence[SynthesisedGroup], classes: Sequence[str]) -> LabelFilter | None:
    if not rows:
        return None
    named = sorted({row.findings for row in rows}, key=lambda text: _order(text, classes))
    sums = []
    for name in (None, *named):
        own = [row for row in rows if name in (None, row.findings)]
        made, dropped = (sum(getattr(row, count) for row in own) for count in ("made", "dropped"))
        share = dropped / made if made else None
        sums.append(FilteredImages(name=name, made=made, dropped=dropped, share=share))
    kept: dict[tuple[int, int, str], int] = {}
    for row in rows:  # of one network, several pools may have the same findings
        own_group = (row.seed, row.fold, row.findings)
        kept[own_group] = kept.get(own_group, 0) + row.made - row.dropped
    emptied = {findings for (_seed, _fold, findings), left in kept.items() if not left}
    return LabelFilter(
        networks=len({(row.seed, row.fold) for row in rows}),
        all=sums[0],
        rows=sums[1:],
        emptied=[name for name in named if name in emptied],
    )


def _quality(quality: Quality, classes: Sequence[str]) -> QualityTables:
    rows = quality.rows
    names = {row.group for row in rows} - {EVERYTHING}
    groups = sorted(names, key=lambda text: _order(text, classes))
    cells = {
        (row.group, row.measure): row
        for row in rows
        if row.group != EVERYTHING and row.synthetic is not None
    }
    known = {measure for _group, measure in cells}
    measures = [m for m in dict.fromkeys(row.measure for row in rows) if m in known]
    return QualityTables(
        about=list(quality.about),
        images=vars(quality.images),
        overall=[row for row in rows if row.group == EVERYTHING],
        measures=measures,
        by_group=[
            GroupQuality(name=group, cells=[cells.get((group, measure)) for measure in measures])
            for group in groups
        ],
    )


def _enlarged(found: SuperResolution | None) -> Enlargement | None:
    if found is None:
        return None
    psnr, distance = found.psnr_db, found.kernel_distance
    interpolated, made = distance["bicubic"], distance["adversarial"]
    return Enlargement(
        images=found.images,
        rows=[
            EnlargedImages(
                way=way, psnr_db=psnr[way], ssim=found.ssim[way], kernel_distance=distance[way]
            )
            for way in WAYS
        ],
        psnr_gain_db=_less(psnr["pixel"], psnr["bicubic"]),
        nearer=None if made is None or interpolated is None else made < interpolated,
    )


def _less(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None else above - below


def _costs(run: Run) -> list[TrainingCost]:
    parts: dict[str, Sequence[Epoch]] = {
        "dcgan": run.dcgan,
        "srgan_pixel": [row for row in run.srgan if row.part == "pixel"],
        "srgan_adversarial": [row for row in run.srgan if row.part == "adversarial"],
        "classifier": run.epochs,
    }
    costs = []
    for name, rows in parts.items():
        if rows:
            networks = len({(row.seed, row.fold) for row in rows})
            costs.append(
                TrainingCost(
                    name=name,
                    networks=networks,
                    epochs=len(rows) / networks,
                    seconds=sum(row.train_seconds for row in rows) / networks,
                    images_per_second=median(row.images_per_second for row in rows),
                )
            )
    return costs


def _order(findings: str, classes: Sequence[str]) -> tuple[bool, int, str]:
    """Sort key: classes in the order of the data set, then crosses by name."""
    return ";" in findings, classes.index(findings) if findings in classes else 0, findings
