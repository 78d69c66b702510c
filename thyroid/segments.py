"""The segments of a classifier's training: their epochs, learning rates, phases and shares.

Imports no torch and no ray.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from thyroid.errors import InputError
from thyroid.recipe import CrossConfig, Recipe, ScheduleConfig
from thyroid.stage_config import CrossPhase, Ramp, SyntheticShare


def segment_epochs(
    schedule: ScheduleConfig, cross: CrossConfig | None = None, frozen: int = 0
) -> Iterator[tuple[int, int, Ramp]]:
    """Cut a schedule into segments: (first epoch, epochs, learning-rate factor).

    A segment never crosses from one part of the schedule to the next, nor from the single to the
    cross phase, nor out of the first `frozen` epochs, in which pretrained layers are frozen. The
    constant part's segments do not say how long it is, so that runs of different length share them.
    """
    warmup, constant, decay = (
        schedule.warmup_epochs,
        schedule.constant_epochs,
        schedule.decay_epochs,
    )
    parts = [
        (0, warmup, Ramp(epochs=max(warmup, 1), start=0.0)),
        (warmup, constant, Ramp()),
        (
            warmup + constant,
            decay,
            Ramp(first_epoch=warmup + constant, epochs=max(decay, 1), stop=0.0),
        ),
    ]
    retrains = cross is not None and cross.order == "retrain"
    switch = schedule.epochs - cross.epochs if cross is not None and retrains else schedule.epochs
    for start, epochs, rate in parts:
        within = {cut for cut in (switch, frozen) if start < cut < start + epochs}
        for begin, end in pairwise([start, *sorted(within), start + epochs]):
            factor = cross.rate if cross is not None and begin >= switch else 1.0
            slowed = dataclasses.replace(rate, start=factor * rate.start, stop=factor * rate.stop)
            for first, count in pieces(begin, end - begin, schedule.segment_epochs):
                yield first, count, slowed


def pieces(first: int, epochs: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut `epochs` epochs from `first` into parts of at most `most`: (first epoch, epochs)."""
    for done in range(0, epochs, most):
        yield first + done, min(most, epochs - done)


def phase_of(recipe: Recipe, epoch: int) -> Literal["mixed", "single", "cross"]:
    """Phase of the segment that begins with this epoch."""
    if recipe.cross.order == "mixed":
        return "mixed"
    retrains = recipe.cross.order == "retrain"
    return "cross" if retrains and epoch >= switch_epoch(recipe) else "single"


def switch_epoch(recipe: Recipe) -> int:
    """The first epoch (from 0) of the cross phase.

    Raises
    ------
    InputError
        When the single phase before it has no epoch.
    """
    first = recipe.schedule.epochs - recipe.cross.epochs
    if first < 1:
        raise InputError(
            f"cross.epochs {recipe.cross.epochs} leaves nothing of the schedule's "
            f"{recipe.schedule.epochs} epochs for the single phase: lower cross.epochs."
        )
    return first


def pretrained_rate(recipe: Recipe, epoch: int) -> float:
    """Factor on the rate of layers that came with weights, in the segment that begins here."""
    if recipe.network.weights is None:
        return 1.0
    tuning = recipe.fine_tuning
    return 0.0 if epoch < tuning.frozen_epochs else tuning.rate


def rates(recipe: Recipe, epoch: int) -> Literal["equal", "graded"]:
    """Say how the factor on the rate depends on depth: with a factor of 0 or 1 in no way, so that
    such segments have one key.
    """
    return "equal" if pretrained_rate(recipe, epoch) in (0, 1) else recipe.fine_tuning.rates


def statistics(recipe: Recipe, epoch: int) -> Literal["learned", "kept"]:
    """Batch statistics of layers that came with weights; frozen layers keep theirs in any case, so
    that segments of frozen epochs have one key.
    """
    tuned = recipe.network.weights is not None and pretrained_rate(recipe, epoch) != 0
    return recipe.fine_tuning.statistics if tuned else "learned"


def cross_phase(recipe: Recipe) -> CrossPhase:
    cross = recipe.cross
    return CrossPhase(
        share=Ramp(
            first_epoch=switch_epoch(recipe),
            epochs=1 if cross.ramp == "constant" else cross.ramp_epochs,
            start=cross.share if cross.ramp == "constant" else 0.0,
            stop=cross.share,
            shape="cosine" if cross.ramp == "cosine" else "linear",
        ),
        rehearsal=cross.rehearsal,
        superposed=cross.superposed,
        crosses=recipe.synthesis.crosses if cross.superposed else "none",
        trainable=cross.trainable,
    )


def synthetic_share(recipe: Recipe, epoch: int) -> SyntheticShare | None:
    """Synthetic images of the segment that begins with this epoch."""
    mixing, schedule, phase = recipe.mixing, recipe.schedule, phase_of(recipe, epoch)
    decays = epoch >= schedule.warmup_epochs + schedule.constant_epochs
    share, crosses = mixing.final_share if decays else mixing.synthetic_share, mixing.cross_share
    if mixing.dose is not None:
        share, crosses = mixing.dose, None
        if phase == "cross" and share + recipe.cross.superposed > 1:
            raise InputError(
                f"mixing.dose {share} and cross.superposed {recipe.cross.superposed} are shares of "
                "the cross images: together they must not exceed 1."
            )
    elif phase == "single":
        share *= 1 - (crosses or 0.0)
    elif phase == "cross":
        share = recipe.cross.synthetic
    if not share:
        return None
    return SyntheticShare(
        share=share,
        class_exponent=mixing.class_exponent,
        cross_share={"mixed": crosses, "single": 0.0, "cross": 1.0}[phase],
        label_filter_weight=mixing.label_filter_weight,
        of_all=phase == "cross" and mixing.dose is not None,
    )
