"""Synthetic gain: the recipe with synthetic images against the same recipe without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.estimates import LEVEL, RESAMPLES, Estimate, gain, rounded
from reports.paired_predictions import paired
from reports.run import Run
from thyroid.configuration import from_json
from thyroid.evaluate.metrics import macro_f1
from thyroid.evaluate.paired import macro_f1_difference
from thyroid.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class SeedGain:
    seed: int
    with_synthetic: float
    without_synthetic: float
    difference: float


@dataclass(frozen=True, kw_only=True)
class SyntheticGain:
    """Macro-F1 with and without synthetic images, of the seeds that both have."""

    part: str
    """test | validation"""
    images: int
    patients: int
    seeds: int
    tried: int
    """Recipes that these images chose among."""
    level: float
    resamples: int
    with_synthetic: float
    """Mean over seeds."""
    without_synthetic: float
    difference: Estimate
    """Macro-F1 with synthetic images minus macro-F1 without."""
    p_value: float
    by_seed: list[SeedGain]


def uses_synthetic(config: dict[str, Any]) -> bool:
    """Return whether the recipe of config.json trains on synthetic images."""
    return from_json(Recipe, config.get("recipe", {})).synthetic


def synthetic_gain_info(run: Run) -> SyntheticGain | None:
    """The difference in macro-F1 that synthetic images make.

    None where the recipe has no synthetic images, or where not both have been predicted yet.

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
    return SyntheticGain(
        part=part,
        images=len(pair.labels),
        patients=len(np.unique(pair.patients)),
        seeds=len(pair.seeds),
        tried=run.tried,
        level=LEVEL,
        resamples=RESAMPLES,
        with_synthetic=rounded(np.mean(reached[0])),
        without_synthetic=rounded(np.mean(reached[1])),
        difference=gain(difference),
        p_value=difference.p_value,
        by_seed=[
            SeedGain(
                seed=seed,
                with_synthetic=rounded(own),
                without_synthetic=rounded(other),
                difference=rounded(own - other),
            )
            for seed, own, other in zip(pair.seeds, *reached, strict=True)
        ],
    )
