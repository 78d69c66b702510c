"""Figure of a metric of each class."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.sections.results import ClassMetrics
from reports.svg import BOTTOM, TOP, WIDTH


def interval_chart(rows: Sequence[ClassMetrics], metric: str, mean: float | None) -> Markup:
    """A dot and a confidence interval for each class, and a dashed line at the macro mean."""
    found = [(row.name, e) for row in rows if (e := getattr(row, metric)) is not None]
    left = 12 + min(150, max((svg.width(_short(name)) for name, _e in found), default=0))
    height = TOP + 25 * len(found) + BOTTOM
    low = min((e.low for _name, e in found), default=0.0)
    x = svg.Axis(low=min(0.8, math.floor(low * 10) / 10), high=1.0, start=left, end=WIDTH - 14)
    parts = []
    for tick in x.ticks():
        parts.append(svg.line(x(tick), TOP, x(tick), height - BOTTOM, "grid"))
        parts.append(svg.text(x(tick), height - BOTTOM + 15, svg.tick_label(tick), "middle"))
    parts.append(svg.text((left + WIDTH - 14) / 2, height - 4, metric.upper(), "middle"))
    if mean is not None:
        parts.append(svg.line(x(mean), TOP, x(mean), height - BOTTOM, "mean"))
    for i, (name, e) in enumerate(found):
        y = TOP + 25 * i + 13
        parts.append(svg.text(left - 8, y + 4, _short(name), "end"))
        parts.append(svg.line(x(e.low), y, x(e.high), y, "interval"))
        parts.append(
            Markup('<circle class="mark complete" cx="{}" cy="{}" r="4"/>').format(x(e.value), y)
        )
    alt = _("{metric} of each class with its confidence interval; the table has the numbers.")
    return svg.picture(parts, alt.format(metric=metric.upper()), height)


def _short(name: str) -> str:
    """A class name, shortened to fit beside a chart; the table has the full name."""
    return svg.shortened(_(name.replace("_", " ")), 22)
