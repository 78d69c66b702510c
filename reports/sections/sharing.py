"""What a run computed, and what it did not have to: stage-seconds, in all and of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.run import Run
from reports.sections.stage_tree import stage_tree_info
from thyroid.run_files.stages_json import NeededStage

KINDS = (
    "split",
    "weights",
    "dcgan",
    "generator",
    "srgan",
    "synthesis",
    "quality",
    "classifier",
    "prediction",
    "cases",
)
"""In the order of the pipeline; what is not named here comes last."""


def sharing_info(run: Run) -> dict[str, Any] | None:
    """None where the run did not record its stages, or has computed none yet.

    Returns
    -------
    dict
        `needed`: stage-seconds of all trainings, had each computed its own stages; of these
        `computed`, `found` in the store and `shared` within the run; `factor`: needed / computed,
        None where nothing was computed. `kinds`: the same of each kind of stage. `tree`: which
        stage follows which (see `stage_tree_info`).
    """
    stages = run.stages
    if not stages:
        return None
    kinds = sorted({s.kind for s in stages}, key=lambda kind: (_place(kind), kind))
    rows = [{"kind": kind} | _sums([s for s in stages if s.kind == kind]) for kind in kinds]
    return _sums(stages) | {"kinds": rows, "tree": stage_tree_info(stages)}


def _sums(stages: Sequence[NeededStage]) -> dict[str, Any]:
    """With needed = sum of seconds * needs, which is computed + found + shared."""
    needed = sum((s.seconds * s.needs for s in stages), 0.0)
    computed = sum((s.seconds for s in stages if not s.found), 0.0)
    return {
        "stages": len(stages),
        "needed": needed,
        "computed": computed,
        "found": sum((s.seconds for s in stages if s.found), 0.0),
        "shared": sum((s.seconds * (s.needs - 1) for s in stages), 0.0),
        "factor": needed / computed if computed else None,
    }


def _place(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)
