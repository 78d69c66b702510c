"""ROC and precision-recall curves of each class against the rest, as plain numbers.

Both are kept as steps of equal width: the height of a step is what the curve reaches on average
there, so that the mean of the heights is the area under the curve, exactly that of the tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.measured import Measured, measured
from reports.run import Run
from reports.sections.comparison import Comparison
from reports.sections.comparison_verdict import AgainstBaselines
from thyroid.evaluate.metrics import Floats

STEPS = 100
"""Most steps of a curve; one of fewer images has as many as these."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A curve as steps of equal width."""

    area: float
    """Mean of the heights."""
    heights: list[float]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Curves of one class against the others, of an ensemble or mean over seeds."""

    roc: Steps
    recall: Steps
    """Precision over recall."""


@dataclass(frozen=True, kw_only=True)
class ClassCurves:
    name: str
    share: float
    """Share of the images that are of the class: the precision of a guess."""
    method: Curves
    other: Curves | None


@dataclass(frozen=True, kw_only=True)
class CurvesOfClasses:
    """Curves of each class that some images have and others do not."""

    other: str | None
    """Title of the best baseline; None where none was compared."""
    classes: list[ClassCurves]


def curves_info(run: Run, comparison: Comparison | None) -> CurvesOfClasses | None:
    """Each class's curves; None where nothing is predicted."""
    if run.part is None:
        return None
    verdict = None if comparison is None else comparison.verdict
    best = verdict.best if isinstance(verdict, AgainstBaselines) else None
    method = measured(run.part, run.folds, run.predictions[run.part], run.networks)
    others = (
        measured(run.part, run.folds, row.predictions, row.networks)
        for row in run.rows
        if row.kind == "baseline" and row.title == best and row.predictions
    )
    other, labels = next(others, None), method.labels
    return CurvesOfClasses(
        other=best if other else None,
        classes=[
            ClassCurves(
                name=name,
                share=float(np.mean(labels == c)),
                method=_curves(method, c),
                other=_curves(other, c) if other else None,
            )
            for c, name in enumerate(run.classes)
            if 0 < np.sum(labels == c) < len(labels)
        ],
    )


def _curves(of: Measured, c: int) -> Curves:
    each = [(of.labels == c, p[:, c]) for p in of.stated]
    return Curves(
        roc=_kept(np.mean([roc_steps(*one) for one in each], axis=0)),
        recall=_kept(np.mean([recall_steps(*one) for one in each], axis=0)),
    )


def roc_steps(positive: npt.NDArray[np.bool_], score: Floats) -> Floats:
    """Share of the positives that score above each of the negatives, the highest negative first.

    Ties count half, so that the mean is the AUROC (Mann-Whitney).

    Parameters
    ----------
    positive : (N,) bool, neither all nor none
    score : (N,) float

    Returns
    -------
    (number of negatives,) float, ascending
    """
    own, rest = np.sort(score[positive]), np.sort(score[~positive])[::-1]
    below = np.searchsorted(own, rest, "left") + np.searchsorted(own, rest, "right")
    steps: Floats = 1 - below / (2 * len(own))
    return steps


def recall_steps(positive: npt.NDArray[np.bool_], score: Floats) -> Floats:
    """Precision at the threshold that just lets each of the positives in, the highest one first.

    The mean is the average precision.

    Parameters
    ----------
    positive : (N,) bool, not none
    score : (N,) float

    Returns
    -------
    (number of positives,) float
    """
    own, everything = np.sort(score[positive])[::-1], np.sort(score)
    let_in = len(everything) - np.searchsorted(everything, own, "left")
    right = len(own) - np.searchsorted(own[::-1], own, "left")
    steps: Floats = right / let_in
    return steps


def _kept(steps: Floats) -> Steps:
    """At most `STEPS` heights of the same mean."""
    heights = steps
    if len(steps) > STEPS:
        summed = np.concatenate([[0.0], np.cumsum(steps)])
        edges = np.linspace(0, len(steps), STEPS + 1)
        heights = np.diff(np.interp(edges, np.arange(len(summed)), summed)) * STEPS / len(steps)
    return Steps(area=round(float(steps.mean()), 12), heights=[round(float(h), 6) for h in heights])
