"""The search: each trial's outcome, the best so far, and what was saved, as plain numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from reports.provenance import without_folder
from reports.run import PARAMETER, Run

TOP = 10
"""Trials in the table of the best."""


def search_info(run: Run) -> dict[str, Any] | None:
    """None where the run searched nothing; without `history` where no trial has ended yet."""
    planned = run.config.get("search")
    if planned is None:
        return None
    names = ("space", "trials", "objective", "seeds")
    info: dict[str, Any] = {name: planned.get(name) for name in names} | {"ended": 0}
    info["space"] = without_folder(info["space"])
    if run.trials is None:
        return info
    trials = run.trials
    parameters = [
        name.removeprefix(PARAMETER) for name in trials.columns if name.startswith(PARAMETER)
    ]
    rows = [{str(k): _plain(v) for k, v in row.items()} for row in trials.to_dict("records")]
    complete = [r for r in rows if r["state"] == "complete" and r["macro_f1"] is not None]
    best = sorted(complete, key=lambda r: (-r["macro_f1"], r["number"]))
    reused, computed = _total(rows, "reused_stages"), _total(rows, "computed_stages")
    return info | {
        "ended": len(rows),
        "states": dict(sorted(Counter(str(r["state"]) for r in rows).items())),
        "seconds": _total(rows, "seconds"),
        "reused_stages": reused,
        "computed_stages": computed,
        "needed_stages": reused + computed,
        "parameters": parameters,
        "history": _history(rows),
        "best": _with_parameters(best[0], parameters) if best else None,
        "top": [_with_parameters(r, parameters) for r in best[:TOP]],
        "stopped": _reasons([r for r in rows if r["state"] == "pruned"]),
        "failed": _reasons([r for r in rows if r["state"] == "failed"]),
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


def _with_parameters(row: dict[str, Any], parameters: list[str]) -> dict[str, Any]:
    kept = ("number", "macro_f1", "epochs", "seconds", "reused_stages", "computed_stages")
    searched = {name: row[PARAMETER + name] for name in parameters}
    values = {name: value for name, value in searched.items() if value is not None}
    return {name: row.get(name) for name in kept} | {"parameters": values}


def _reasons(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trials that ended for the same reason, together."""
    by_reason: dict[str, list[int]] = {}
    for row in rows:
        by_reason.setdefault(row.get("reason") or "", []).append(row["number"])
    return [{"reason": reason, "numbers": numbers} for reason, numbers in by_reason.items()]


def _total(rows: list[dict[str, Any]], name: str) -> float:
    return sum(row.get(name) or 0 for row in rows)


def _plain(value: Any) -> Any:
    """A table's cell as JSON has it: whole numbers whole, nothing for a gap."""
    if pd.isna(value):
        return None
    if hasattr(value, "item"):
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value
