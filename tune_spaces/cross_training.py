"""When and how to retrain on cross images, and whether with x_i.

Lengths are multiples of a segment, so that trials share their single phase, whatever follows it.
"""

from __future__ import annotations

from typing import Any

import optuna

from thyroid.recipe import Recipe, override


def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """One proposal, starting from `recipe`."""
    return override(recipe, proposal(trial, recipe))


def proposal(trial: optuna.Trial, recipe: Recipe) -> dict[str, Any]:
    """The fields that this space decides; `joint` adds those of others."""
    segment, schedule = recipe.schedule.segment_epochs, recipe.schedule
    residual = recipe.network.name.startswith("resnet")
    most = -(-schedule.constant_epochs // segment)
    constant = segment * trial.suggest_int("constant_segments", 1, most)
    fields: dict[str, Any] = {
        "schedule.constant_epochs": constant,
        "cross.order": trial.suggest_categorical("order", ["retrain", "mixed"]),
        "network.cross_feature": trial.suggest_categorical(
            "cross_feature", ["none", "input", "stem", "context"] if residual else ["none"]
        ),
    }
    if fields["cross.order"] == "mixed":
        return fields
    # The phase begins with the decay of the learning rate, or some segments earlier
    earlier = segment * trial.suggest_int("earlier_segments", 0, max(0, constant // segment - 1))
    ramp = trial.suggest_categorical("ramp", ["constant", "linear", "cosine"])
    fields |= {
        "cross.epochs": max(1, schedule.decay_epochs + earlier),
        "cross.share": trial.suggest_float("share", 0.2, 0.8, step=0.1),
        "cross.ramp": ramp,
        "cross.rehearsal": trial.suggest_categorical("rehearsal", [0.25, 0.5, 1.0]),
        "cross.rate": trial.suggest_categorical("rate", [0.25, 0.5, 1.0]),
        "cross.superposed": trial.suggest_categorical("superposed", [0.0, 0.25, 0.5]),
    }
    if ramp != "constant":
        longest = max(1, fields["cross.epochs"] // segment)
        fields["cross.ramp_epochs"] = segment * trial.suggest_int("ramp_segments", 1, longest)
    if residual:
        fields["cross.trainable"] = trial.suggest_categorical(
            "trainable", ["all", "last_stages", "head"]
        )
    return fields
