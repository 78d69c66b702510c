"""The search: outcomes of the trials, the best trials, and the stages that they shared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reports.run import Run
from reports.sections.front import Front, front_info
from reports.sections.importance import Importance, importance_info
from reports.sections.provenance import without_folder
from reports.sections.search_space import SearchSpace, search_space_info
from thyroid.run_files.race_json import RacedRecipe
from thyroid.run_files.trials_csv import Trial

TOP = 10
"""Number of trials in the table of the best."""
LISTED = 200
"""Maximum number of trials in the table of all."""
NAMED = 40
"""Maximum number of trials whose numbers are listed for one reason."""
REASONS = 20
"""Maximum number of reasons that are listed, the most frequent first."""


@dataclass(frozen=True, kw_only=True)
class HistoryPoint:
    number: int
    state: str
    """complete | pruned | failed"""
    macro_f1: float | None
    best_so_far: float | None
    """Highest macro-F1 of the complete trials up to this one."""


@dataclass(frozen=True, kw_only=True)
class EndReason:
    reason: str
    numbers: list[int]
    """The first trials that ended for this reason."""
    more: int


@dataclass(frozen=True, kw_only=True)
class Search:
    space: str
    trials: int
    """Number of requested trials."""
    folds: int
    """Number of folds in which each trial was trained."""
    seeds: int
    """Number of seeds in each fold."""
    objectives: list[str]
    ended: int
    """Number of trials of this search that have ended."""
    warm_started: int
    """Number of trials of earlier runs with which the search started."""
    states: dict[str, int]
    """Number of the ended trials by state."""
    seconds: float
    reused_stages: int
    computed_stages: int
    needed_stages: int
    """reused + computed"""
    parameters: list[str]
    """Names of the searched parameters."""
    history: list[HistoryPoint]
    importance: Importance
    places: SearchSpace | None
    all: list[Trial]
    """The chosen trial and the best ones, in ascending order of number."""
    listed: int
    """Length of `all`."""
    trials_in_all: int
    best: Trial | None
    """The chosen trial; if none is chosen, the best one."""
    top: list[Trial]
    """The chosen trial, and the best of the rest."""
    chosen: int | None
    """Number of the chosen trial; None before the choice, or if the given recipe stays."""
    race: list[RacedRecipe]
    """The recipes that were compared at the end, the chosen one first; empty if there was no
    race."""
    front: Front | None
    stopped: list[EndReason]
    failed: list[EndReason]
    more_reasons: dict[str, int]
    """stopped, failed -> number of reasons that are not listed."""


def search_info(run: Run) -> Search | None:
    """The search; None if the run searched nothing."""
    planned = run.config.search
    if planned is None:
        return None
    objectives = list(planned.objectives)
    trials = run.trials
    parameters = list(dict.fromkeys(name for trial in trials for name in trial.parameters))
    complete = [t for t in trials if t.state == "complete" and t.macro_f1 is not None]
    ranked = sorted(complete, key=_rank)
    chosen = next((t.number for t in complete if t.chosen), None)
    listed = _listed(trials, chosen)
    importance = importance_info(complete, parameters)
    first = [row.name for row in importance.rows]
    axes = [*first, *(name for name in parameters if name not in first)]
    stopped = _reasons([t for t in trials if t.state == "pruned"])
    failed = _reasons([t for t in trials if t.state == "failed"])
    own = [t for t in trials if not t.reason.startswith("warm start from")]
    reused = sum(t.reused_stages or 0 for t in own)
    computed = sum(t.computed_stages or 0 for t in own)
    return Search(
        space=without_folder(planned.space),
        trials=planned.trials,
        folds=min(planned.first_folds, run.folds),
        seeds=planned.seeds,
        objectives=objectives,
        ended=len(own),
        warm_started=len(trials) - len(own),
        states=dict(sorted(Counter(t.state for t in own).items())),
        seconds=sum(t.seconds or 0 for t in trials),
        reused_stages=reused,
        computed_stages=computed,
        needed_stages=reused + computed,
        parameters=parameters,
        history=_history(trials),
        importance=importance,
        places=search_space_info(trials, axes, chosen),
        all=listed,
        listed=len(listed),
        trials_in_all=len(trials),
        best=ranked[0] if ranked else None,
        top=ranked[:TOP],
        chosen=chosen,
        race=run.race,
        front=front_info(ranked, objectives, chosen),
        stopped=stopped[:REASONS],
        failed=failed[:REASONS],
        more_reasons={"stopped": len(stopped[REASONS:]), "failed": len(failed[REASONS:])},
    )


def _history(trials: Sequence[Trial]) -> list[HistoryPoint]:
    best, history = None, []
    for trial in trials:
        value = trial.macro_f1
        if trial.state == "complete" and value is not None:
            best = value if best is None else max(best, value)
        history.append(
            HistoryPoint(number=trial.number, state=trial.state, macro_f1=value, best_so_far=best)
        )
    return history


def _rank(trial: Trial) -> tuple[bool, float, int]:
    """Sort key: the chosen trial first, then the best ones."""
    return not trial.chosen, -(trial.macro_f1 or 0.0), trial.number


def _listed(trials: Sequence[Trial], chosen: int | None) -> list[Trial]:
    def rank(trial: Trial) -> tuple[bool, bool, float, int]:
        value = trial.macro_f1
        return trial.number != chosen, value is None, -(value or 0), trial.number

    return sorted(sorted(trials, key=rank)[:LISTED], key=lambda t: t.number)


def _reasons(trials: Sequence[Trial]) -> list[EndReason]:
    """The reasons, the most frequent first."""
    by_reason: dict[str, list[int]] = {}
    for trial in trials:
        by_reason.setdefault(trial.reason, []).append(trial.number)
    groups = sorted(by_reason.items(), key=lambda group: (-len(group[1]), group[1][0]))
    return [
        EndReason(reason=reason, numbers=numbers[:NAMED], more=len(numbers[NAMED:]))
        for reason, numbers in groups
    ]
