"""Figures of trials in the searched space."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.sections.search_space import AXES, ParameterAxis, SearchSpace, TrialLine

WIDTH, TOP, HEIGHT, FOOT = 920, 64, 250, 12
LEFT, RIGHT = 84, 60
UNUSED = 26
"""Room below an axis for trials without its parameter."""
LETTERS = 11
"""Maximum number of letters in a line of an axis title."""
ASIDE = 9
"""Maximum horizontal distance of a mark from its value in slices of few values."""


def parallel_chart(space: SearchSpace) -> Markup:
    """A line for each complete trial across an axis for each parameter and one for macro-F1."""
    axes = space.axes[:AXES]
    lines = [line for line in space.lines if line.state == "complete"]
    step = (WIDTH - LEFT - RIGHT) / len(axes)
    places = [round(LEFT + i * step, 1) for i in range(len(axes) + 1)]
    y = svg.Axis(low=0.0, high=1.0, start=TOP + HEIGHT, end=TOP)
    value = _values(lines, start=TOP + HEIGHT, end=TOP)
    lacking = [any(line.places[i] is None for line in lines) for i in range(len(axes))]
    foot = TOP + HEIGHT + (UNUSED if any(lacking) else 0)
    parts = []
    for line in lines:
        ups = [foot if p is None else round(y(p)) for p in line.places[: len(axes)]]
        ups.append(round(value(line.macro_f1)))
        path = "M" + "L".join(f"{x:g} {up:g}" for x, up in zip(places, ups, strict=True))
        kind = f"trial v{line.shade}"
        if line.number == space.bold:
            kind = "trial best"
            parts.append(Markup('<path class="halo" d="{}"/>').format(path))
        parts.append(
            Markup('<path class="{}" data-trial="{}" d="{}"/>').format(kind, line.number, path)
        )
    if any(lacking):
        last = max(x for x, lacks in zip(places, lacking, strict=False) if lacks)
        parts.append(svg.line(LEFT - 6, foot, last, foot, "mean"))
        parts.append(svg.text(LEFT - 10, foot + 4, _("not used"), "end"))
    for x, axis, lacks in zip(places, axes, lacking, strict=False):
        parts.append(svg.line(x, TOP, x, TOP + HEIGHT, "axis"))
        parts += _heading(x, axis.name)
        for place, label in _apart(axis.ticks, 13 / HEIGHT):
            parts.append(svg.text(x + 4, y(place) + 4, svg.shortened(label, LETTERS + 2), "start"))
        if lacks:
            box = '<rect class="unused" x="{}" y="{}" width="7" height="7"/>'
            parts.append(Markup(box).format(round(x - 3.5, 1), foot - 3.5))
    x = places[-1]
    parts.append(svg.line(x, TOP, x, TOP + HEIGHT, "axis"))
    parts.append(svg.text(x, TOP - 12, _("macro-F1"), "middle", "name"))
    for tick in value.ticks():
        parts.append(svg.text(x + 4, value(tick) + 4, svg.tick_label(tick), "start"))
    alt = _("{drawn} trials as lines over their parameters; the table of trials has the values.")
    return svg.picture(parts, alt.format(drawn=len(lines)), foot + FOOT, WIDTH)


def _values(lines: Sequence[TrialLine], start: float, end: float) -> svg.Axis:
    """An axis over the range of macro-F1, which is widened if all values are equal."""
    known = [line.macro_f1 for line in lines]
    low, high = min(known), max(known)
    room = 0.0 if high > low else 0.05
    return svg.Axis(low=low - room, high=high + room, start=start, end=end)


def _heading(x: float, name: str) -> list[Markup]:
    """A parameter's name in several lines; the lowest is just above the axis."""
    group, _dot, own = name.rpartition(".")
    rows = [""]
    for word in own.replace("_", "_ ").split():
        if rows[-1] and len(rows[-1] + word) > LETTERS:
            rows.append("")
        rows[-1] += word
    told = [(svg.shortened(row, LETTERS), "name") for row in rows[:3]]
    if group:
        told.insert(0, (svg.shortened(group, LETTERS + 2), "group"))
    return [
        svg.text(x, TOP - 12 - 13 * up, row, "middle", kind)
        for up, (row, kind) in enumerate(reversed(told))
    ]


def _apart(ticks: Sequence[tuple[float, str]], least: float) -> list[tuple[float, str]]:
    """The ticks whose labels do not overlap: both ends, and those of the others that fit."""
    if len(ticks) < 3:
        return list(ticks)
    kept = [ticks[0], ticks[-1]]
    for tick in ticks[1:-1]:
        if all(abs(tick[0] - other[0]) >= least for other in kept):
            kept.append(tick)
    return kept


def slice_chart(space: SearchSpace, place: int) -> Markup:
    """Macro-F1 over one parameter; marks of complete trials are filled, of stopped ones open.

    If a parameter has few values, marks with the same value are spread by trial number.
    """
    axis = space.axes[place]
    inset = 20 if axis.few else 0
    x = svg.Axis(low=0.0, high=1.0, start=50 + inset, end=250 - inset)
    y = _values(space.lines, start=120, end=10)
    parts = []
    for tick in y.ticks(3):
        parts.append(svg.line(40, y(tick), 258, y(tick), "grid"))
        parts.append(svg.text(36, y(tick) + 4, svg.tick_label(tick), "end"))
    parts += _beneath(axis, x)
    circle = '<circle class="mark {}" data-trial="{}" cx="{}" cy="{}" r="{}"/>'
    for line in space.lines:
        at = line.places[place]
        if at is None:
            continue
        aside = (line.number * 7 % (2 * ASIDE + 1) - ASIDE) if axis.few else 0
        spot = round(x(at) + aside, 1), y(line.macro_f1)
        kind = "complete" if line.state == "complete" else "pruned"
        parts.append(Markup(circle).format(kind, line.number, *spot, 2.5))
        if line.chosen:
            parts.append(Markup(circle).format("chosen", line.number, *spot, 6))
    alt = _("Macro-F1 of trials over {name}.").format(name=axis.name)
    return svg.picture(parts, alt, 162, 262)


def _beneath(axis: ParameterAxis, x: svg.Axis) -> list[Markup]:
    """The labels of an axis, in two rows if words would overlap in one."""
    ticks = [(at, svg.shortened(label, 14)) for at, label in axis.ticks]
    least = max((svg.width(label) + 6 for _, label in ticks), default=0) / (x.end - x.start)
    rows = [ticks]
    if axis.few and len(_apart(ticks, least)) < len(ticks):
        rows = [ticks[::2], ticks[1::2]]
    return [
        svg.text(x(at), 141 + 15 * down, label, "middle")
        for down, row in enumerate(rows)
        for at, label in _apart(row, least)
    ]
