"""How long to search, and how trials are compared: what is no part of a recipe. Imports no ray."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from thyroid.errors import InputError

OBJECTIVES: dict[str, Literal["maximize", "minimize"]] = {
    "macro_f1": "maximize",
    "cross_recall": "maximize",
    "compute": "minimize",
}
"""What a search may optimise, over the seeds of a trial: mean validation macro-F1 at the last
epoch; mean share of the validation part's cross images whose primary finding is recognised; and
the seconds of all stages that the trial needs, as if nothing were shared."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How long to search, and how trials are compared and stopped early."""

    trials: int = 16
    """Trials in all, those of earlier runs of the same command included."""
    objectives: tuple[str, ...] = ("macro_f1",)
    """What is optimised; trials are stopped early, and the best one chosen, by the first."""
    seeds: int = 1
    """Trainings per trial, whose mean is compared."""
    max_seeds: int = 1
    """Trainings that a trial may get at the end, while it may be the best one."""
    seed: int = 0
    """Of the proposals."""
    concurrent: int | None = None
    """Trials at once; None: as many as there are processors or GPUs for."""
    time_budget_s: float | None = None
    """Seconds after which no further trial starts and running ones stop; of each command anew."""
    gpu_hours: float | None = None
    """The same, of GPUs times the hours that stages have held them; of the search in all."""
    grace_epochs: int = 8
    """ASHA stops no trial before this epoch."""
    reduction_factor: float = 3.0
    """ASHA lets one in so many trials pass each rung."""
    gpus_per_worker: float = 0.0
    """Share of a GPU that a stage of one worker takes."""
    storage: str | None = None
    """URL of the database that holds the study; None: a journal in the run folder."""
    warm_start: tuple[str, ...] = ()
    """Runs whose trials count, as far as the store has their stages."""

    def __post_init__(self) -> None:
        if self.gpu_hours is not None and not 0 < self.gpu_hours < math.inf:
            raise InputError(f"--gpu-hours is {self.gpu_hours} but must be above zero.")
        bounds = {
            "trials": (1, 10**6),
            "seeds": (1, 1000),
            "max_seeds": (1, 1000),
            "grace_epochs": (1, 10**6),
            "gpus_per_worker": (0, 1),
        }
        for name, (least, most) in bounds.items():
            if not least <= getattr(self, name) <= most:
                option = f"--{name.replace('_', '-')}"
                raise InputError(
                    f"{option} is {getattr(self, name)} but must be from {least} to {most}."
                )
        unknown = [name for name in self.objectives if name not in OBJECTIVES]
        if unknown or not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise InputError(
                f"--objectives {','.join(self.objectives)} cannot be: name each once, of "
                f"{', '.join(OBJECTIVES)}."
            )
