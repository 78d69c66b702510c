"""Retention: accuracy of the same networks before and after the cross phase."""

from __future__ import annotations

from dataclasses import dataclass

from reports.estimates import ENOUGH_SEEDS, LEVEL, RESAMPLES, Estimate, gain, rounded
from reports.paired_predictions import paired
from reports.run import Run
from thyroid.evaluate.paired import accuracy_difference


@dataclass(frozen=True, kw_only=True)
class ChangedAccuracy:
    name: str
    """single | cross"""
    images: int
    before: float
    after: float
    change: Estimate
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Accuracy before and after the cross phase, mean over seeds."""

    part: str | None
    """test | validation"""
    seeds: int
    tried: int
    """Recipes that these images chose among."""
    enough_seeds: int
    level: float
    resamples: int
    rows: list[ChangedAccuracy]


def retention_info(run: Run) -> Retention | None:
    """Accuracy on single and on cross images before and after the cross phase.

    None where there are no predictions from before a cross phase.

    Raises
    ------
    InputError
        When other images were predicted before.
    """
    if run.part is None:
        return None
    pair = paired(
        run.predictions[run.part],
        run.before_cross[run.part],
        f"{run.folder / 'predictions'}: {run.part} images before and after the cross phase",
    )
    if pair is None:
        return None
    after, before = pair.named
    rows = []
    for name, chosen in (("single", ~pair.is_cross), ("cross", pair.is_cross)):
        if not chosen.any():
            continue
        change = accuracy_difference(
            pair.labels[chosen],
            after[:, chosen],
            before[:, chosen],
            pair.patients[chosen],
            level=LEVEL,
            resamples=RESAMPLES,
        )
        own, earlier = (rounded((named == pair.labels)[:, chosen].mean()) for named in pair.named)
        rows.append(
            ChangedAccuracy(
                name=name,
                images=int(chosen.sum()),
                before=earlier,
                after=own,
                change=gain(change),
                p_value=change.p_value,
            )
        )
    return Retention(
        part=run.part,
        seeds=len(pair.seeds),
        tried=run.tried,
        enough_seeds=ENOUGH_SEEDS,
        level=LEVEL,
        resamples=RESAMPLES,
        rows=rows,
    )
