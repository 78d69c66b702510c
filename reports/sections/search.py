"""The search: each trial's outcome, the best so far, and what was saved, as plain numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reports.run import Run
from reports.sections.front import front_info
from reports.sections.importance import importance_info
from reports.sections.provenance import without_folder
from reports.sections.search_space import search_space_info
from thyroid.run_files.trials_csv import Trial

TOP = 10
"""Trials in the table of the best."""
LISTED = 200
"""Trials in the table of all."""
NAMED = 40
"""Trials that ended for one reason, of which the numbers are told."""
REASONS = 20
"""Reasons that are told, those of most trials first."""
KEPT = (
    "number",
    "macro_f1",
    "cross_recall",
    "compute",
    "epochs",
    "seconds",
    "reused_stages",
    "computed_stages",
    "raced_seeds",
    "raced_macro_f1",
)
"""What the tables show of a trial, beside its parameters."""


def search_info(run: Run) -> dict[str, Any] | None:
    """None where the run searched nothing; without `history` where no trial has ended yet."""
    planned = run.config.get("search")
    if planned is None:
        return None
    names = ("space", "trials", "seeds")
    found: dict[str, Any] = {name: planned.get(name) for name in names} | {"ended": 0}
    found["objectives"] = planned.get("objectives") or ["macro_f1"]
    found["space"] = without_folder(found["space"])
    trials = run.trials
    if not trials:
        return found
    parameters = list(dict.fromkeys(name for trial in trials for name in trial.parameters))
    complete = [t for t in trials if t.state == "complete" and t.macro_f1 is not None]
    ranked = [_kept(t) for t in sorted(complete, key=_rank)]
    chosen = next((t.number for t in complete if t.chosen), None)
    everything = [_kept(t) | {"state": t.state, "reason": t.reason or None} for t in trials]
    listed = _listed(everything, chosen)
    importance = importance_info(sorted(ranked, key=lambda t: t["number"]), parameters)
    first = [row["name"] for row in importance["rows"]]
    axes = [*first, *(name for name in parameters if name not in first)]
    stopped = _reasons([t for t in trials if t.state == "pruned"])
    failed = _reasons([t for t in trials if t.state == "failed"])
    own = [t for t in trials if not t.reason.startswith("warm start from")]
    reused, computed = _total(own, "reused_stages"), _total(own, "computed_stages")
    return found | {
        "ended": len(own),
        "warm_started": len(trials) - len(own),
        "states": dict(sorted(Counter(t.state for t in own).items())),
        "seconds": _total(trials, "seconds"),
        "reused_stages": reused,
        "computed_stages": computed,
        "needed_stages": reused + computed,
        "parameters": parameters,
        "history": _history(trials),
        "importance": importance,
        "place": search_space_info(everything, axes, chosen),
        "all": listed,
        "listed": len(listed),
        "trials_in_all": len(everything),
        "best": ranked[0] if ranked else None,
        "top": ranked[:TOP],
        "choice": None if chosen is None else _choice(ranked),
        "front": front_info(ranked, found["objectives"], chosen),
        "stopped": stopped[:REASONS],
        "failed": failed[:REASONS],
        "more_reasons": {"stopped": len(stopped[REASONS:]), "failed": len(failed[REASONS:])},
    }


def _history(trials: list[Trial]) -> list[dict[str, Any]]:
    """Trials in order of their number, with the best complete one so far."""
    best, history = None, []
    for trial in trials:
        value = trial.macro_f1
        if trial.state == "complete" and value is not None:
            best = value if best is None else max(best, value)
        shown = {name: getattr(trial, name) for name in ("number", "state", "macro_f1")}
        history.append(shown | {"best_so_far": best})
    return history


def _rank(trial: Trial) -> tuple[bool, bool, float, int]:
    """Sorts the chosen trial first, then the others of the seed race, then the rest."""
    mean = trial.raced_macro_f1
    value = trial.macro_f1 if mean is None else mean
    return not trial.chosen, mean is None, -(value or 0.0), trial.number


def _choice(ranked: list[dict[str, Any]]) -> dict[str, Any]:
    """How the first trial came to be chosen.

    `contenders`: trials that were trained with further seeds, 0 where there was no seed race.
    `is_best`: whether its mean is the best of theirs, or else its macro-F1 of all trials.
    """
    chosen = ranked[0]
    contenders = [r for r in ranked if r["raced_macro_f1"] is not None]
    measure, rivals = "macro_f1", ranked
    if chosen["raced_macro_f1"] is not None:
        measure, rivals = "raced_macro_f1", contenders
    return {
        "number": chosen["number"],
        "contenders": len(contenders),
        "seeds": chosen["raced_seeds"],
        "mean": chosen["raced_macro_f1"],
        "is_best": chosen[measure] == max(r[measure] for r in rivals),
    }


def _kept(trial: Trial) -> dict[str, Any]:
    return {name: getattr(trial, name) for name in (*KEPT, "parameters")}


def _listed(rows: list[dict[str, Any]], chosen: int | None) -> list[dict[str, Any]]:
    """The chosen trial and the best ones, as many as there is room for, by number."""

    def rank(trial: dict[str, Any]) -> tuple[bool, bool, float, int]:
        value = trial["macro_f1"]
        return trial["number"] != chosen, value is None, -(value or 0), trial["number"]

    return sorted(sorted(rows, key=rank)[:LISTED], key=lambda t: t["number"])


def _reasons(trials: list[Trial]) -> list[dict[str, Any]]:
    """Trials that ended for the same reason, together, most trials first; `more` are not named."""
    by_reason: dict[str, list[int]] = {}
    for trial in trials:
        by_reason.setdefault(trial.reason, []).append(trial.number)
    groups = sorted(by_reason.items(), key=lambda group: (-len(group[1]), group[1][0]))
    return [
        {"reason": reason, "numbers": numbers[:NAMED], "more": len(numbers[NAMED:])}
        for reason, numbers in groups
    ]


def _total(trials: list[Trial], name: str) -> float:
    return sum(getattr(trial, name) or 0 for trial in trials)
