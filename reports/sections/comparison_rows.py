"""The rows of a comparison, planned or finished, and their differences from the method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports.estimates import (
    LEVEL,
    Estimate,
    PairedDifference,
    gain,
    paired_differences,
    probability,
    rounded,
)
from reports.measured import measured
from reports.paired_predictions import Pair, paired
from reports.run import PredictedRow, Run
from reports.sections.comparison_metrics import (
    RowMetrics,
    SingleMetrics,
    method_metrics,
    range_of,
    row_metrics,
    single_metrics,
)
from reports.sections.results import Results
from thyroid.evaluate.paired import Difference
from thyroid.evaluate.significance import holm, holm_levels, mcnemar
from thyroid.run_files.rows_json import PARTS

DIFFERENCE_RESAMPLES = 10_000
"""Resamples for differences; many, because intervals at Holm's levels end far out in the tails."""
KINDS = ("baseline", "ablation")


@dataclass(frozen=True, kw_only=True)
class Change:
    field: str
    value: object


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """A row of the comparison, finished or not."""

    name: str
    kind: str
    """method | baseline | ablation"""
    title: str
    changes: list[Change]
    parameters: int | None
    epochs: int | None
    trainings: int
    """Planned number of networks, folds times seeds; 0 in runs of earlier versions."""
    failed: int
    """Trainings that failed."""
    failed_at_first: int
    """Number of trainings that failed at first; then all were repeated at a tenth of the learning
    rate."""
    done: bool
    """True if there are predictions to compare."""
    diverged: bool
    """True if there will never be predictions, because its trainings failed."""


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    name: str
    kind: str
    title: str
    parameters: int | None
    trials: int | None
    """Number of recipes of which this one is the best; 0 if it was given."""
    failed: int
    """Trainings that failed."""
    train_seconds: float | None
    epochs: int | None
    seeds: int
    metrics: RowMetrics
    single: SingleMetrics | None
    """None if the metrics are not those of an ensemble."""


@dataclass(frozen=True, kw_only=True)
class DifferenceAtLevel(Estimate):
    """The method's macro-F1 minus the row's, paired by seed and fold."""

    level: float
    """Level of the interval, by Holm's method in its table."""


@dataclass(frozen=True, kw_only=True)
class McNemarTest:
    """Images that only the method, or only the row, classifies correctly by the mean probabilities
    of all networks. The p-values treat images as independent.
    """

    only_method: int
    only_row: int
    p_value: float
    """Corrected by Holm's method in its table."""
    uncorrected_p_value: float


@dataclass(frozen=True, kw_only=True)
class OtherRow(PairedDifference, MethodRow):
    """A baseline or an ablation; the difference is the method's macro-F1 minus that of the row.

    The difference is a mean over single networks, which are paired by seed and fold. Each table is
    one family of differences.
    """

    difference: DifferenceAtLevel
    shared_networks: int
    """Number of networks of the method, and of the row, that are compared."""
    ensembles: DifferenceAtLevel | None
    """Difference of the ensembles; None without ensembles."""
    mcnemar: McNemarTest


@dataclass(frozen=True, kw_only=True)
class Table:
    """The method, and all baselines or all ablations."""

    kind: str
    rows: list[MethodRow]
    """The first row is the method."""

    @property
    def others(self) -> list[OtherRow]:
        """The rows that the method is compared with."""
        return [row for row in self.rows if isinstance(row, OtherRow)]


def parts_of(row: PlannedRow | MethodRow) -> list[str]:
    """Parts of a row's title that follow the name of its network."""
    return row.title.split(PARTS)[1:]


def planned(row: PredictedRow, done: bool) -> PlannedRow:
    """A row as planned by the comparison."""
    return PlannedRow(
        name=row.name,
        kind=row.kind,
        title=row.title,
        changes=[Change(field=field, value=value) for field, value in row.changes.items()],
        parameters=row.parameters,
        epochs=row.epochs,
        trainings=row.trainings,
        failed=len(row.failed),
        failed_at_first=row.failed_at_first,
        done=done,
        diverged=row.done and not done and bool(row.failed),
    )


def _pair(run: Run, row: PredictedRow) -> Pair | None:
    where = f"{run.folder / 'rows' / row.name}: its {run.part} images and the method's"
    return paired(run, row.predictions, row.networks, where)


def is_done(run: Run, row: PredictedRow) -> bool:
    """Return whether a row has predictions to compare; for the method, whether it has any."""
    return run.part is not None and (row.kind == "method" or _pair(run, row) is not None)


def comparison_tables(run: Run, method: PredictedRow, results: Results) -> list[Table]:
    """The tables in which some row has predictions."""
    own = MethodRow(
        **_about(method),
        seeds=len(results.seeds),
        metrics=method_metrics(results),
        single=range_of([n.macro_f1 for n in results.by_network]) if results.single else None,
    )
    tables = []
    for kind in KINDS:
        done = [row for row in run.rows if row.kind == kind and is_done(run, row)]
        if done:
            tables.append(Table(kind=kind, rows=[own, *_rows(run, done, results.learned)]))
    return tables


def _rows(run: Run, rows: Sequence[PredictedRow], learned: bool) -> list[OtherRow]:
    """The rows of one table, a family of comparisons; `learned`: whether the method has learned."""
    assert run.part is not None
    pairs, differences, of_ensembles, tests = [], [], [], []
    for row in rows:
        pair = _pair(run, row)
        assert pair is not None
        pairs.append(pair)
        differences.append(_difference(pair))
        if pair.of_ensembles:
            of_ensembles.append(_difference(pair, ensembles=True))
        tests.append(mcnemar(pair.labels, *pair.together))
    networks, tried = [pair.networks for pair in pairs], [_tried(run, row) for row in rows]
    family = paired_differences(differences, networks, tried, learned)
    corrected_tests = holm([test.p_value for test in tests])
    together = _at_levels(of_ensembles)
    found = []
    for i, (row, to) in enumerate(zip(rows, family, strict=True)):
        of = measured(run.part, run.folds, row.predictions, row.networks)
        own = vars(to) | {
            "difference": DifferenceAtLevel(**vars(to.difference), level=to.level),
            "state": "failed" if to.state == "higher" and row.failed else to.state,
        }
        found.append(
            OtherRow(
                **_about(row),
                **own,
                seeds=len(row.predictions),
                metrics=row_metrics(of),
                single=single_metrics(of),
                shared_networks=networks[i],
                ensembles=together[i] if together else None,
                mcnemar=McNemarTest(
                    only_method=int(tests[i].only_first),
                    only_row=int(tests[i].only_second),
                    p_value=probability(corrected_tests[i]),
                    uncorrected_p_value=probability(tests[i].p_value),
                ),
            )
        )
    return found


def _at_levels(differences: Sequence[Difference]) -> list[DifferenceAtLevel]:
    """Differences of ensembles, with intervals at the levels that Holm's method gives."""
    levels = holm_levels([d.interval_p_value for d in differences], LEVEL)
    return [
        DifferenceAtLevel(**vars(gain(d, level)), level=rounded(level))
        for d, level in zip(differences, levels, strict=True)
    ]


def _difference(pair: Pair, *, ensembles: bool = False) -> Difference:
    return pair.macro_f1_difference(
        level=LEVEL, resamples=DIFFERENCE_RESAMPLES, ensembles=ensembles
    )


def _tried(run: Run, row: PredictedRow) -> int:
    """Number of recipes among which the method's or the row's was chosen on these images."""
    return 1 if run.part == "test" else max(run.tried, row.trials)


def _about(row: PredictedRow) -> dict[str, Any]:
    names = ("name", "kind", "title", "parameters", "trials", "train_seconds", "epochs")
    return {name: getattr(row, name) for name in names} | {"failed": len(row.failed)}
