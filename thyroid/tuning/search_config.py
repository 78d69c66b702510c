"""Settings of a search that are not part of a recipe. Imports no ray."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thyroid.bounds import require_options
from thyroid.errors import InputError
from thyroid.quantities import seconds

OBJECTIVES: dict[str, Literal["maximize", "minimize"]] = {
    "macro_f1": "maximize",
    "cross_recall": "maximize",
    "compute": "minimize",
}
"""Objectives of a search: macro-F1 of the validation images of a trial's folds together, each
predicted by a network that was not trained on it, and share of their cross images whose primary
finding is recognised, both means over the trial's seeds; seconds of all stages that the trial
needs, as if nothing were shared."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How long to search, and how trials are compared and stopped early."""

    trials: int = 16
    """Recipes to try, earlier ones of this run included."""
    objectives: tuple[str, ...] = ("macro_f1",)
    """Optimised values, one or several of macro_f1, cross_recall (of validation images that show
    several diseases) and compute (stage-seconds); the best trial is chosen by the first. Trials
    are stopped early by macro_f1."""
    first_folds: int = 2
    """Folds in which each trial is trained. At the end the best trials by macro-F1, where that is
    the first objective, and the recipe that the search started from are trained in further folds,
    while they are too close to call."""
    seeds: int = 1
    """Trainings of a trial in each fold, whose mean is compared."""
    max_seeds: int | None = None
    """Trainings in each fold, after the last fold, of recipes that are still too close to call;
    default: 1, or 3 where there is one split."""
    seed: int = 0
    """Seed of the proposals."""
    concurrent: int | None = None
    """Trials at once; default: as many as there are processors or GPUs for."""
    time_budget: str | None = None
    """Such as 90s, 30m or 2h, after which no further trial runs; the same command goes on, for as
    long again. What is chosen is trained afterwards."""
    gpu_hours: float | None = None
    """Hours times GPUs that stages of the search may hold, after which no further trial runs;
    interruptions included, so that the same command goes on where they are raised. A stage of
    several workers counts while it waits for room, too. What is chosen is trained afterwards,
    beyond them."""
    grace_epochs: int = 8
    """ASHA stops no trial before this epoch."""
    reduction_factor: float = 3.0
    """ASHA lets one in so many trials pass each rung."""
    gpus_per_worker: float = 0.0
    """Share of a GPU per worker, for instance 0.25 or 1."""
    storage: str | None = None
    """URL of a database for the study, such as sqlite:///studies.db; default: the file
    RUN/study.journal. optuna-dashboard opens both."""
    warm_start: tuple[Path | str, ...] = ()
    """Runs of earlier searches, whose trials count where the store has their stages."""

    def first_level(self, folds: int) -> tuple[int, int]:
        """Return the seeds and folds in which each trial is trained, of so many folds."""
        return self.seeds, min(self.first_folds, folds)

    def race_levels(self, folds: int) -> list[tuple[int, int]]:
        """Return the seeds and folds of the final race, level by level: more folds, then seeds."""
        seeds, first = self.first_level(folds)
        default = 1 if folds > 1 else 3
        most = max(seeds, default if self.max_seeds is None else self.max_seeds)
        further = [(seeds, number) for number in range(first, folds + 1)]
        return further + [(number, folds) for number in range(seeds + 1, most + 1)]

    @property
    def time_budget_s(self) -> float | None:
        """Seconds of `time_budget`."""
        return None if self.time_budget is None else seconds(self.time_budget, "--time-budget")

    def __post_init__(self) -> None:
        _ = self.time_budget_s  # complains
        require_options(self)
        unknown = [name for name in self.objectives if name not in OBJECTIVES]
        if unknown or not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise InputError(
                f"--objectives {','.join(self.objectives)} is invalid: name each once, of "
                f"{', '.join(OBJECTIVES)}."
            )
