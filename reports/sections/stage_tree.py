"""The tree that a run's stages form: which follows which, and what of it a page has room for.

A classifier's segment follows the segment before it, the first one the pool of synthetic images
that it is trained on, and the pool the last segment of its DCGAN. The SRGAN and the judge, which
the pool needs as well, are trees of their own.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from thyroid.run_files.stages_json import NeededStage

FOLLOWS = {
    "dcgan": ("dcgan",),
    "srgan": ("srgan",),
    "synthesis": ("dcgan",),
    "classifier": ("classifier", "synthesis"),
}
"""Kind of stage -> the kinds that it may follow, the first one first. Others are not shown."""
FED_BY_JUDGE = ("srgan", "synthesis", "quality")
MOST_ROWS = 40
"""Of the picture: ends of branches, and notes of what is not shown."""
MOST_STAGES = 500
NAMED = 3
"""Users of a stage that are named; of others the number."""


@dataclass(eq=False, kw_only=True)
class _Node:
    stage: NeededStage
    role: str
    """classifier | judge | dcgan | srgan | synthesis"""
    children: list[_Node] = field(default_factory=list)
    shown: list[_Node] = field(default_factory=list)
    """Those of the children that are drawn."""
    stages: int = 1
    """With all that follow."""
    needed: float = 0.0
    """Stage-seconds without sharing, with all that follow."""
    row: int = 0
    rows: int = 1


def stage_tree_info(stages: Sequence[NeededStage]) -> dict[str, Any] | None:
    """The stages to be drawn, from top to bottom; None where there is none.

    Where there is no room for all, the branches that most trainings need are shown.

    Returns
    -------
    dict
        `boxes`: a dictionary per shown stage, each after the one that it `follows` (its place in
        this list, or None). `row` and `rows`: where it begins, from above, and how high it is:
        a row for each end of a branch. `hidden`: how many stages that follow it are not shown; that
        is said in its last row where others that follow are shown, else beside it.
        `look`: found | shared (computed for several trainings) | single; `looks`: those there are.
        `rows`, `stages`, `drawn`, `hidden`: of all; `hidden_roots`: in trees that are not shown.
    """
    roots = _grown(stages)
    if not roots:
        return None
    everything = _Node(stage=roots[0].stage, role="all", children=roots)
    _choose(everything)
    _place(everything)
    drawn = list(_walk(everything.shown, "shown"))
    places = {id(node): place for place, node in enumerate(drawn)}
    follows = {id(child): places[id(node)] for node in drawn for child in node.shown}
    total = sum(root.stages for root in roots)
    return {
        "stages": total,
        "drawn": len(drawn),
        "hidden": total - len(drawn),
        "hidden_roots": _hidden(everything),
        "rows": everything.rows,
        "looks": sorted({_look(node.stage) for node in drawn}),
        "boxes": [_box(node, follows.get(id(node))) for node in drawn],
    }


def _grown(stages: Sequence[NeededStage]) -> list[_Node]:
    """The trees' roots, children and roots in the order in which they are drawn."""
    by_key = {s.key: s for s in stages}
    judges = _label_filters(stages, by_key)
    nodes = {
        s.key: _Node(stage=s, role="label_filter" if s.key in judges else s.kind)
        for s in stages
        if s.kind in FOLLOWS
    }
    roots: list[_Node] = []
    for node in nodes.values():
        before = _before(node.stage, by_key)
        (roots if before is None else nodes[before].children).append(node)
    for node in reversed(list(_walk(roots, "children"))):
        own = node.stage.seconds * node.stage.needs
        node.stages = 1 + sum(child.stages for child in node.children)
        node.needed = own + sum(child.needed for child in node.children)
        node.children.sort(key=_weight)
    roles = ("label_filter", "srgan", "dcgan", "synthesis", "classifier")
    seeds = {id(root): -1 if root.stage.seed is None else root.stage.seed for root in roots}
    return sorted(roots, key=lambda r: (seeds[id(r)], roles.index(r.role), _weight(r)))


def _label_filters(stages: Iterable[NeededStage], by_key: Mapping[str, NeededStage]) -> set[str]:
    """The classifiers that generators need, from their first segment on."""
    left = [key for s in stages if s.kind in FED_BY_JUDGE for key in s.inputs]
    found: set[str] = set()
    while left:
        key = left.pop()
        if key not in found and key in by_key and by_key[key].kind == "classifier":
            found.add(key)
            left += by_key[key].inputs
    return found


def _before(stage: NeededStage, by_key: Mapping[str, NeededStage]) -> str | None:
    """The key of the stage that this one follows."""
    for kind in FOLLOWS[stage.kind]:
        for key in stage.inputs:
            if key in by_key and by_key[key].kind == kind:
                return key
    return None


def _walk(nodes: Iterable[_Node], which: Literal["children", "shown"]) -> Iterator[_Node]:
    """Nodes and what follows them, each before what follows it."""
    left = list(nodes)[::-1]
    while left:
        node = left.pop()
        yield node
        left += getattr(node, which)[::-1]


def _weight(node: _Node) -> tuple[int, float, str]:
    """Sorts what most trainings need first."""
    return -node.stage.needs, -node.needed, node.stage.key


def _choose(everything: _Node) -> None:
    """Set what is shown: the weightiest first, as long as there are rows for it.

    A node takes a row where its parent's is taken. A parent of which some children are shown and
    some are not takes one for the note that says so. So that some branches are shown to their ends,
    the second of a node's children counts half as much as its trainings, the third a third.
    """
    rows, stages = 1, 0
    found = {id(everything): 0}
    queue = list(_queued(everything))
    heapq.heapify(queue)
    chosen: set[int] = set()
    while queue and stages < MOST_STAGES:
        *_, node, parent = heapq.heappop(queue)
        shown, all_ = found[id(parent)], len(parent.children)
        more = (shown > 0) + (shown + 1 < all_) - (0 < shown < all_)
        if rows + more > MOST_ROWS:
            continue
        rows, stages = rows + more, stages + 1
        found[id(parent)], found[id(node)] = shown + 1, 0
        chosen.add(id(node))
        for entry in _queued(node):
            heapq.heappush(queue, entry)
    for node in (everything, *_walk(everything.children, "children")):
        node.shown = [child for child in node.children if id(child) in chosen]


def _queued(parent: _Node) -> Iterator[tuple[float, tuple[int, float, str], _Node, _Node]]:
    """Its children, in their order; roots are counted by what they are of."""
    ranks: Counter[tuple[str, int | None]] = Counter()
    for child in parent.children:
        of = child.role, child.stage.seed
        ranks[of] += 1
        yield -child.stage.needs / ranks[of], _weight(child), child, parent


def _place(everything: _Node) -> None:
    """Set each shown node's rows."""
    drawn = list(_walk([everything], "shown"))
    for node in reversed(drawn):
        note = bool(node.shown) and len(node.shown) < len(node.children)
        node.rows = max(1, sum(child.rows for child in node.shown) + note)
    for node in drawn:
        row = node.row
        for child in node.shown:
            child.row = row
            row += child.rows


def _hidden(node: _Node) -> int:
    """Stages that follow and are not shown, where their parent is."""
    return sum(c.stages for c in node.children) - sum(c.stages for c in node.shown)


def _look(stage: NeededStage) -> str:
    return "found" if stage.found else "shared" if stage.needs > 1 else "single"


def _box(node: _Node, follows: int | None) -> dict[str, Any]:
    stage = node.stage
    return {
        "role": node.role,
        "follows": follows,
        "seed": stage.seed,
        "first_epoch": stage.first_epoch,
        "epochs": stage.epochs,
        "phase": stage.phase,
        "seconds": stage.seconds,
        "needs": stage.needs,
        "users": list(stage.users[:NAMED]),
        "more_users": len(stage.users[NAMED:]),
        "look": _look(stage),
        "row": node.row,
        "rows": node.rows,
        "hidden": _hidden(node),
    }
