"""Dose-response curves: macro-F1 by share of synthetic images, generator and data size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.estimates import (
    ENOUGH_NETWORKS,
    LEVEL,
    Estimate,
    PairedDifference,
    Range,
    estimate,
    gain,
    paired_differences,
    rounded,
)
from reports.language import later
from reports.measured import measured
from reports.paired_predictions import paired_rows
from reports.run import PredictedRow, Run
from reports.sections.results import Results
from thyroid.evaluate.metrics import Floats, macro, threshold_metrics
from thyroid.run_files.rows_json import PARTS, Dose

POINT_RESAMPLES = 1000
"""Number of resamples for the intervals of single points."""
DIFFERENCE_RESAMPLES = 10_000
"""Resamples for differences; many, because intervals at Holm's levels end far out in the tails."""
ORACLE = "oracle"
TITLES = (
    later("real images alone"),
    later("DCGAN"),
    later("DCGAN and SRGAN"),
    later("eigen-scintigrams"),
    later("flow matching"),
    later("simulated patients (oracle)"),
)
"""Titles of generators."""


@dataclass(frozen=True, kw_only=True)
class DosePoint:
    """The result with one share of synthetic images from one generator."""

    name: str
    share: float
    """The requested share."""
    counted: float | None
    """Share of synthetic images among all that training drew; None if it was not counted."""
    networks: int
    macro_f1: Estimate | None
    """Mean over single networks."""


@dataclass(frozen=True, kw_only=True)
class DifferentPoint(PairedDifference, DosePoint):
    """A share above 0, with its difference in macro-F1 from share 0 at the same data size."""

    around: Range
    """Ends of the difference's interval at the common level, added to share 0's macro-F1."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The shares of one generator at one number of real images, and what they show."""

    generator: str
    title: str
    points: list[DifferentPoint]
    """Points with shares above 0, in ascending order."""
    helped: list[float]
    """Shares that were shown to help."""
    harmed: list[float]
    """Shares that were shown to harm."""
    best: DifferentPoint
    """The point with the largest difference."""
    detectable: Range
    """Range over the shares of the smallest true difference that would have been shown with a power
    of 80 %."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """The curves for one number of real images."""

    images_per_class: int | None
    """None if all images are used."""
    real: DosePoint
    """Share 0."""
    curves: list[Curve]
    """The oracle is the last one."""


@dataclass(frozen=True, kw_only=True)
class DoseResponse:
    rows: int
    waiting: int
    """Number of rows without predictions."""
    part: str | None
    """test | validation; None if nothing is predicted yet, like the next two fields."""
    images: int | None
    patients: int | None
    level: float
    enough_networks: int
    resamples: int
    oracle: bool
    """True if one of the generators is the oracle, which simulates new patients."""
    oracle_shown: bool
    """True if some share of the oracle's images was shown to help."""
    sizes: list[Size]
    """The sizes for which there are predictions."""


_Compared = tuple[PairedDifference, Estimate]
"""The difference of a row from share 0 of its size; the same at the common level."""


def dose_info(run: Run, results: Results | None) -> DoseResponse | None:
    """The curves; None if the run compared no doses.

    Raises
    ------
    InputError
        When two rows have predicted different images.
    """
    rows = [row for row in run.rows if row.dose is not None]
    if not rows:
        return None
    done = [row for row in rows if row.predictions]
    compared = _compared(run, done, results is None or results.learned)
    found = [
        _size(run, size, [row for row in done if _size_of(row) == size], compared)
        for size in dict.fromkeys(map(_size_of, rows))
    ]
    sizes = [size for size in found if size is not None]
    oracles = [c for size in sizes for c in size.curves if c.generator == ORACLE]
    return DoseResponse(
        rows=len(rows),
        waiting=len(rows) - len(done),
        part=run.part if results else None,
        images=results.images if results else None,
        patients=results.patients if results else None,
        level=LEVEL,
        enough_networks=ENOUGH_NETWORKS,
        resamples=DIFFERENCE_RESAMPLES,
        oracle=any(_dose(row).generator == ORACLE for row in rows),
        oracle_shown=any(curve.helped for curve in oracles),
        sizes=sizes,
    )


def _compared(run: Run, rows: Sequence[PredictedRow], learned: bool) -> dict[str, _Compared]:
    """By name, each row above share 0 whose share 0 has predictions."""
    real = {_size_of(row): row for row in rows if not _dose(row).share}
    found: dict[str, _Compared] = {}
    for oracle in (False, True):  # the oracle, a control, is a separate family
        pairs = {}
        for row in rows:
            of_family = _dose(row).share and (_dose(row).generator == ORACLE) == oracle
            if of_family and _size_of(row) in real:
                pair = paired_rows(run, row, real[_size_of(row)])
                if pair is not None:
                    pairs[row.name] = pair
        differences = [
            pair.macro_f1_difference(level=LEVEL, resamples=DIFFERENCE_RESAMPLES)
            for pair in pairs.values()
        ]
        networks = [pair.networks for pair in pairs.values()]
        family = paired_differences(differences, networks, [run.tried] * len(pairs), learned)
        found |= zip(pairs, zip(family, map(gain, differences), strict=True), strict=True)
    return found


def _size(
    run: Run,
    size: int | None,
    rows: Sequence[PredictedRow],
    compared: Mapping[str, _Compared],
) -> Size | None:
    """The curves of one size; None until share 0 is there."""
    real = [row for row in rows if not _dose(row).share]
    if not real:
        return None
    start = _point(run, real[0])
    curves = []
    dosed = [row for row in rows if row.name in compared]
    names = dict.fromkeys(_dose(row).generator for row in dosed)
    for generator in sorted(names, key=lambda name: name == ORACLE):
        own = [row for row in dosed if _dose(row).generator == generator]
        points = [_different(run, row, start, *compared[row.name]) for row in own]
        points.sort(key=lambda point: point.share)
        least = [point.detectable for point in points]
        curves.append(
            Curve(
                generator=generator,
                title=own[0].title.split(PARTS)[0],
                points=points,
                helped=[point.share for point in points if point.state == "higher"],
                harmed=[point.share for point in points if point.state == "lower"],
                best=max(points, key=lambda point: point.difference.value),
                detectable=Range(low=min(least), high=max(least)),
            )
        )
    return Size(images_per_class=size, real=start, curves=curves)


def _different(
    run: Run, row: PredictedRow, start: DosePoint, to: PairedDifference, common: Estimate
) -> DifferentPoint:
    before = 0.0 if start.macro_f1 is None else start.macro_f1.value
    return DifferentPoint(
        **vars(_point(run, row)),
        **vars(to),
        around=Range(low=rounded(before + common.low), high=rounded(before + common.high)),
    )


def _point(run: Run, row: PredictedRow) -> DosePoint:
    assert run.part is not None
    of = measured(run.part, run.folds, row.predictions, row.networks)
    classes = of.stated.shape[-1]

    def macro_f1(p: Floats, weights: Floats) -> dict[str, Floats]:
        f1 = threshold_metrics(of.labels, p.argmax(axis=1), classes, weights)["f1"]
        return {"macro_f1": macro(f1)}

    found = of.intervals(macro_f1, resamples=POINT_RESAMPLES, single=True)
    counted = None
    if row.images and row.synthetic_images is not None:
        counted = rounded(row.synthetic_images / row.images)
    return DosePoint(
        name=row.name,
        share=_dose(row).share,
        counted=counted,
        networks=len(of.seeds) * (1 if of.networks is None else run.folds),
        macro_f1=estimate(found["macro_f1"]),
    )


def _dose(row: PredictedRow) -> Dose:
    assert row.dose is not None
    return row.dose


def _size_of(row: PredictedRow) -> int | None:
    return _dose(row).images_per_class
