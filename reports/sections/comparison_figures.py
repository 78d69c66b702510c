"""Figure of the differences in a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.language import translated
from reports.sections.comparison_rows import OtherRow

WIDTH, LEFT, ROW, FOOT = 640, 200, 24, 34


def forest_chart(rows: Sequence[OtherRow]) -> Markup:
    """The method's macro-F1 minus each row's, with intervals, and a vertical line at zero."""
    ends = [end for row in rows for end in (row.difference.low, row.difference.high)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = 0.05 * (high - low) or 0.05
    x = svg.Axis(low=low - room, high=high + room, start=LEFT, end=WIDTH - 12)
    height = svg.TOP + ROW * len(rows) + FOOT
    parts = []
    for tick in x.ticks():
        parts.append(svg.line(x(tick), svg.TOP, x(tick), height - FOOT, "grid"))
        label = svg.tick_label(tick).replace("-", "\N{MINUS SIGN}")
        parts.append(svg.text(x(tick), height - FOOT + 15, label, "middle"))
    across = _("difference in macro-F1")
    parts.append(svg.text((LEFT + WIDTH - 12) / 2, height - 4, across, "middle", "title"))
    parts.append(svg.line(x(0), svg.TOP, x(0), height - FOOT, "axis"))
    for i, row in enumerate(rows):
        y, d = svg.TOP + ROW * i + ROW / 2, row.difference
        parts.append(svg.text(LEFT - 10, y + 4, svg.shortened(translated(row.title), 32), "end"))
        worse = row.state == "lower"
        kind = "interval worse" if worse else "interval"
        parts.append(svg.line(x(d.low), y, x(d.high), y, kind))
        parts.append(_mark(x(d.value), y, row.state))
    alt = _("The method's difference in macro-F1 to each row; the table has the numbers.")
    return svg.picture(parts, alt, height, WIDTH)


def _mark(x: float, y: float, state: str) -> Markup:
    if state == "lower":
        square = '<rect class="mark worse" x="{}" y="{}" width="9" height="9"/>'
        return Markup(square).format(round(x - 4.5, 1), round(y - 4.5, 1))
    kind = "complete" if state == "higher" else "pruned"
    return Markup('<circle class="mark {}" cx="{}" cy="{}" r="4.5"/>').format(kind, x, y)
