"""Figures of dose-response curves."""

from __future__ import annotations

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.sections.dose import ORACLE, Curve, Size

COLOURS = 8
"""Number of the page's colours; if there are more generators, some share a colour."""
APART = 3
"""Horizontal distance between the intervals of different curves at one share, so that none hides
another."""


def stroke(curve: Curve, place: int) -> str:
    """CSS classes of a curve's lines: dashed and black for the oracle, a colour for others."""
    return "dashed ink" if curve.generator == ORACLE else f"fold{place % COLOURS}"


def dose_chart(size: Size) -> Markup:
    """Macro-F1 over the share of synthetic images, with a line for each generator that begins at
    share 0. The interval around a point is that of its difference from share 0.
    """
    start = size.real.macro_f1
    points = [point for curve in size.curves for point in curve.points]
    heights = [end for point in points for end in (point.around.low, point.around.high)]
    heights += [point.macro_f1.value for point in points if point.macro_f1]
    x = svg.axis_x([0.0, *(point.share for point in points)], right=svg.WIDTH - 14)
    y = svg.axis_y(heights + ([start.value] if start else []), 0.0, 1.0)
    across, up = _("share of synthetic images in what training draws"), "macro-F1"
    parts = [svg.frame(x, y, across, up, whole=False)]
    if start is not None:
        parts.append(svg.line(svg.LEFT, y(start.value), x.end, y(start.value), "mean"))
    for place, curve in enumerate(size.curves):
        kind = stroke(curve, place)
        at = [(0.0, start.value)] if start is not None else []
        at += [(point.share, point.macro_f1.value) for point in curve.points if point.macro_f1]
        aside = APART * (place - (len(size.curves) - 1) / 2)
        for point in curve.points:
            beside = round(x(point.share) + aside, 1)
            ends = f"M{beside} {y(point.around.low)}V{y(point.around.high)}"
            parts.append(Markup('<path class="line {}" d="{}"/>').format(kind, ends))
        path = "M" + "L".join(f"{x(share)} {y(value)}" for share, value in at)
        parts.append(Markup('<path class="line {}" d="{}"/>').format(kind, path))
        for share, value in at[1:]:
            dot = '<circle class="dot {}" cx="{}" cy="{}" r="3"/>'
            parts.append(Markup(dot).format(kind, x(share), y(value)))
    alt = _("Macro-F1 over the share of synthetic images; the table has the numbers.")
    return svg.picture(parts, alt)
