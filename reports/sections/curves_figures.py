"""Figures of ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.sections.curves import ClassCurves
from reports.svg import Axis

SIDE = 128
"""Side of the square in which a curve is drawn."""
LEFT, TOP, APART, FOOT = 40, 8, 58, 36


def curve_chart(curves: ClassCurves) -> Markup:
    """The curves of one class: ROC on the left, precision over recall on the right."""
    parts = []
    places = (LEFT, LEFT + SIDE + APART)
    titles = ((_("1 − specificity"), _("recall")), (_("recall"), _("precision")))
    guesses = (((0.0, 0.0), (1.0, 1.0)), ((0.0, curves.share), (1.0, curves.share)))
    for place, kind, (across, up), guess in zip(
        places, ("roc", "recall"), titles, guesses, strict=True
    ):
        x = Axis(low=0.0, high=1.0, start=place, end=place + SIDE)
        y = Axis(low=0.0, high=1.0, start=TOP + SIDE, end=TOP)
        parts += _square(x, y, across, up)
        (x1, y1), (x2, y2) = guess
        parts.append(svg.line(x(x1), y(y1), x(x2), y(y2), "mean"))
        for own, stroke in ((curves.other, "dashed"), (curves.method, "solid")):
            if own is not None:
                parts.append(_steps(getattr(own, kind).heights, x, y, kind, stroke))
    alt = _("{name}: ROC curve and precision over recall; areas are below.").format(
        name=curves.name.replace("_", " ")
    )
    return svg.picture(parts, alt, TOP + SIDE + FOOT, places[1] + SIDE + 8)


def _square(x: Axis, y: Axis, across: str, up: str) -> list[Markup]:
    parts = []
    for tick in (0.0, 0.5, 1.0):
        parts.append(svg.line(x.start, y(tick), x.end, y(tick), "grid"))
        parts.append(svg.line(x(tick), y.start, x(tick), y.end, "grid"))
        parts.append(svg.text(x.start - 5, y(tick) + 4, svg.tick_label(tick), "end"))
        parts.append(svg.text(x(tick), y.start + 14, svg.tick_label(tick), "middle"))
    middle = (y.start + y.end) / 2
    turned = Markup('<text class="title" transform="{}" text-anchor="middle">{}</text>')
    parts.append(turned.format(f"translate({x.start - 27:g} {middle:g}) rotate(-90)", up))
    parts.append(svg.text((x.start + x.end) / 2, y.start + 30, across, "middle", "title"))
    return parts


def _steps(heights: Sequence[float], x: Axis, y: Axis, kind: str, stroke: str) -> Markup:
    """The path of a curve; that of a ROC curve begins at the origin and ends at (1, 1)."""
    path = f"M{x(0.0)} {y(0.0 if kind == 'roc' else heights[0])}"
    before = None
    for i, height in enumerate(heights):
        up = y(height)
        if up != before:
            path += ("" if i == 0 else f"H{x(i / len(heights))}") + f"V{up}"
        before = up
    path += f"H{x(1.0)}" + (f"V{y(1.0)}" if kind == "roc" else "")
    return Markup('<path class="line {}" d="{}"/>').format(stroke, path)
