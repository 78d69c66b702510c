"""Figures of the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.language import later
from reports.sections.front import AIMS, Front, FrontPoint
from reports.svg import WIDTH, Axis

OBJECTIVES = {
    "macro_f1": later("validation macro-F1"),
    "cross_recall": later("recall on cross images"),
    "compute": later("compute, stage-seconds"),
}


def front_chart(front: Front, across: str) -> Markup:
    """The first objective over another one; trials of the front are filled and have numbers.

    If there are two objectives, a line bounds the area that the front dominates.
    """
    up = front.objectives[0]
    names = {name: _(title) for name, title in OBJECTIVES.items()}
    points = front.points
    x = _roomy([getattr(p, across) for p in points])
    y = svg.axis_y([getattr(p, up) for p in points])
    parts = [svg.frame(x, y, names[across], names[up], whole=False)]
    best = sorted({(x(getattr(p, across)), y(getattr(p, up))) for p in points if p.front})
    if len(front.objectives) == 2:
        step = "V{1}H{0}" if AIMS[across] > 0 else "H{0}V{1}"
        path = f"M{best[0][0]} {best[0][1]}" + "".join(step.format(*at) for at in best[1:])
        parts.append(Markup('<path class="mean" fill="none" d="{}"/>').format(path))
    for p in sorted(points, key=lambda p: p.front):
        mark = Markup('<circle class="mark {}" cx="{}" cy="{}" r="{}"/>')
        kind, size = ("complete", 4) if p.front else ("pruned", 3)
        parts.append(mark.format(kind, x(getattr(p, across)), y(getattr(p, up)), size))
        if p.chosen:
            parts.append(mark.format("chosen", x(getattr(p, across)), y(getattr(p, up)), 8))
    parts += _numbers(points, [(x(getattr(p, across)), y(getattr(p, up))) for p in points])
    alt = _("{up} over {across} of {trials} trials, {size} on the front; the table has values.")
    alt = alt.format(up=names[up], across=names[across], trials=len(points), size=front.size)
    return svg.picture(parts, alt[0].upper() + alt[1:])


def _roomy(values: Sequence[float]) -> Axis:
    """A horizontal axis with a margin at both ends."""
    x = svg.axis_x(values, right=WIDTH - 16)
    room = 0.05 * (x.high - x.low)
    return Axis(low=x.low - room, high=x.high + room, start=x.start, end=x.end)


def _numbers(points: Sequence[FrontPoint], places: Sequence[tuple[float, float]]) -> list[Markup]:
    """Numbers beside the chosen trial and the trials of the front, as far as there is room."""
    texts: list[Markup] = []
    taken: list[tuple[float, float]] = []
    named = [(p, at) for p, at in zip(points, places, strict=True) if p.front or p.chosen]
    for p, (across, up) in sorted(named, key=lambda pair: not pair[0].chosen):
        if all(abs(across - x) > 26 or abs(up - y) > 12 for x, y in taken):
            taken.append((across, up))
            texts.append(svg.text(across + 8, up - 6, str(p.number), "start", "number"))
    return texts
