"""The plan that `--dry-run` prints: the resolved recipe, and its stages with their state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from thyroid.configuration import to_json

if TYPE_CHECKING:
    from thyroid.recipe import Recipe
    from thyroid.stage import Stage
    from thyroid.storage.store import Store


def tell_plan(
    recipe: Recipe, needs: Mapping[str, Sequence[Stage]], store: Store, *, shared: bool = False
) -> None:
    """Print the recipe and each stage once: key, kind, state, and the keys of its inputs.

    Parameters
    ----------
    needs : the last stages of each training, by the training's name, such as a row and its seed
    shared : also print how many trainings share each stage
    """
    print(json.dumps(to_json(recipe), indent=2))
    stages: dict[str, Stage] = {}
    users: dict[str, set[str]] = {}
    for user, finals in needs.items():
        for stage in (stage for final in finals for stage in final.lineage()):
            stages.setdefault(stage.key, stage)
            users.setdefault(stage.key, set()).add(user)
    for key, stage in stages.items():
        state = "in the store" if key in store else "to do"
        by = f"x{len(users[key]):<5}" if shared else ""
        inputs = " ".join(upstream.key[:8] for upstream in stage.inputs.values())
        print(f"{key[:8]}  {stage.kind:<11}{state:<14}{by}{inputs}")
    if shared:
        steps = sum(map(len, users.values()))
        print(f"{len(needs)} trainings need {steps} stages: {len(stages)}, each computed once")
