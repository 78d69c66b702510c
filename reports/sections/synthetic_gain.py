"""Synthetic gain: the recipe with synthetic images, compared with the same recipe without them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.estimates import LEVEL, RESAMPLES, Estimate, gain, rounded, smallest_found
from reports.paired_predictions import paired
from reports.run import Run
from thyroid.configuration import from_json
from thyroid.evaluate.metrics import Ints, macro_f1
from thyroid.recipe import Recipe
from thyroid.run_files.config_json import RunConfig


@dataclass(frozen=True, kw_only=True)
class NetworkGain:
    """Macro-F1 of two networks or, out of fold, of the networks of one seed."""

    seed: int
    fold: int | None
    with_synthetic: float
    without_synthetic: float
    difference: float


@dataclass(frozen=True, kw_only=True)
class EnsembleGain:
    """Macro-F1 of the ensemble with synthetic images and of the one without them."""

    with_synthetic: float
    without_synthetic: float
    difference: Estimate


@dataclass(frozen=True, kw_only=True)
class SyntheticGain:
    """Macro-F1 of single networks with and without synthetic images, paired by seed and fold."""

    part: str
    """test | validation"""
    images: int
    patients: int
    networks: int
    folds: int
    tried: int
    """Number of recipes among which one was chosen by its result on these images."""
    level: float
    resamples: int
    with_synthetic: float
    """Mean over networks."""
    without_synthetic: float
    difference: Estimate
    """Macro-F1 with synthetic images minus macro-F1 without."""
    p_value: float
    detectable: float
    """Smallest true difference that would have been shown with a power of 80 %."""
    by_network: list[NetworkGain]
    ensembles: EnsembleGain | None
    """None if the networks are not an ensemble: with one split, or without a test part."""


def uses_synthetic(config: RunConfig) -> bool:
    """Return whether the recipe of config.json trains on synthetic images."""
    return from_json(Recipe, config.recipe, known_only=True).synthetic


def synthetic_gain_info(run: Run) -> SyntheticGain | None:
    """The difference in macro-F1 that synthetic images make.

    None if the recipe has no synthetic images, or until networks of both kinds have predicted.

    Raises
    ------
    InputError
        When networks with and without synthetic images have predicted different images.
    """
    part = run.part or "test"
    if not uses_synthetic(run.config):
        return None
    pair = paired(
        run,
        run.without_synthetic[part],
        run.networks_without_synthetic,
        f"{run.folder / 'predictions'}: {part} images with and without synthetic training images",
    )
    if pair is None:
        return None
    difference = pair.macro_f1_difference(level=LEVEL, resamples=RESAMPLES)

    def reached(named: Ints) -> float:
        return rounded(macro_f1(pair.labels, named, len(run.classes)))

    own, other = ([reached(row) for row in named] for named in pair.named)
    together = [reached(named) for named in pair.together]
    return SyntheticGain(
        part=part,
        images=len(pair.labels),
        patients=len(np.unique(pair.patients)),
        networks=pair.networks,
        folds=pair.folds,
        tried=run.tried,
        level=LEVEL,
        resamples=RESAMPLES,
        with_synthetic=rounded(np.mean(own)),
        without_synthetic=rounded(np.mean(other)),
        difference=gain(difference),
        p_value=difference.p_value,
        detectable=smallest_found(difference),
        by_network=[
            NetworkGain(
                seed=seed,
                fold=fold,
                with_synthetic=one,
                without_synthetic=two,
                difference=rounded(one - two),
            )
            for (seed, fold), one, two in zip(pair.names, own, other, strict=True)
        ],
        ensembles=EnsembleGain(
            with_synthetic=together[0],
            without_synthetic=together[1],
            difference=gain(
                pair.macro_f1_difference(level=LEVEL, resamples=RESAMPLES, ensembles=True)
            ),
        )
        if pair.of_ensembles
        else None,
    )
