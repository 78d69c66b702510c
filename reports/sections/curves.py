"""ROC and precision-recall curves of each class against all others, as numbers.

Both are stored as steps of equal width. The height of a step is the mean height of the curve there,
so the mean of the heights is the area under the curve, exactly as in the tables.
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
"""Maximum number of steps of a curve; a curve of fewer images has one step per image."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A curve that consists of steps of equal width."""

    area: float
    """Mean of the heights."""
    heights: list[float]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Curves of one class against the others, for an ensemble or as means over seeds."""

    roc: Steps
    recall: Steps
    """Precision over recall."""


@dataclass(frozen=True, kw_only=True)
class ClassCurves:
    name: str
    share: float
    """Share of the images that belong to the class, which is the precision of guessing."""
    method: Curves
    other: Curves | None


@dataclass(frozen=True, kw_only=True)
class CurvesOfClasses:
    """Curves of each class to which some, but not all, images belong."""

    other: str | None
    """Title of the best baseline; None if there is none."""
    classes: list[ClassCurves]


def curves_info(run: Run, comparison: Comparison | None) -> CurvesOfClasses | None:
    """The curves of each class; None if nothing is predicted."""
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
    """For each negative image, the share of positive images with a higher score.

    The negative with the highest score comes first. Ties count half, so the mean is the AUROC
    (Mann-Whitney).

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
    """For each positive image, the precision at its own score as threshold; highest score first.

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
    """Reduce heights to at most `STEPS` with the same mean."""
    heights = steps
    if len(steps) > STEPS:
        summed = np.concatenate([[0.0], np.cumsum(steps)])
        edges = np.linspace(0, len(steps), STEPS + 1)
        heights = np.diff(np.interp(edges, np.arange(len(summed)), summed)) * STEPS / len(steps)
    return Steps(area=round(float(steps.mean()), 12), heights=[round(float(h), 6) for h in heights])
