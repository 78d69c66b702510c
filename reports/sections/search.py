"""The search: each trial's outcome, the best so far, and what was saved, as plain numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from reports.run import PARAMETER, Run
from reports.sections.front import front_info
from reports.sections.importance import importance_info
from reports.sections.provenance import without_folder
from reports.sections.search_space import search_space_info

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
    if run.trials is None:
        return found
    trials = run.trials
    parameters = [
        name.removeprefix(PARAMETER) for name in trials.columns if name.startswith(PARAMETER)
    ]
    rows = [{str(k): _plain(v) for k, v in row.items()} for row in trials.to_dict("records")]
    complete = [r for r in rows if r["state"] == "complete" and r["macro_f1"] is not None]
    ranked = [_with_parameters(r, parameters) for r in sorted(complete, key=_rank)]
    chosen = next((r["number"] for r in complete if r.get("chosen")), None)
    everything = [
        _with_parameters(r, parameters) | {"state": r["state"], "reason": r.get("reason") or None}
        for r in rows
    ]
    listed = _listed(everything, chosen)
    importance = importance_info(sorted(ranked, key=lambda t: t["number"]), parameters)
    first = [row["name"] for row in importance["rows"]]
    axes = [*first, *(name for name in parameters if name not in first)]
    stopped = _reasons([r for r in rows if r["state"] == "pruned"])
    failed = _reasons([r for r in rows if r["state"] == "failed"])
    own = [row for row in rows if not (row.get("reason") or "").startswith("warm start from")]
    reused, computed = _total(own, "reused_stages"), _total(own, "computed_stages")
    return found | {
        "ended": len(own),
        "warm_started": len(rows) - len(own),
        "states": dict(sorted(Counter(str(r["state"]) for r in own).items())),
        "seconds": _total(rows, "seconds"),
        "reused_stages": reused,
        "computed_stages": computed,
        "needed_stages": reused + computed,
        "parameters": parameters,
        "history": _history(rows),
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


def _history(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trials in order of their number, with the best complete one so far."""
    best, history = None, []
    for row in rows:
        value = row["macro_f1"]
        if row["state"] == "complete" and value is not None:
            best = value if best is None else max(best, value)
        history.append({k: row[k] for k in ("number", "state", "macro_f1")} | {"best_so_far": best})
    return history


def _rank(row: dict[str, Any]) -> tuple[bool, bool, float, int]:
    """Sorts the chosen trial first, then the others of the seed race, then the rest."""
    mean = row.get("raced_macro_f1")
    value = row["macro_f1"] if mean is None else mean
    return not row.get("chosen"), mean is None, -value, row["number"]


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


def _with_parameters(row: dict[str, Any], parameters: list[str]) -> dict[str, Any]:
    searched = {name: row[PARAMETER + name] for name in parameters}
    values = {name: value for name, value in searched.items() if value is not None}
    return {name: row.get(name) for name in KEPT} | {"parameters": values}


def _listed(rows: list[dict[str, Any]], chosen: int | None) -> list[dict[str, Any]]:
    """The chosen trial and the best ones, as many as there is room for, by number."""

    def rank(trial: dict[str, Any]) -> tuple[bool, bool, float, int]:
        value = trial["macro_f1"]
        return trial["number"] != chosen, value is None, -(value or 0), trial["number"]

    return sorted(sorted(rows, key=rank)[:LISTED], key=lambda t: t["number"])


def _reasons(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trials that ended for the same reason, together, most trials first; `more` are not named."""
    by_reason: dict[str, list[int]] = {}
    for row in rows:
        by_reason.setdefault(row.get("reason") or "", []).append(row["number"])
    groups = sorted(by_reason.items(), key=lambda group: (-len(group[1]), group[1][0]))
    return [
        {"reason": reason, "numbers": numbers[:NAMED], "more": len(numbers[NAMED:])}
        for reason, numbers in groups
    ]


def _total(rows: list[dict[str, Any]], name: str) -> float:
    return sum(row.get(name) or 0 for row in rows)


def _plain(value: Any) -> Any:
    """A table's cell as JSON has it: whole numbers whole, nothing for a gap."""
    if pd.isna(value):
        return None
    if hasattr(value, "item"):
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value
