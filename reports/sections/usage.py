"""Usage: hours of nodes, and hours of the processors and GPUs that stages held."""

from __future__ import annotations

from dataclasses import dataclass

from reports.run import Run
from thyroid.run_files.usage_json import HOURS, Purpose, SearchBudget


@dataclass(frozen=True, kw_only=True)
class UsedHours:
    """Hours (see `run_files.usage_json.Hours`), and the shares of the nodes that stages held."""

    purpose: Purpose | None
    """None for all purposes together."""
    hours: float
    node_hours: float
    gpu_node_hours: float
    there_processor_hours: float
    there_gpu_hours: float
    stage_hours: float
    processor_hours: float
    gpu_hours: float
    processor_share: float | None
    """Share of the nodes' processor-hours; None if there are none."""
    gpu_share: float | None
    """Share of the nodes' GPU-hours; None if there are none."""


@dataclass(frozen=True, kw_only=True)
class UsageOfRun:
    purposes: list[UsedHours]
    all: UsedHours
    budget: SearchBudget | None
    """None without limits."""


def usage_info(run: Run) -> UsageOfRun | None:
    """Hours for each purpose and in total; None if the run did not count them."""
    if run.usage is None or not run.usage.purposes:
        return None
    rows, budget = run.usage.purposes, run.usage.budget
    limited = budget is not None and (budget.time_hours, budget.gpu_hours) != (None, None)
    total = {name: sum(getattr(row, name) for row in rows) for name in HOURS}
    return UsageOfRun(
        purposes=[
            _with_shares({name: getattr(row, name) for name in HOURS}, row.purpose) for row in rows
        ],
        all=_with_shares(total, None),
        budget=budget if limited else None,
    )


def _with_shares(hours: dict[str, float], purpose: Purpose | None) -> UsedHours:
    processors, gpus = hours["there_processor_hours"], hours["there_gpu_hours"]
    return UsedHours(
        purpose=purpose,
        **hours,
        processor_share=hours["processor_hours"] / processors if processors else None,
        gpu_share=hours["gpu_hours"] / gpus if gpus else None,
    )
