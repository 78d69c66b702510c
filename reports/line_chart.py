"""Charts of values per epoch, with a line for each network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.language import ngettext
from reports.svg import LEFT, RIGHT, TOP, WIDTH

COLOURS = 8
"""Maximum number of folds that are distinguished by colour."""


def epoch_chart(
    networks: Sequence[Any],
    names: Mapping[str, tuple[str, str]],
    y_label: str,
    floor: float | None = None,
    roof: float | None = None,
    *,
    level: float | None = None,
    since: int | None = None,
    since_what: str = "",
) -> Markup:
    """A chart with a line for each network and name; names stand at the ends of the lines.

    If there are several folds, but not too many, each fold has a colour.

    Parameters
    ----------
    networks
        Each has `fold`, `epoch`, and a list of values for each field.
    names
        Field -> its name on the chart, and its stroke: solid or dashed.
    level
        Value at which a thin horizontal line is drawn.
    since, since_what
        First epoch and name of a later part of the training; a vertical line marks where it begins.
    """
    lines = {
        field: [
            [(e, v) for e, v in zip(n.epoch, getattr(n, field), strict=True) if v is not None]
            for n in networks
        ]
        for field in names
    }
    points = [point for group in lines.values() for line in group for point in line]
    x = svg.axis_x([e for e, _ in points])
    y = svg.axis_y([v for _, v in points] + ([] if level is None else [level]), floor, roof)
    folds = coloured_folds(networks)
    parts = [svg.frame(x, y, _("epoch"), y_label, whole=True)]
    if level is not None:
        parts.append(svg.line(LEFT, y(level), x.end, y(level), "mean"))
    if since is not None:
        upright = x(since - 0.5)
        parts.append(svg.line(upright, y.start, upright, y.end, "mean"))
        if since_what and upright < (LEFT + x.end) / 2:
            parts.append(svg.text(upright + 5, TOP + 6, since_what, "start"))
        elif since_what:  # the names of the lines are on the right
            told = f"{since_what} \N{RIGHTWARDS ARROW}"
            parts.append(svg.text(upright - 5, TOP + 6, told, "end"))
    ends: list[tuple[float, str, str]] = []
    for field, group in lines.items():
        label, stroke = names[field]
        drawn = [(line, n) for line, n in zip(group, networks, strict=True) if line]
        for line, network in drawn:
            kind = f"{stroke} fold{folds.index(network.fold)}" if folds else stroke
            path = "M" + "L".join(f"{x(e)} {y(v)}" for e, v in line)
            parts.append(Markup('<path class="line {}" d="{}"/>').format(kind, path))
            if len(line) == 1:
                parts.append(
                    Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"/>').format(
                        kind, x(line[0][0]), y(line[0][1])
                    )
                )
        if drawn:
            end = sum(y(line[-1][1]) for line, _ in drawn) / len(drawn)
            ends.append((end, label, "" if folds else stroke))
    parts += end_labels(ends)
    alt = ngettext(
        "{what} per epoch ({shown}), {networks} network.",
        "{what} per epoch ({shown}), {networks} networks.",
        len(networks),
    ).format(
        what=y_label[0].upper() + y_label[1:],
        shown=", ".join(label for label, _stroke in names.values()),
        networks=len(networks),
    )
    if since is not None and since_what:
        alt += " " + _("The {part} begins at the vertical line.").format(part=since_what)
    return svg.picture(parts, alt)


def coloured_folds(networks: Sequence[Any]) -> list[int]:
    """Folds that have colours, in ascending order; none if there is only one, or too many."""
    folds = sorted({network.fold for network in networks})
    return folds if 1 < len(folds) <= COLOURS else []


def end_labels(ends: Sequence[tuple[float, str, str]]) -> list[Markup]:
    """Names at the ends of lines, none over another; `ends` has heights, names, strokes."""
    texts, below = [], -math.inf
    for at, label, stroke in sorted(ends):
        below = max(at, below + 14)
        texts.append(svg.text(WIDTH - RIGHT + 6, below + 4, label, "start", f"name {stroke}"))
    return texts
