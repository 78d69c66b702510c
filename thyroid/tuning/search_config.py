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
"""Objectives of a search. macro_f1: of the validation images of all of a trial's folds together,
each predicted by a network that was not trained on it. cross_recall: share of the cross images
among them whose primary finding is recognised. Both are means over the trial's seeds. compute:
seconds of all stages that the trial needs, as if no stage were shared."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How long to search, and how trials are compared and stopped early."""

    trials: int = 16
    """Recipes to try, including those that this run has tried before."""
    objectives: tuple[str, ...] = ("macro_f1",)
    """Values to optimise: one or several of macro_f1, cross_recall (on validation images that show
    several diseases) and compute (stage-seconds). The best trial is chosen by the first. Trials are
    stopped early by macro_f1."""
    first_folds: int = 2
    """Number of folds in which each trial is trained. If macro_f1 is the first objective, the best
    trials and the recipe that the search started from are trained in further folds at the end, as
    long as they are too close to call."""
    seeds: int = 1
    """Trainings of each trial per fold; their mean is compared."""
    max_seeds: int | None = None
    """Most trainings per fold for recipes that are too close to call after all folds; default: 1,
    or 3 with a single split."""
    seed: int = 0
    """Seed of the proposals."""
    concurrent: int | None = None
    """Trials that run at once; default: as many as the processors or GPUs allow, and an eighth more
    where they allow eight or more, because trials wait for the stages that they share."""
    time_budget: str | None = None
    """Time, such as 90s, 30m or 2h, after which no further trial runs. Running the same command
    again continues for the same time. The chosen recipe is trained afterwards."""
    gpu_hours: float | None = None
    """GPU-hours that stages of the search may use; after that, no further trial runs. Hours before
    an interruption count, so the same command continues only with a larger number. A stage of
    several workers also counts while it waits for room. The chosen recipe is trained afterwards,
    and does not count."""
    grace_epochs: int = 8
    """ASHA stops no trial before this epoch."""
    reduction_factor: float = 3.0
    """ASHA lets one in this many trials pass each rung."""
    gpus_per_worker: float = 0.0
    """Share of a GPU per worker, for instance 0.25 or 1."""
    storage: str | None = None
    """URL of a database for the study, such as sqlite:///studies.db; default: the file
    RUN/study.journal. optuna-dashboard opens both."""
    warm_start: tuple[Path | str, ...] = ()
    """Runs of earlier searches; the search begins with those of their trials whose stages are in
    the store."""

    def first_level(self, folds: int) -> tuple[int, int]:
        """Return the number of seeds and of folds in which each trial is trained.

        Parameters
        ----------
        folds : number of all folds
        """
        return self.seeds, min(self.first_folds, folds)

    def race_levels(self, folds: int) -> list[tuple[int, int]]:
        """Return the numbers of seeds and folds of each level of the final race: first the folds
        increase, then the seeds.
        """
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
        _ = self.time_budget_s  # raises
        require_options(self)
        unknown = [name for name in self.objectives if name not in OBJECTIVES]
        if unknown or not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise InputError(
                f"--objectives {','.join(self.objectives)} is invalid: choose from "
                f"{', '.join(OBJECTIVES)}, each at most once."
            )
