"""A combination of findings that training never saw: how its real images are recognised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.estimates import (
    ENOUGH_NETWORKS,
    LEVEL,
    Direction,
    Estimate,
    direction,
    gain,
    probability,
    rounded,
    smallest_found,
)
from reports.language import later
from reports.paired_predictions import Pair, paired_rows
from reports.run import PredictedRow, Run
from reports.sections.results import Results
from thyroid.evaluate.significance import holm, holm_levels

Chosen = npt.NDArray[np.bool_]
DIFFERENCE_RESAMPLES = 10_000
"""For the differences: at Holm's levels their ends lie far out."""
NEVER = "unseen-never"
TITLES = (later("never given"), later("superposed"), later("real images of it"))
"""Titles of rows besides generators."""


@dataclass(frozen=True, kw_only=True)
class GivenRow:
    """One way of giving the combination to training."""

    name: str
    title: str
    networks: int
    recall: float
    """Share of the combination's test images whose primary finding is named, mean over networks."""
    accuracy: float
    """The same of all other test images."""


@dataclass(frozen=True, kw_only=True)
class ComparedGiven(GivenRow):
    """Against never giving it."""

    difference: Estimate
    """Recall less that of the row that was never given the combination, of the same seeds and
    folds."""
    level: float
    """Level of the interval: Holm's."""
    p_value: float
    """Corrected by Holm's method."""
    uncorrected_p_value: float
    detectable: float
    """Smallest true difference that would have been shown with a power of 80 %."""
    others: Estimate
    """Difference in accuracy on all other test images, at the common level."""
    state: Direction


@dataclass(frozen=True, kw_only=True)
class Unseen:
    combination: str
    """Findings, joined by `;`, the primary one first."""
    rows: int
    waiting: int
    """Rows without predictions."""
    part: str | None
    images: int | None
    """Images of the part that show the combination."""
    patients: int | None
    level: float
    enough_networks: int
    resamples: int
    never: GivenRow | None
    """None until it is predicted."""
    given: list[ComparedGiven]


def unseen_info(run: Run, results: Results | None) -> Unseen | None:
    """The recall of an unseen combination; None where the run left none out.

    Raises
    ------
    InputError
        When two rows have predicted different images.
    """
    asked = run.config.comparison and run.config.comparison.unseen
    rows = [row for row in run.rows if row.kind == "unseen"]
    if not asked or not rows:
        return None
    findings = [name.strip() for name in asked.split("+")]
    done = [row for row in rows if row.predictions]
    never = next((row for row in done if row.name == NEVER), None)
    chosen = None if never is None else _showing(never, findings)
    given: list[ComparedGiven] = []
    if never is not None and chosen is not None and chosen.any():
        learned = results is None or results.learned
        given = _given(run, [row for row in done if row is not never], never, chosen, learned)
    patients = None
    if never is not None and chosen is not None:
        first = next(iter(never.predictions.values()))
        patients = len(set(first.images["patient_id"][chosen]))
    return Unseen(
        combination=";".join(findings),
        rows=len(rows),
        waiting=len(rows) - len(done),
        part=run.part,
        images=None if chosen is None else int(chosen.sum()),
        patients=patients,
        level=LEVEL,
        enough_networks=ENOUGH_NETWORKS,
        resamples=DIFFERENCE_RESAMPLES,
        never=None if never is None or chosen is None else _alone(run, never, chosen),
        given=given,
    )


def _showing(row: PredictedRow, findings: list[str]) -> Chosen:
    """Find the images that show all findings, (N,)."""
    images = next(iter(row.predictions.values())).images
    return np.array([set(findings) <= set(text.split(";")) for text in images["findings"]])


def _given(
    run: Run, rows: list[PredictedRow], never: PredictedRow, chosen: Chosen, learned: bool
) -> list[ComparedGiven]:
    """Each row against never giving the combination: one family of comparisons."""
    pairs = {row.name: paired_rows(run, row, never) for row in rows}
    there = [(row, pair) for row in rows if (pair := pairs[row.name]) is not None]
    differences = [
        pair.accuracy_difference(chosen, level=LEVEL, resamples=DIFFERENCE_RESAMPLES)
        for _, pair in there
    ]
    raw = [difference.interval_p_value for difference in differences]
    found = []
    for (row, pair), difference, p, level in zip(
        there, differences, holm(raw), holm_levels(raw, LEVEL), strict=True
    ):
        gained = gain(difference, level)
        others = pair.accuracy_difference(~chosen, level=LEVEL, resamples=DIFFERENCE_RESAMPLES)
        tried = 1 if run.part == "test" else run.tried
        found.append(
            ComparedGiven(
                **vars(_of_pair(row, pair, chosen)),
                difference=gained,
                level=rounded(level),
                p_value=probability(p),
                uncorrected_p_value=probability(difference.interval_p_value),
                detectable=smallest_found(difference, level),
                others=gain(others),
                state=direction(gained, p, pair.networks, learned, tried),
            )
        )
    return found


def _alone(run: Run, row: PredictedRow, chosen: Chosen) -> GivenRow | None:
    pair = paired_rows(run, row, row)
    return None if pair is None or not chosen.any() else _of_pair(row, pair, chosen)


def _of_pair(row: PredictedRow, pair: Pair, chosen: Chosen) -> GivenRow:
    right = pair.named[0] == pair.labels
    return GivenRow(
        name=row.name,
        title=row.title,
        networks=pair.networks,
        recall=rounded(right[:, chosen].mean()),
        accuracy=rounded(right[:, ~chosen].mean()),
    )
