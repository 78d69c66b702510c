"""Trials in the searched space, drawn. Drawing only: `space_info` and `importance_info` decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.spaces import AXES

WIDTH, TOP, HEIGHT, FOOT = 920, 30, 230, 34
LEFT, RIGHT = 84, 60
UNUSED = 18
"""Below an axis: where trials pass that have no such parameter."""


def parallel_chart(space: dict[str, Any]) -> Markup:
    """A line for each trial over an axis for each parameter, the last one macro-F1."""
    axes = space["axes"][:AXES]
    step = (WIDTH - LEFT - RIGHT) / len(axes)
    places = [round(LEFT + i * step, 1) for i in range(len(axes) + 1)]
    y = svg.Axis(low=0.0, high=1.0, start=TOP + HEIGHT, end=TOP)
    value = svg.Axis(low=space["low"], high=_above(space), start=TOP + HEIGHT, end=TOP)
    unused = any(None in line["places"][: len(axes)] for line in space["lines"])
    foot = TOP + HEIGHT + (UNUSED if unused else 0)
    parts = []
    for line in space["lines"]:
        ups = [foot if p is None else y(p) for p in line["places"][: len(axes)]]
        ups.append(value(line["macro_f1"]))
        path = "M" + "L".join(f"{x:g} {up:g}" for x, up in zip(places, ups, strict=True))
        kind = f"trial v{line['shade']}" + (" best" if line["chosen"] else "")
        parts.append(
            Markup('<path class="{}" data-trial="{}" d="{}"/>').format(kind, line["number"], path)
        )
    for i, (x, axis) in enumerate(zip(places, axes, strict=False)):
        parts.append(svg.line(x, TOP, x, TOP + HEIGHT, "axis"))
        down = foot + 16 if i % 2 == 0 else foot + 30
        parts.append(svg.text(x, down, _short(axis["name"]), "middle", "title"))
        for place, label in axis["ticks"]:
            parts.append(svg.text(x + 4, y(place) + 4, _short(label, 12), "start", "number"))
    x = places[-1]
    parts.append(svg.line(x, TOP, x, TOP + HEIGHT, "axis"))
    parts.append(svg.text(x, foot + 16, _("macro-F1"), "middle", "title"))
    for tick in value.ticks():
        parts.append(svg.text(x + 4, value(tick) + 4, svg.tick_label(tick), "start", "number"))
    if unused:
        parts.append(svg.text(4, foot + 4, _("not used"), "start"))
    alt = _("{drawn} trials as lines over their parameters; the table of trials has the values.")
    chart = svg.picture(parts, alt.format(drawn=space["drawn"]), foot + FOOT, WIDTH)
    return chart


def _above(space: dict[str, Any]) -> float:
    high: float = space["high"]
    return high if high > space["low"] else space["low"] + 1


def slice_chart(space: dict[str, Any], place: int) -> Markup:
    """Macro-F1 over one parameter; complete trials filled, stopped ones open."""
    axis = space["axes"][place]
    x = svg.Axis(low=0.0, high=1.0, start=46, end=250)
    y = svg.Axis(low=space["low"], high=_above(space), start=120, end=8)
    parts = []
    for tick in y.ticks(3):
        parts.append(svg.line(40, y(tick), 256, y(tick), "grid"))
        parts.append(svg.text(36, y(tick) + 4, svg.tick_label(tick), "end"))
    ends = [axis["ticks"][0], axis["ticks"][-1]] if len(axis["ticks"]) > 4 else axis["ticks"]
    for at, label in ends:
        parts.append(svg.text(x(at), 140, _short(label, 14), "middle"))
    for line in space["lines"]:
        at = line["places"][place]
        if at is None:
            continue
        circle = '<circle class="mark {}" data-trial="{}" cx="{}" cy="{}" r="{}"/>'
        spot = x(at), y(line["macro_f1"])
        kind = "complete" if line["state"] == "complete" else "pruned"
        parts.append(Markup(circle).format(kind, line["number"], *spot, 2.5))
        if line["chosen"]:
            parts.append(Markup(circle).format("chosen", line["number"], *spot, 6))
    alt = _("Macro-F1 of trials over {name}.").format(name=axis["name"])
    return svg.picture(parts, alt, 146, 262)


def importance_chart(rows: Sequence[dict[str, Any]]) -> Markup:
    """A bar for each parameter, and the range over resamples."""
    left, width, row = 190, 560, 22
    height = 8 + row * len(rows) + 34
    x = svg.Axis(low=0.0, high=1.0, start=left, end=width - 14)
    parts = []
    for tick in x.ticks():
        parts.append(svg.line(x(tick), 8, x(tick), height - 34, "grid"))
        parts.append(svg.text(x(tick), height - 20, svg.tick_label(tick), "middle"))
    across = _("share of the explained variance")
    parts.append(svg.text((left + width) / 2, height - 4, across, "middle", "title"))
    for i, found in enumerate(rows):
        up = 8 + row * i
        parts.append(svg.text(left - 8, up + 15, _short(found["name"], 28), "end"))
        bar = '<rect class="bar" x="{}" y="{}" width="{}" height="12"/>'
        parts.append(Markup(bar).format(left, up + 5, round(x(found["value"]) - left, 1)))
        parts.append(svg.line(x(found["low"]), up + 11, x(found["high"]), up + 11, "whisker"))
    alt = _("Importance of {count} parameters; the table has the numbers.").format(count=len(rows))
    return svg.picture(parts, alt, height, width)


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
