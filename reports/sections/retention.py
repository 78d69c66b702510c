"""What the cross phase changed: the same networks at its beginning and at its end."""

from __future__ import annotations

from typing import Any

from reports.estimates import ENOUGH_SEEDS, LEVEL, RESAMPLES, gain, rounded
from reports.paired_predictions import paired
from reports.run import Run
from thyroid.evaluate.paired import accuracy_difference


def retention_info(run: Run) -> dict[str, Any] | None:
    """Accuracy on single and on cross images before and after the cross phase.

    On test images, or on validation images where there is no test part. None where no network was
    predicted with before a cross phase.

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
        right = {
            when: (named == pair.labels)[:, chosen].mean()
            for when, named in (("before", before), ("after", after))
        }
        rows.append(
            {"name": name, "images": int(chosen.sum())}
            | {when: rounded(share) for when, share in right.items()}
            | {"change": gain(change), "p_value": change.p_value}
        )
    return {
        "part": run.part,
        "seeds": len(pair.seeds),
        "tried": run.tried,
        "enough_seeds": ENOUGH_SEEDS,
        "level": LEVEL,
        "resamples": RESAMPLES,
        "rows": rows,
    }
