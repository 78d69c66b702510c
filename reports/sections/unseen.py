"""How well networks recognise a combination of findings that training never saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.estimates import (
    ENOUGH_NETWORKS,
    LEVEL,
    Estimate,
    PairedDifference,
    gain,
    paired_differences,
    rounded,
)
from reports.language import later
from reports.paired_predictions import Pair, paired_rows
from reports.run import PredictedRow, Run
from reports.sections.results import Results

Chosen = npt.NDArray[np.bool_]
DIFFERENCE_RESAMPLES = 10_000
"""Resamples for differences; many, because intervals at Holm's levels end far out in the tails."""
NEVER = "unseen-never"
TITLES = (later("never given"), later("superposed"), later("real images of it"))
"""Titles of rows that are not generators."""


@dataclass(frozen=True, kw_only=True)
class GivenRow:
    """Results of one way to give the combination to training, or of never giving it."""

    name: str
    title: str
    networks: int
    recall: float
    """Share of the combination's test images whose primary finding is recognised, mean over
    networks."""
    accuracy: float
    """The same share for all other test images."""


@dataclass(frozen=True, kw_only=True)
class ComparedGiven(PairedDifference, GivenRow):
    """The same, compared with never giving the combination; `difference` is that of the recall."""

    others: Estimate
    """Difference in accuracy on all other test images, at the common level."""


@dataclass(frozen=True, kw_only=True)
class Unseen:
    combination: str
    """Findings, joined by `;`, the primary one first."""
    rows: int
    waiting: int
    """Number of rows without predictions."""
    part: str | None
    images: int | None
    """Number of images of the part that show the combination."""
    patients: int | None
    level: float
    enough_networks: int
    resamples: int
    never: GivenRow | None
    """None as long as it has no predictions."""
    given: list[ComparedGiven]


def unseen_info(run: Run, results: Results | None) -> Unseen | None:
    """The recall of an unseen combination; None if the run left no combination out.

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
    """Differences of all rows from never giving the combination; they are one family."""
    pairs = {row.name: paired_rows(run, row, never) for row in rows}
    there = [(row, pair) for row in rows if (pair := pairs[row.name]) is not None]
    differences = [
        pair.accuracy_difference(chosen, level=LEVEL, resamples=DIFFERENCE_RESAMPLES)
        for _, pair in there
    ]
    networks = [pair.networks for _, pair in there]
    family = paired_differences(differences, networks, [run.tried] * len(there), learned)
    found = []
    for (row, pair), to in zip(there, family, strict=True):
        others = pair.accuracy_difference(~chosen, level=LEVEL, resamples=DIFFERENCE_RESAMPLES)
        of_pair = _of_pair(row, pair, chosen)
        found.append(ComparedGiven(**vars(of_pair), **vars(to), others=gain(others)))
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
