"""What a run has used: nodes, and what stages held of them, in hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.run import Run
from thyroid.run_files.usage_json import HOURS, Hours


def usage_info(run: Run) -> dict[str, Any] | None:
    """None where the run did not count.

    Returns
    -------
    dict
        `purposes`: `search` and `final`, and `all`: hours (see `Hours`), and which share of the
        nodes' processor-hours and GPU-hours stages held, `processor_share` and `gpu_share`, None
        of nothing. `budget`: what the search might use, and what of it ended the search; None
        without limits.
    """
    if run.usage is None or not run.usage.purposes:
        return None
    budget, purposes = run.usage.budget, run.usage.purposes
    limited = budget is not None and (budget.time_hours, budget.gpu_hours) != (None, None)
    return {
        "purposes": [{"purpose": own.purpose} | _with_shares(vars(own)) for own in purposes],
        "all": _with_shares(_sum(purposes)),
        "budget": vars(budget) if limited else None,
    }


def _sum(purposes: Sequence[Hours]) -> dict[str, float]:
    return {name: sum(getattr(own, name) for own in purposes) for name in HOURS}


def _with_shares(row: Mapping[str, float]) -> dict[str, Any]:
    shares = {
        f"{what}_share": row[f"{what}_hours"] / there if there else None
        for what in ("processor", "gpu")
        for there in [row[f"there_{what}_hours"]]
    }
    return {name: row[name] for name in HOURS} | shares
