"""Stage-seconds that a run needed, computed, found and shared, in total and by kind of stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.run import Run
from reports.sections.stage_tree import StageTree, stage_tree_info
from thyroid.run_files.stages_json import NeededStage

KINDS = (
    "split",
    "weights",
    "dcgan",
    "generator",
    "srgan",
    "synthesis",
    "oracle",
    "quality",
    "classifier",
    "probe",
    "prediction",
    "distances",
    "cases",
)
"""Kinds of stages in the order of the pipeline; other kinds come last."""


@dataclass(frozen=True, kw_only=True)
class StageSeconds:
    """Seconds of some stages; needed = computed + found + shared."""

    stages: int
    needed: float
    """Seconds that would have been needed if each training had computed its own stages."""
    computed: float
    found: float
    """Seconds of stages that earlier runs left in the store."""
    shared: float
    """Seconds saved because trainings of the run shared stages."""
    factor: float | None
    """needed / computed; None if nothing was computed."""


@dataclass(frozen=True, kw_only=True)
class KindSeconds(StageSeconds):
    kind: str


@dataclass(frozen=True, kw_only=True)
class Sharing(StageSeconds):
    kinds: list[KindSeconds]
    tree: StageTree | None


def sharing_info(run: Run) -> Sharing | None:
    """Sharing in the run; None if it did not record its stages, or has computed none yet."""
    stages = run.stages
    if not stages:
        return None
    kinds = sorted({s.kind for s in stages}, key=lambda kind: (_place(kind), kind))
    rows = [
        KindSeconds(kind=kind, **vars(_sums([s for s in stages if s.kind == kind])))
        for kind in kinds
    ]
    return Sharing(**vars(_sums(stages)), kinds=rows, tree=stage_tree_info(stages))


def _sums(stages: Sequence[NeededStage]) -> StageSeconds:
    needed = sum((s.seconds * s.needs for s in stages), 0.0)
    computed = sum((s.seconds for s in stages if not s.found), 0.0)
    return StageSeconds(
        stages=len(stages),
        needed=needed,
        computed=computed,
        found=sum((s.seconds for s in stages if s.found), 0.0),
        shared=sum((s.seconds * (s.needs - 1) for s in stages), 0.0),
        factor=needed / computed if computed else None,
    )


def _place(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)
