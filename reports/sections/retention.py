"""Retention: accuracy of the same single networks before and after the cross phase."""

from __future__ import annotations

from dataclasses import dataclass

from reports.estimates import ENOUGH_NETWORKS, LEVEL, RESAMPLES, Estimate, gain, rounded
from reports.paired_predictions import paired
from reports.run import Run


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
    """Accuracy before and after the cross phase, mean over networks."""

    part: str | None
    """test | validation"""
    networks: int
    folds: int
    tried: int
    """Number of recipes among which one was chosen by its result on these images."""
    enough_networks: int
    level: float
    resamples: int
    rows: list[ChangedAccuracy]


def retention_info(run: Run) -> Retention | None:
    """Accuracy on single and on cross images before and after the cross phase.

    None if there are no predictions from before a cross phase.

    Raises
    ------
    InputError
        When the predictions from before the cross phase are of different images.
    """
    if run.part is None:
        return None
    pair = paired(
        run,
        run.before_cross[run.part],
        run.networks_before_cross,
        f"{run.folder / 'predictions'}: {run.part} images before and after the cross phase",
    )
    if pair is None:
        return None
    rows = []
    for name, chosen in (("single", ~pair.is_cross), ("cross", pair.is_cross)):
        if not chosen.any():
            continue
        change = pair.accuracy_difference(chosen, level=LEVEL, resamples=RESAMPLES)
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
        networks=pair.networks,
        folds=pair.folds,
        tried=run.tried,
        enough_networks=ENOUGH_NETWORKS,
        level=LEVEL,
        resamples=RESAMPLES,
        rows=rows,
    )
