"""What synthetic images are worth: the recipe with them against the same recipe without."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.estimates import LEVEL, RESAMPLES, gain, rounded
from reports.paired_predictions import paired
from reports.run import Run
from thyroid.configuration import from_json
from thyroid.evaluate.metrics import macro_f1
from thyroid.evaluate.paired import macro_f1_difference
from thyroid.recipe import Recipe


def uses_synthetic(config: dict[str, Any]) -> bool:
    """Whether the run's recipe, as config.json has it, trains on synthetic images."""
    return from_json(Recipe, config.get("recipe", {})).synthetic


def synthetic_gain_info(run: Run) -> dict[str, Any] | None:
    """The difference in macro-F1 that synthetic images make, of the seeds that both were run with.

    On test images, or on validation images where there is no test part. None where the recipe has
    no synthetic images, or where not both have been predicted yet.

    Raises
    ------
    InputError
        When the two have predicted different images.
    """
    part = run.part or "test"
    if not uses_synthetic(run.config):
        return None
    pair = paired(
        run.predictions[part],
        run.without_synthetic[part],
        f"{run.folder / 'predictions'}: {part} images with and without synthetic training images",
    )
    if pair is None:
        return None
    difference = macro_f1_difference(
        pair.labels,
        *pair.named,
        pair.patients,
        classes=len(run.classes),
        level=LEVEL,
        resamples=RESAMPLES,
    )
    reached = [
        [macro_f1(pair.labels, row, len(run.classes)) for row in named] for named in pair.named
    ]
    by_seed = [
        {"seed": seed, "with": own, "without": other, "difference": own - other}
        for seed, own, other in zip(pair.seeds, *reached, strict=True)
    ]
    return {
        "part": part,
        "images": len(pair.labels),
        "patients": len(np.unique(pair.patients)),
        "seeds": len(pair.seeds),
        "tried": run.tried,
        "level": LEVEL,
        "resamples": RESAMPLES,
        "with": rounded(np.mean(reached[0])),
        "without": rounded(np.mean(reached[1])),
        "difference": gain(difference),
        "p_value": difference.p_value,
        "by_seed": [
            {name: rounded(v) if name != "seed" else v for name, v in row.items()}
            for row in by_seed
        ],
    }
