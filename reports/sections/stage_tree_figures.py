"""Figure of the tree of stages."""

from __future__ import annotations

import itertools

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.language import later, ngettext
from reports.sections.stage_tree import Box, StageTree
from reports.svg import Axis

WIDTH = 920
LEFT, RIGHT, TOP, BOTTOM = 108, 136, 42, 8
MOST_RIGHT = 260
"""Room for long names of users beside the last stages."""
LEFT_OF_FOLDS = 172
"""Room for names with a fold."""
GENERATORS, POOL, GAP = 172, 34, 12
"""Widths of the column of generators (DCGAN, SRGAN, label filter), of the column of pools, and of
the gaps between columns."""
ROW = 17
APART = 1.5
"""Gap between two boxes of a row."""
NAMES = {
    "dcgan": "DCGAN",
    "srgan": "SRGAN",
    "synthesis": later("pool"),
    "classifier": later("classifier"),
    "label_filter": later("label filter"),
}
LETTER = 6.4
"""Approximate width of a letter or digit."""


def tree_chart(tree: StageTree) -> Markup:
    """A box for each stage, from its first to its last epoch, followed by the stages that use it.

    Generators are on the left, classifiers on the right. A box is as high as all boxes that follow
    it.
    """
    boxes = tree.boxes
    left = LEFT if all(box.fold is None for box in boxes) else LEFT_OF_FOLDS
    followed = {box.follows for box in boxes}
    last = [box for place, box in enumerate(boxes) if place not in followed]
    longest = max(svg.width(_beside(box)) for box in last)
    right = WIDTH - min(max(RIGHT, longest + 10), MOST_RIGHT)
    columns = _columns(boxes, left, right)
    ends = _ends(boxes, columns)
    height = TOP + ROW * tree.rows + BOTTOM
    parts = _headings(columns, height)
    parts += _fold_lines(boxes, right)
    parts += _root_names(boxes, left)
    for place, box in enumerate(boxes):
        start, end = ends[place]
        middle = TOP + ROW * (box.row + box.rows / 2)
        before = start if box.follows is None else ends[box.follows][1]
        if start - before > APART:
            parts.append(svg.line(before, round(middle, 1), start, round(middle, 1), "axis"))
        parts.append(_box(box, start, end))
        if place not in followed:
            parts.append(svg.text(end + 5, middle + 4, _beside(box), "start"))
        elif box.hidden:
            foot = TOP + ROW * (box.row + box.rows) - 5
            parts.append(svg.text(end + 5, foot, _more(box.hidden), "start", "note"))
    parts += _needs(boxes, ends)
    if tree.hidden_roots:
        foot = TOP + ROW * tree.rows - 5
        parts.append(svg.text(left, foot, _more(tree.hidden_roots), "start", "note"))
    alt = _(
        "A tree of {stages} stages, of which {drawn} are drawn: generators on the left, the "
        "segments of classifiers by their epochs on the right."
    ).format(stages=tree.stages, drawn=len(boxes))
    return svg.picture(parts, alt, height, WIDTH)


def _beside(box: Box) -> str:
    """The text beside a stage that no box follows."""
    return _more(box.hidden) if box.hidden else _users(box, most=1)


def _columns(boxes: list[Box], left: float, right: float) -> dict[str, Axis]:
    """Horizontal axes of the columns that exist: epochs of generators, pools, epochs of
    classifiers.
    """
    in_column = [_column(place, boxes) for place in range(len(boxes))]
    widths = {"generator": GENERATORS, "pool": POOL}
    columns: dict[str, Axis] = {}
    start = float(left)
    for name in ("generator", "pool", "classifier"):
        if name not in in_column:
            continue
        last = [_span(b)[1] for b, column in zip(boxes, in_column, strict=True) if column == name]
        end = min(start + widths.get(name, WIDTH), right)
        columns[name] = Axis(low=0.0, high=max(last), start=start, end=end)
        start = end + GAP
    return columns


def _column(place: int, boxes: list[Box]) -> str:
    """The column of a box; label filters trained on synthetic images are among classifiers."""
    box = boxes[place]
    if box.role == "label_filter":
        while box.follows is not None:
            box = boxes[box.follows]
        return "generator" if box.role == "label_filter" else "classifier"
    return {"synthesis": "pool", "classifier": "classifier"}.get(box.role, "generator")


def _span(box: Box) -> tuple[int, int]:
    """First epoch of a box and the one after its last; a stage without epochs takes one."""
    first = box.first_epoch or 0
    return first, first + max(box.epochs or 1, 1)


def _ends(boxes: list[Box], columns: dict[str, Axis]) -> list[tuple[float, float]]:
    """Horizontal positions at which each box begins and ends."""
    ends = []
    for place, box in enumerate(boxes):
        axis = columns[_column(place, boxes)]
        first, last = _span(box)
        ends.append((axis(first), max(axis(last) - APART, axis(first) + APART)))
    return ends


def _headings(columns: dict[str, Axis], height: float) -> list[Markup]:
    """The names of the columns and the numbers of the epochs."""
    names = {
        "generator": _("generators: epochs"),
        "pool": _("pool"),
        "classifier": _("classifiers: epochs"),
    }
    parts = []
    for name, axis in columns.items():
        parts.append(svg.text(axis.start, 12, names[name], "start", "title"))
        if name == "pool":
            continue
        for tick in axis.ticks(4 if name == "generator" else 8, whole=True):
            parts.append(svg.line(axis(tick), TOP - 6, axis(tick), height - BOTTOM, "grid"))
            anchor = "start" if tick == 0 else "middle"
            parts.append(svg.text(axis(tick), TOP - 11, svg.tick_label(tick), anchor))
    return parts


def _fold_lines(boxes: list[Box], right: float) -> list[Markup]:
    """A line above the first tree of each fold except the first fold."""
    roots = [box for box in boxes if box.follows is None]
    return [
        svg.line(0, TOP + ROW * box.row - 0.5, right, TOP + ROW * box.row - 0.5, "grid")
        for above, box in itertools.pairwise(roots)
        if box.fold != above.fold
    ]


def _root_names(boxes: list[Box], left: float) -> list[Markup]:
    """The name of each tree, unless the tree above it has the same name."""
    parts, above = [], ""
    for box in boxes:
        if box.follows is None:
            name = _named(box)
            if name != above:
                y = TOP + ROW * box.row + 12
                parts.append(svg.text(left - 6, y, name, "end"))
            above = name
    return parts


def _box(box: Box, start: float, end: float) -> Markup:
    return Markup(
        '<rect class="stage {}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
    ).format(
        box.look,
        start,
        TOP + ROW * box.row + 1,
        round(end - start, 1),
        ROW * box.rows - 2,
        _in_words(box),
    )


def _needs(boxes: list[Box], ends: list[tuple[float, float]]) -> list[Markup]:
    """Labels with the number of trainings that need a box; narrow neighbours share a label."""
    rows: list[list[int]] = []  # adjacent boxes with the same needs and height
    for place, box in enumerate(boxes):
        before = boxes[place - 1] if box.follows == place - 1 else None
        same = before and (before.needs, before.row, before.rows) == (box.needs, box.row, box.rows)
        if same and ends[place][0] - ends[place - 1][1] <= APART + 0.1:
            rows[-1].append(place)
        else:
            rows.append([place])
    parts = []
    for row in rows:
        box = boxes[row[0]]
        shown = f"\N{MULTIPLICATION SIGN}{box.needs:,}"
        width = LETTER * len(shown) + 5
        wide = all(width <= end - start for start, end in (ends[place] for place in row))
        for first, last in ((place, place) for place in row) if wide else ((row[0], row[-1]),):
            start, end = ends[first][0], ends[last][1]
            if box.needs > 1 and width <= end - start:
                foot = TOP + ROW * (box.row + box.rows / 2) + 4
                parts.append(
                    svg.text((start + end) / 2, foot, shown, "middle", f"inside {box.look}")
                )
    return parts


def _named(box: Box) -> str:
    """A name such as `classifier, seed 0`, or `classifier, fold 2, seed 0`."""
    role = box.role
    name = _(NAMES.get(role, role))
    if box.seed is None:
        return name
    if box.fold is not None:
        text = _("{name}, fold {fold}, seed {seed}")
        return text.format(name=name, fold=box.fold, seed=box.seed)
    return _("{name}, seed {seed}").format(name=name, seed=box.seed)


def _in_words(box: Box) -> str:
    words = [_named(box)]
    if box.epochs:
        first, last = _span(box)
        words.append(_("epochs {first} to {last}").format(first=first + 1, last=last))
    if box.phase == "single":
        words.append(_("single phase"))
    if box.phase == "cross":
        words.append(_("cross phase"))
    needs = ngettext("needed by {n} training", "needed by {n} trainings", box.needs)
    how = _("found in the store") if box.look == "found" else _("computed")
    users = f" ({_users(box)})" if box.users else ""
    told = f"{', '.join(words)}: {box.seconds:.1f} s, {how}, "
    return told + needs.format(n=box.needs) + users


def _users(box: Box, most: int = 3) -> str:
    """Names of users from stages.json, such as `trial 3`."""
    named = ", ".join(box.users[:most])
    others = len(box.users[most:]) + box.more_users
    if not others:
        return named
    return _("{named} and {others} more").format(named=named, others=f"{others:,}")


def _more(stages: int) -> str:
    return ngettext("and {n} more stage", "and {n} more stages", stages).format(n=f"{stages:,}")
