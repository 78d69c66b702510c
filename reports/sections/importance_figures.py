"""Figure of the importance of parameters."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.sections.importance import ParameterImportance


def importance_chart(rows: Sequence[ParameterImportance], together: float) -> Markup:
    """A bar for each parameter, with its range over resamples, and a bar for the rest."""
    left, width, row = 190, 620, 22
    height = 8 + row * (len(rows) + 1) + 34
    x = svg.Axis(low=0.0, high=1.0, start=left, end=width - 44)
    parts = []
    for tick in x.ticks():
        parts.append(svg.line(x(tick), 8, x(tick), height - 34, "grid"))
        parts.append(svg.text(x(tick), height - 20, svg.tick_label(tick), "middle"))
    across = _("share of the explained variance")
    parts.append(svg.text((x.start + x.end) / 2, height - 4, across, "middle", "title"))
    bar = '<rect class="{}" x="{}" y="{}" width="{}" height="13"/>'
    for i, found in enumerate(rows):
        up = 8 + row * i
        parts.append(svg.text(left - 8, up + 15, svg.shortened(found.name, 28), "end"))
        wide = round(x(found.value) - left, 1)
        parts.append(Markup(bar).format("bar", left, up + 5, wide))
        low, high = x(found.low), x(found.high)
        whisker = f"M{low} {up + 11.5}H{high}M{low} {up + 8}v7M{high} {up + 8}v7"
        parts.append(Markup('<path class="whisker" d="{}"/>').format(whisker))
        parts.append(svg.text(high + 7, up + 15, _share(found.value), "start", "value"))
    up, wide = 8 + row * len(rows), round(x(together) - left, 1)
    parts.append(svg.text(left - 8, up + 15, _("several together"), "end"))
    parts.append(Markup(bar).format("together", left, up + 5, wide))
    parts.append(svg.text(left + wide + 7, up + 15, _share(together), "start", "value"))
    alt = _("Importance of {count} parameters; the table has the numbers.").format(count=len(rows))
    return svg.picture(parts, alt, height, width)


def _share(value: float) -> str:
    return f"{value:.2f}" if value >= 0.005 else "<0.01"
