"""What the cross phase changed: the same networks at its beginning and at its end."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.estimates import ENOUGH_SEEDS, LEVEL, RESAMPLES, gain, rounded
from reports.run import Run
from thyroid.errors import InputError
from thyroid.evaluate.paired import accuracy_difference


def forgetting_info(run: Run) -> dict[str, Any] | None:
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
    after, before = run.predictions[run.part], run.before_cross[run.part]
    seeds = [seed for seed in after if seed in before]
    if not seeds:
        return None
    first = after[seeds[0]]
    if not first.images.equals(before[seeds[0]].images):
        raise InputError(
            f"{run.folder / 'predictions'}: {run.part} images before and after the cross phase "
            "differ: run the command that made them again."
        )
    labels, patients = first.labels, first.images["patient_id"].to_numpy(dtype=str)
    named = {
        name: np.stack([predicted[seed].probabilities.argmax(axis=-1) for seed in seeds])
        for name, predicted in (("before", before), ("after", after))
    }  # (S, N)
    rows = []
    for name, chosen in (("single", ~first.is_cross), ("cross", first.is_cross)):
        if not chosen.any():
            continue
        change = accuracy_difference(
            labels[chosen],
            named["after"][:, chosen],
            named["before"][:, chosen],
            patients[chosen],
            level=LEVEL,
            resamples=RESAMPLES,
        )
        right = {when: (n == labels)[:, chosen].mean() for when, n in named.items()}
        rows.append(
            {"name": name, "images": int(chosen.sum())}
            | {when: rounded(share) for when, share in right.items()}
            | {"change": gain(change), "p_value": change.p_value}
        )
    return {
        "part": run.part,
        "seeds": len(seeds),
        "enough_seeds": ENOUGH_SEEDS,
        "level": LEVEL,
        "resamples": RESAMPLES,
        "rows": rows,
    }
