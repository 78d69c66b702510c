"""The method against other networks, and against itself with one part removed or replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.estimates import (
    ENOUGH_NETWORKS,
    LEVEL,
    RESAMPLES,
    Direction,
    Estimate,
    Range,
    direction,
    estimate,
    gain,
    has_flat_interval,
    probability,
    rounded,
    smallest_found,
)
from reports.language import later
from reports.measured import Measured, measured
from reports.paired_predictions import Pair, paired
from reports.run import PredictedRow, Run
from reports.sections.opponents import Opponents, counts, opponents
from reports.sections.results import Confusion, Results, confusion
from thyroid.evaluate.metrics import (
    Floats,
    calibration_error,
    confusion_matrix,
    macro,
    macro_f1,
    ranking_metrics,
    threshold_metrics,
)
from thyroid.evaluate.paired import Difference
from thyroid.evaluate.significance import holm, holm_levels, mcnemar
from thyroid.run_files.rows_json import PARTS

ROW_RESAMPLES = 1000
"""For the intervals of each row's metrics; the method's are those of the results."""
DIFFERENCE_RESAMPLES = 10_000
"""For the differences: at Holm's levels their ends lie far out."""
KINDS = ("baseline", "ablation")
STARTS = ("fine-tuned", "probe")
"""Parts of titles that the page explains."""
TITLES = (
    later("the method"),
    later("no synthetic images"),
    later("eigen-scintigrams instead of the DCGAN"),
    later("bicubic interpolation instead of the SRGAN"),
    later("single images alone, no cross images"),
    later("cross images mixed in from the start"),
    later("cross images' targets without other findings"),
    later("no superposed cross images"),
    later("no x_i"),
    later("x_i from the image"),
    later("x_i from the stem's output"),
    later("x_i from the block's mean"),
    later("fine-tuned"),
    later("probe"),
    later("random weights"),
)
"""Titles of rows, or parts of them. Names of networks and files are the same in every language."""
METRICS = (
    *("macro_recall", "macro_precision", "macro_specificity", "macro_f1", "macro_auroc"),
    *("accuracy", "ece"),
)


@dataclass(frozen=True, kw_only=True)
class Change:
    field: str
    value: object


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """A row of the comparison, done or to come."""

    name: str
    kind: str
    """method | baseline | ablation"""
    title: str
    changes: list[Change]
    parameters: int | None
    epochs: int | None
    trainings: int
    """Networks that were to be trained, folds times seeds; 0 in runs of earlier versions."""
    failed: int
    """Trainings that failed."""
    failed_at_first: int
    """Trainings that had failed before all were repeated at a tenth of the learning rate."""
    done: bool
    """True: there are predictions to compare."""
    diverged: bool
    """True: there never will be, as its trainings failed."""


@dataclass(frozen=True, kw_only=True)
class RowMetrics:
    """Metrics of a row, of an ensemble or mean over seeds; None where undefined."""

    macro_recall: Estimate | None
    macro_precision: Estimate | None
    macro_specificity: Estimate | None
    macro_f1: Estimate | None
    macro_auroc: Estimate | None
    accuracy: Estimate | None
    ece: Estimate | None
    single_accuracy: Estimate | None
    cross_accuracy: Estimate | None


@dataclass(frozen=True, kw_only=True)
class SingleMetrics:
    """Macro-F1 of the single networks of an ensemble: mean, lowest and highest."""

    macro_f1: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    name: str
    kind: str
    title: str
    parameters: int | None
    trials: int | None
    """Recipes that this one is the best of; 0: as given."""
    failed: int
    """Trainings that failed."""
    train_seconds: float | None
    epochs: int | None
    seeds: int
    metrics: RowMetrics
    single: SingleMetrics | None
    """None where metrics are not those of an ensemble."""


@dataclass(frozen=True, kw_only=True)
class DifferenceAtLevel(Estimate):
    """The method's macro-F1 less the row's, of networks of the same seeds and folds."""

    level: float
    """Level of the interval: Holm's in its table."""


@dataclass(frozen=True, kw_only=True)
class McNemarTest:
    """Images on which only one is right, by the mean probabilities of all networks; p-values take
    images as independent.
    """

    only_method: int
    only_row: int
    p_value: float
    """Corrected by Holm's method in its table."""
    uncorrected_p_value: float


@dataclass(frozen=True, kw_only=True)
class OtherRow(MethodRow):
    """A baseline or an ablation, compared with the method."""

    shared_networks: int
    """Networks of each that are compared."""
    difference: DifferenceAtLevel
    """Mean over single networks."""
    p_value: float
    """Corrected by Holm's method in its table."""
    uncorrected_p_value: float
    detectable: float
    """Smallest true difference that would have been shown with a power of 80 %."""
    ensembles: DifferenceAtLevel | None
    """The ensembles' difference; None where there are none."""
    mcnemar: McNemarTest
    state: Direction
    """Meaning of the difference."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The method and all baselines, or all ablations."""

    kind: str
    rows: list[MethodRow]
    """The method first."""

    @property
    def others(self) -> list[OtherRow]:
        """The rows that the method is compared with."""
        return [row for row in self.rows if isinstance(row, OtherRow)]


@dataclass(frozen=True, kw_only=True)
class Budgets:
    method: int
    fewest: int
    """Least of a baseline."""
    most: int
    """Most of a baseline."""
    uneven: bool
    """True: more were tried for the method than for some baseline, or fewer."""


@dataclass(frozen=True, kw_only=True)
class ComparisonVerdict:
    state: str
    """none (there is no baseline) | running (some baseline has no predictions yet) | failed (each
    baseline's trainings failed) | a `Direction`: of the method against the best baseline"""


@dataclass(frozen=True, kw_only=True)
class AgainstBaselines(ComparisonVerdict):
    """The method against the best baseline, and how many of them it beats."""

    best: str
    """Title of the best baseline, by the mean of its single networks."""
    best_macro_f1: float | None
    """Mean over its single networks."""
    gap: Estimate
    """Macro-F1 of the method less the best baseline's; the reverse where the state is lower."""
    level: float
    """Level of the gap's interval."""
    p_value: float
    detectable: float
    """Smallest true difference that would have been shown with a power of 80 %."""
    ensembles: DifferenceAtLevel | None
    """The method's ensemble less the best baseline's; None where there are none."""
    networks: int
    tried: Budgets
    baselines: int
    """Those that count (see `opponents.counts`)."""
    opponents: Opponents
    beaten: int
    """Baselines that the method beats."""
    beaten_by: int
    """Baselines that beat the method."""


@dataclass(frozen=True, kw_only=True)
class BaselineConfusion(Confusion):
    title: str
    seeds: int
    """1 of an ensemble."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    plan: list[PlannedRow]
    rows: int
    waiting: int
    """Rows without predictions."""
    starts: list[str]
    """fine-tuned | probe: those that some row is."""
    level: float
    """Level of the metrics' intervals."""
    enough_networks: int
    part: str | None
    """test | validation; None where nothing is predicted yet, as the next two."""
    images: int | None
    patients: int | None
    resamples: dict[str, int]
    """Bootstrap resamples for the method, a row and a difference."""
    tables: list[Table]
    """Baselines, then ablations, as soon as one is done."""
    levels: Range | None
    """Levels of the differences' intervals."""
    flat_intervals: bool
    """True: some interval has no width."""
    verdict: ComparisonVerdict
    best_confusion: BaselineConfusion | None
    """Confusion matrix of the best baseline."""


def comparison_info(run: Run, results: Results | None) -> Comparison | None:
    """The comparison; None where the run compared nothing.

    Parameters
    ----------
    results
        Of the method.

    Raises
    ------
    InputError
        When a row has predicted other images than the method.
    """
    if run.config.command != "compare":
        return None
    rows = [row for row in run.rows if row.kind in ("method", *KINDS)]
    if len(rows) == 1 < len(run.rows):  # other sections have the rest
        return None
    plan = [_planned(row, _done(run, row)) for row in rows]
    method = next((row for row in run.rows if row.kind == "method"), None)
    tables = [] if results is None or method is None else _tables(run, method, results)
    levels = [row.difference.level for table in tables for row in table.others]
    estimates = [e for table in tables for row in table.rows for e in vars(row.metrics).values()]
    verdict = ComparisonVerdict(state="running")
    if results is not None and method is not None:
        verdict = comparison_verdict(plan, tables)
    best = verdict.best if isinstance(verdict, AgainstBaselines) else None
    return Comparison(
        plan=plan,
        rows=len(plan),
        waiting=sum(not row.done and not row.diverged for row in plan),
        starts=[start for start in STARTS if any(start in parts_of(row) for row in plan)],
        level=LEVEL,
        enough_networks=ENOUGH_NETWORKS,
        part=results.part if results else None,
        images=results.images if results else None,
        patients=results.patients if results else None,
        resamples={
            "method": RESAMPLES,
            "row": ROW_RESAMPLES,
            "difference": DIFFERENCE_RESAMPLES,
        },
        tables=tables,
        levels=Range(low=min(levels), high=max(levels)) if levels else None,
        flat_intervals=has_flat_interval(estimates),
        verdict=verdict,
        best_confusion=_confusion(run, best),
    )


def _tables(run: Run, method: PredictedRow, results: Results) -> list[Table]:
    own = MethodRow(
        **_about(method),
        seeds=len(results.seeds),
        metrics=_own_metrics(results),
        single=_range_of([n.macro_f1 for n in results.by_network]) if results.single else None,
    )
    tables = []
    for kind in KINDS:
        done = [row for row in run.rows if row.kind == kind and _done(run, row)]
        if done:
            tables.append(Table(kind=kind, rows=[own, *_rows(run, done, results.learned)]))
    return tables


def _confusion(run: Run, title: str | None) -> BaselineConfusion | None:
    """Add up the seeds of the baseline of this title, or take its ensemble."""
    found = [r for r in run.rows if r.kind == "baseline" and r.title == title and r.predictions]
    if not found:
        return None
    assert run.part is not None
    of = measured(run.part, run.folds, found[0].predictions, found[0].networks)
    matrices = [confusion_matrix(of.labels, row, len(run.classes)) for row in of.named]
    total = confusion(np.sum(matrices, axis=0), run.classes)
    return BaselineConfusion(title=found[0].title, seeds=len(matrices), **vars(total))


def parts_of(row: PlannedRow | MethodRow) -> list[str]:
    """Parts of a row's title after the name of its network."""
    return row.title.split(PARTS)[1:]


def _planned(row: PredictedRow, done: bool) -> PlannedRow:
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


def _done(run: Run, row: PredictedRow) -> bool:
    """Return whether there are predictions to compare; of the method, any."""
    return run.part is not None and (row.kind == "method" or _pair(run, row) is not None)


def _own_metrics(results: Results) -> RowMetrics:
    accuracy = {subset.name: subset.accuracy for subset in results.subsets}
    return RowMetrics(
        **{name: getattr(results.overall, name) for name in METRICS},
        single_accuracy=accuracy.get("single"),
        cross_accuracy=accuracy.get("cross"),
    )


def _rows(run: Run, rows: Sequence[PredictedRow], learned: bool) -> list[OtherRow]:
    """The rows of one table, which are one family of comparisons; `learned`: by the method."""
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
    raw = [difference.interval_p_value for difference in differences]
    corrected, levels = holm(raw), holm_levels(raw, LEVEL)
    corrected_tests = holm([test.p_value for test in tests])
    together = _at_levels(of_ensembles)
    found = []
    for i, row in enumerate(rows):
        difference, pair = gain(differences[i], levels[i]), pairs[i]
        state = direction(difference, corrected[i], pair.networks, learned, _tried(run, row))
        of = measured(run.part, run.folds, row.predictions, row.networks)
        found.append(
            OtherRow(
                **_about(row),
                seeds=len(row.predictions),
                metrics=_metrics(of),
                single=_single(of),
                shared_networks=pair.networks,
                difference=DifferenceAtLevel(**vars(difference), level=rounded(levels[i])),
                p_value=probability(corrected[i]),
                uncorrected_p_value=probability(raw[i]),
                detectable=smallest_found(differences[i], levels[i]),
                ensembles=together[i] if together else None,
                mcnemar=McNemarTest(
                    only_method=int(tests[i].only_first),
                    only_row=int(tests[i].only_second),
                    p_value=probability(corrected_tests[i]),
                    uncorrected_p_value=probability(tests[i].p_value),
                ),
                state="failed" if state == "higher" and row.failed else state,
            )
        )
    return found


def _at_levels(differences: Sequence[Difference]) -> list[DifferenceAtLevel]:
    """Differences of ensembles, at the levels that Holm's method asks of them."""
    levels = holm_levels([d.interval_p_value for d in differences], LEVEL)
    return [
        DifferenceAtLevel(**vars(gain(d, level)), level=rounded(level))
        for d, level in zip(differences, levels, strict=True)
    ]


def _difference(pair: Pair, *, ensembles: bool = False) -> Difference:
    return pair.macro_f1_difference(
        level=LEVEL, resamples=DIFFERENCE_RESAMPLES, ensembles=ensembles
    )


def _single(of: Measured) -> SingleMetrics | None:
    """Macro-F1 of the members of an ensemble; None where there is none."""
    if of.networks is None:
        return None
    classes, images = of.stated.shape[-1], len(of.labels)
    named = of.networks.argmax(axis=-1).reshape(-1, images)
    values = [macro_f1(of.labels, row, classes) for row in named]
    return _range_of(values)


def _range_of(values: Sequence[float]) -> SingleMetrics:
    return SingleMetrics(
        macro_f1=rounded(np.mean(values)), low=rounded(min(values)), high=rounded(max(values))
    )


def _tried(run: Run, row: PredictedRow) -> int:
    """Recipes that these images chose the method's or the row's among; test images chose none."""
    return 1 if run.part == "test" else max(run.tried, row.trials)


def _about(row: PredictedRow) -> dict[str, Any]:
    names = ("name", "kind", "title", "parameters", "trials", "train_seconds", "epochs")
    return {name: getattr(row, name) for name in names} | {"failed": len(row.failed)}


def _metrics(of: Measured, *, single: bool = False) -> RowMetrics:
    labels, cross = of.labels, of.is_cross
    classes = of.stated.shape[-1]

    def metrics(p: Floats, weights: Floats) -> dict[str, Floats]:
        named = p.argmax(axis=1)
        per_class = threshold_metrics(labels, named, classes, weights)
        per_class["auroc"] = ranking_metrics(labels, p, weights)["auroc"]
        means = {f"macro_{name}": macro(values) for name, values in per_class.items()}
        right = (named == labels).astype(float)
        return means | {
            "accuracy": right @ weights / weights.sum(axis=0),
            "ece": calibration_error(labels, p, weights),
        }

    found = of.intervals(metrics, resamples=ROW_RESAMPLES, pivotal=("ece",), single=single)
    return RowMetrics(
        **{name: estimate(found[name]) for name in METRICS},
        single_accuracy=_accuracy(of.among(~cross), single),
        cross_accuracy=_accuracy(of.among(cross), single),
    )


def _accuracy(of: Measured, single: bool) -> Estimate | None:
    def share(p: Floats, weights: Floats) -> dict[str, Floats]:
        right = (p.argmax(axis=1) == of.labels).astype(float)
        return {"accuracy": right @ weights / weights.sum(axis=0)}

    if not of.labels.size:
        return None
    found = of.intervals(share, resamples=ROW_RESAMPLES, single=single)
    return estimate(found["accuracy"])


def comparison_verdict(plan: Sequence[PlannedRow], tables: Sequence[Table]) -> ComparisonVerdict:
    """The method against the baselines, as soon as all have predictions."""
    planned = [row for row in plan if row.kind == "baseline"]
    table = next((table for table in tables if table.kind == "baseline"), None)
    if not planned:
        return ComparisonVerdict(state="none")
    if not all(row.done or row.diverged for row in planned):
        return ComparisonVerdict(state="running")
    rows = table.others if table is not None else []
    lost = {row.name for row in planned if 0 < row.trainings == row.failed}
    trained = [row for row in rows if row.state != "failed" and row.name not in lost]
    if table is None or not trained:
        return ComparisonVerdict(state="failed")
    best = max(trained, key=lambda row: _of_networks(row) or 0.0)
    method = table.rows[0]
    states = [row.state for row in rows if counts(row, method)]
    d = best.difference
    gap = Estimate(value=d.value, low=d.low, high=d.high)
    if best.state == "lower":
        gap = Estimate(value=-d.value, low=-d.high, high=-d.low)
    return AgainstBaselines(
        state=best.state,
        best=best.title,
        best_macro_f1=_of_networks(best),
        gap=gap,
        level=d.level,
        p_value=best.p_value,
        detectable=best.detectable,
        ensembles=best.ensembles,
        networks=best.shared_networks,
        tried=_budgets(table),
        baselines=len(states),
        opponents=opponents(planned, method, rows),
        beaten=states.count("higher"),
        beaten_by=states.count("lower"),
    )


def _of_networks(row: MethodRow) -> float | None:
    """Macro-F1 of single networks, mean."""
    if row.single is not None:
        return row.single.macro_f1
    return row.metrics.macro_f1.value if row.metrics.macro_f1 else None


def _budgets(table: Table) -> Budgets:
    """Recipes tried for the method and for the baselines but probes, which have nothing to try."""
    own = max(1, table.rows[0].trials or 0)
    others = [max(1, r.trials or 0) for r in table.others if "probe" not in parts_of(r)] or [own]
    uneven = any(own != other for other in others)
    return Budgets(method=own, fewest=min(others), most=max(others), uneven=uneven)
