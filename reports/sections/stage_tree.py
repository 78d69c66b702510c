"""The tree of a run's stages, and the part of it for which a page has room.

A segment of a classifier follows the segment before it. The first segment follows the pool of
synthetic images on which it is trained, and the pool follows the last segment of its DCGAN. The
SRGAN and the label filter, which the pool also needs, are separate trees. Each fold has separate
trees.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from thyroid.run_files.stages_json import NeededStage

FOLLOWS = {
    "dcgan": ("dcgan",),
    "srgan": ("srgan",),
    "synthesis": ("dcgan",),
    "classifier": ("classifier", "synthesis"),
}
"""Kind of stage -> the kinds that it may follow, in order of preference. Other kinds of stages are
not shown."""
NEED_LABEL_FILTER = ("srgan", "synthesis", "quality")
MOST_ROWS = 40
"""Maximum number of rows of the picture: ends of branches, and notes on what is not shown."""
MOST_STAGES = 500
NAMED = 3
"""Number of users of a stage that are named; the others are counted."""


@dataclass(eq=False, kw_only=True)
class _Node:
    stage: NeededStage
    role: str
    """classifier | label_filter | dcgan | srgan | synthesis"""
    children: list[_Node] = field(default_factory=list)
    shown: list[_Node] = field(default_factory=list)
    """The children that are drawn."""
    stages: int = 1
    """Number of stages: this one and all that follow it."""
    needed: float = 0.0
    """Stage-seconds of this stage and all that follow it, without sharing."""
    row: int = 0
    rows: int = 1


@dataclass(frozen=True, kw_only=True)
class Box:
    role: str
    """classifier | label_filter | dcgan | srgan | synthesis"""
    follows: int | None
    """Index of the box that this one follows."""
    seed: int | None
    fold: int | None
    """None with one split, or if the fold is not known."""
    first_epoch: int | None
    """Number of epochs that were trained before this stage."""
    epochs: int | None
    phase: str | None
    seconds: float
    needs: int
    """Number of trainings that need this stage."""
    users: list[str]
    """Names of the first of these trainings."""
    more_users: int
    look: str
    """found | shared (computed for several trainings) | single"""
    row: int
    """First row of the box, counted from above."""
    rows: int
    """Height of the box: a row for each end of a branch."""
    hidden: int
    """Number of stages that follow this one and are not drawn. A note says so: in the last row of
    the box if some stages that follow are drawn, otherwise beside the box."""


@dataclass(frozen=True, kw_only=True)
class StageTree:
    """The stages to be drawn, from top to bottom."""

    stages: int
    drawn: int
    hidden: int
    hidden_roots: int
    """Number of stages in trees that are not drawn."""
    rows: int
    folds: int
    """Number of folds to which stages belong; 0 with one split."""
    alone: int | None
    """The only fold that is drawn if there is no room for all; otherwise None."""
    looks: list[str]
    """The looks that some box has."""
    boxes: list[Box]
    """A box comes after the one that it follows."""


def stage_tree_info(stages: Sequence[NeededStage]) -> StageTree | None:
    """The tree of stages; None if there are no stages.

    If there is no room for all branches, those that most trainings need are drawn; with several
    folds, only branches of the first fold.
    """
    roots = _grown(stages)
    if not roots:
        return None
    everything = _Node(stage=roots[0].stage, role="all", children=roots)
    folds = sorted({s.fold for s in stages if s.fold is not None})
    ends = sum(not node.children for node in _walk(roots, "children"))
    alone = folds[0] if len(folds) > 1 and ends > MOST_ROWS else None
    _choose(everything, alone)
    _place(everything)
    drawn = list(_walk(everything.shown, "shown"))
    places = {id(node): place for place, node in enumerate(drawn)}
    follows = {id(child): places[id(node)] for node in drawn for child in node.shown}
    total = sum(root.stages for root in roots)
    return StageTree(
        stages=total,
        drawn=len(drawn),
        hidden=total - len(drawn),
        hidden_roots=_hidden(everything),
        rows=everything.rows,
        folds=len(folds),
        alone=alone,
        looks=sorted({_look(node.stage) for node in drawn}),
        boxes=[_box(node, follows.get(id(node))) for node in drawn],
    )


def _grown(stages: Sequence[NeededStage]) -> list[_Node]:
    """The roots of the trees; roots and children are in the order in which they are drawn."""
    by_key = {s.key: s for s in stages}
    filters = _label_filters(stages, by_key)
    nodes = {
        s.key: _Node(stage=s, role="label_filter" if s.key in filters else s.kind)
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

    def place(root: _Node) -> tuple[int, int, int, tuple[int, float, str]]:
        fold, seed = (-1 if n is None else n for n in (root.stage.fold, root.stage.seed))
        return fold, seed, roles.index(root.role), _weight(root)

    return sorted(roots, key=place)


def _label_filters(stages: Iterable[NeededStage], by_key: Mapping[str, NeededStage]) -> set[str]:
    """The keys of all segments of label filters, the classifiers that generators need."""
    left = [key for s in stages if s.kind in NEED_LABEL_FILTER for key in s.inputs]
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
    """All nodes below, parents before their children."""
    left = list(nodes)[::-1]
    while left:
        node = left.pop()
        yield node
        left += getattr(node, which)[::-1]


def _weight(node: _Node) -> tuple[int, float, str]:
    """Sort key: nodes that most trainings need come first."""
    return -node.stage.needs, -node.needed, node.stage.key


def _choose(everything: _Node, alone: int | None) -> None:
    """Choose the nodes that are shown, those that most trainings need first, while there are rows.
    If one fold is drawn alone, only its nodes are chosen.

    A node takes another row if a child of its parent is already in the parent's row. A parent takes
    one more row for a note if only some of its children are shown. The second child of a node is
    weighted by half, the third by a third, so that some branches are shown to their ends.
    """
    rows, stages = 1, 0
    found = {id(everything): 0}
    queue = [
        entry for entry in _queued(everything) if alone is None or entry[2].stage.fold == alone
    ]
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
    """Children with their weights, in order; roots are counted by role, seed and fold."""
    ranks: Counter[tuple[str, int | None, int | None]] = Counter()
    for child in parent.children:
        of = child.role, child.stage.seed, child.stage.fold
        ranks[of] += 1
        yield -child.stage.needs / ranks[of], _weight(child), child, parent


def _place(everything: _Node) -> None:
    """Set the rows of each node that is shown."""
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
    """Number of stages that follow a shown node and are not shown themselves."""
    return sum(c.stages for c in node.children) - sum(c.stages for c in node.shown)


def _look(stage: NeededStage) -> str:
    return "found" if stage.found else "shared" if stage.needs > 1 else "single"


def _box(node: _Node, follows: int | None) -> Box:
    stage = node.stage
    return Box(
        role=node.role,
        follows=follows,
        seed=stage.seed,
        fold=stage.fold,
        first_epoch=stage.first_epoch,
        epochs=stage.epochs,
        phase=stage.phase,
        seconds=stage.seconds,
        needs=stage.needs,
        users=list(stage.users[:NAMED]),
        more_users=len(stage.users[NAMED:]),
        look=_look(stage),
        row=node.row,
        rows=node.rows,
        hidden=_hidden(node),
    )
