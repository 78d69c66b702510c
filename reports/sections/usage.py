"""What a run has used: nodes, and what stages held of them, in hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.run import Run
from thyroid.runs.usage import HOURS, LIMITS


def usage_info(run: Run) -> dict[str, Any] | None:
    """None where the run did not count.

    Returns
    -------
    dict
        `parts`: of `search` and `final`, and `all`: hours (see `ledger.HOURS`), and which
        share of the nodes' processor-hours and GPU-hours stages held, `processor_share` and
        `gpu_share`, None of nothing. `budget`: what the search might use, and what of it ended
        the search; None without limits.
    """
    if run.costs is None or not run.costs["parts"]:
        return None
    parts = [{"part": row["part"]} | _with_shares(row) for row in run.costs["parts"]]
    budget = run.costs["budget"] or {}
    limited = any(budget.get(name) is not None for name in LIMITS)
    return {
        "parts": parts,
        "all": _with_shares(_sum(run.costs["parts"])),
        "budget": {name: budget[name] for name in (*LIMITS, "ended")} if limited else None,
    }


def _sum(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) for name in HOURS}


def _with_shares(row: Mapping[str, float]) -> dict[str, Any]:
    shares = {
        f"{what}_share": row[f"{what}_hours"] / there if there else None
        for what in ("processor", "gpu")
        for there in [row[f"there_{what}_hours"]]
    }
    return {name: row[name] for name in HOURS} | shares
