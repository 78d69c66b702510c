"""The cross-training space: when and how to retrain on cross images, with or without x_i.

Parameters are suggested in the order of the stages that depend on them: the length of the single
phase, then the cross phase. Lengths are multiples of a segment, so that trials share their single
phase even if their cross phases differ.
"""

from __future__ import annotations

from typing import Any

import optuna

from thyroid.recipe import Recipe, override
from tune_spaces.augmentation import length


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """Propose a recipe, starting from `recipe`."""
    fields = order(trial, recipe) | length(trial, recipe)
    return override(recipe, fields | cross_phase(trial, recipe, fields))


def order(trial: optuna.Trial, recipe: Recipe) -> dict[str, Any]:
    """Suggest the order of single and cross images, and the source of x_i.

    A cross phase needs an epoch before it, even in the shortest schedule that `length` proposes.
    """
    from thyroid.networks.build import is_residual  # imports torch, as drivers must not

    schedule = recipe.schedule
    constant = schedule.segment_epochs if schedule.constant_epochs else 0
    shortest = schedule.warmup_epochs + constant + schedule.decay_epochs
    orders = ["retrain", "mixed"] if shortest > 1 else ["mixed"]
    residual = is_residual(recipe.network)
    sources = ["none", "input", "stem", "context"] if residual else ["none"]
    return {
        "cross.order": trial.suggest_categorical("order", orders),
        "network.cross_feature": trial.suggest_categorical("cross_feature", sources),
    }


def cross_phase(trial: optuna.Trial, recipe: Recipe, fields: dict[str, Any]) -> dict[str, Any]:
    """Suggest the cross phase, given the `fields` of `order` and `length`.

    It begins with the decay of the learning rate, or a few segments earlier; only a few, because
    trials do not share the epochs of a cross phase.
    """
    from thyroid.networks.build import is_residual

    if fields["cross.order"] == "mixed":
        return {}
    segment, schedule = recipe.schedule.segment_epochs, recipe.schedule
    constant = fields["schedule.constant_epochs"]
    most = max(0, min(4, constant // segment - 1) // 2 * 2)
    earlier = segment * trial.suggest_int("earlier_segments", 0, most, step=2)
    epochs = schedule.warmup_epochs + constant + schedule.decay_epochs
    superposed = [share for share in (0.0, 0.25, 0.5) if share + recipe.cross.synthetic <= 1]
    ramp = trial.suggest_categorical("ramp", ["constant", "linear", "cosine"])
    changes: dict[str, Any] = {
        "cross.epochs": min(max(1, schedule.decay_epochs + earlier), epochs - 1),
        "cross.share": trial.suggest_float("share", 0.2, 0.8, step=0.1),
        "cross.ramp": ramp,
        "cross.rehearsal": trial.suggest_categorical("rehearsal", [0.25, 0.5, 1.0]),
        "cross.rate": trial.suggest_categorical("rate", [0.25, 0.5, 1.0]),
        "cross.superposed": trial.suggest_categorical("superposed", superposed),
    }
    if ramp != "constant":
        longest = max(1, changes["cross.epochs"] // segment)
        changes["cross.ramp_epochs"] = segment * trial.suggest_int("ramp_segments", 1, longest)
    if is_residual(recipe.network):
        changes["cross.trainable"] = trial.suggest_categorical(
            "trainable", ["all", "last_stages", "head"]
        )
    return changes
