"""The charts of a report. Drawing only: every number comes from the report's dictionary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.language import ngettext
from reports.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH


def loss_chart(training: dict[str, Any]) -> Markup:
    """Training and validation loss per epoch, a line for each seed."""
    names = {"train_loss": (_("training"), "dashed"), "validation_loss": (_("validation"), "solid")}
    return _curves(training, names, _("loss"), **_switch(training))


def macro_f1_chart(training: dict[str, Any]) -> Markup:
    """Validation macro-F1 per epoch, a line for each seed."""
    names = {"validation_macro_f1": (_("validation"), "solid")}
    return _curves(training, names, _("macro-F1"), floor=0.0, roof=1.0, **_switch(training))


def _switch(training: dict[str, Any]) -> dict[str, Any]:
    """Where the cross phase begins."""
    begins = training["cross_from"]
    return {} if begins is None else {"since": begins - 0.5, "since_what": _("cross phase")}


def dcgan_loss_chart(dcgan: dict[str, Any]) -> Markup:
    """Both networks' losses per epoch, a line for each seed."""
    names = {
        "discriminator_loss": (_("discriminator"), "solid"),
        "generator_loss": (_("generator"), "dashed"),
    }
    return _curves(dcgan, names, _("loss"))


def diversity_chart(dcgan: dict[str, Any]) -> Markup:
    """How far generated pictures differ, per epoch, beside a line where real ones are."""
    return _curves(dcgan, {"diversity": (_("generated"), "solid")}, _("diversity"), 0.0, level=1.0)


def psnr_chart(srgan: dict[str, Any]) -> Markup:
    """PSNR on validation images per epoch, beside bicubic interpolation's."""
    names = {"validation_psnr_db": ("SRGAN", "solid"), "bicubic_psnr_db": (_("bicubic"), "dashed")}
    begins = srgan["adversarial_from"]
    return _curves(srgan, names, "PSNR, dB", since=None if begins is None else begins - 0.5)


def interval_chart(rows: Sequence[dict[str, Any]], metric: str, mean: float | None) -> Markup:
    """A dot and its confidence interval for each class; a dashed line at the macro mean."""
    rows = [row for row in rows if row[metric]]
    left = 12 + min(150, max((svg.width(_short(row["name"])) for row in rows), default=0))
    height = TOP + 25 * len(rows) + BOTTOM
    low = min((row[metric]["low"] for row in rows), default=0.0)
    x = svg.Axis(low=min(0.8, math.floor(low * 10) / 10), high=1.0, start=left, end=WIDTH - 14)
    parts = []
    for tick in x.ticks():
        parts.append(svg.line(x(tick), TOP, x(tick), height - BOTTOM, "grid"))
        parts.append(svg.text(x(tick), height - BOTTOM + 15, svg.tick_label(tick), "middle"))
    parts.append(svg.text((left + WIDTH - 14) / 2, height - 4, metric.upper(), "middle"))
    if mean is not None:
        parts.append(svg.line(x(mean), TOP, x(mean), height - BOTTOM, "mean"))
    for i, row in enumerate(rows):
        y, e = TOP + 25 * i + 13, row[metric]
        parts.append(svg.text(left - 8, y + 4, _short(row["name"]), "end"))
        parts.append(svg.line(x(e["low"]), y, x(e["high"]), y, "interval"))
        parts.append(
            Markup('<circle class="mark complete" cx="{}" cy="{}" r="4"/>').format(x(e["value"]), y)
        )
    alt = _("{metric} of each class with its confidence interval; the table has the numbers.")
    return svg.picture(parts, alt.format(metric=metric.upper()), height)


def reliability_chart(calibration: dict[str, Any]) -> Markup:
    """Accuracy over stated confidence, as trained and tempered, beside the diagonal of truth."""
    names = {"trained": (_("as trained"), "dashed"), "tempered": (_("tempered"), "solid")}
    x = svg.Axis(low=0.0, high=1.0, start=LEFT + 6, end=WIDTH - RIGHT)
    y = svg.Axis(low=0.0, high=1.0, start=HEIGHT - BOTTOM, end=TOP)
    parts = [svg.frame(x, y, _("stated probability"), _("share right"), whole=False)]
    parts.append(svg.line(x(0), y(0), x(1), y(1), "mean"))
    ends = []
    for name, (label, stroke) in names.items():
        bins = calibration["curves"][name]
        places = [(x(b["confidence"]), y(b["accuracy"])) for b in bins]
        path = "M" + "L".join(f"{across} {up}" for across, up in places)
        parts.append(Markup('<path class="line {}" d="{}"/>').format(stroke, path))
        for (across, up), found in zip(places, bins, strict=True):
            parts.append(
                Markup('<circle class="bin {}" cx="{}" cy="{}" r="{}"/>').format(
                    stroke, across, up, round(2 + 7 * math.sqrt(found["share"]), 1)
                )
            )
        ends.append((places[-1][1], label, stroke))
    parts += _end_labels(ends)
    alt = _("Share of right answers over stated probability, before and after tempering.")
    return svg.picture(parts, alt)


def _curves(
    training: dict[str, Any],
    names: Mapping[str, tuple[str, str]],
    y_label: str,
    floor: float | None = None,
    roof: float | None = None,
    *,
    level: float | None = None,
    since: float | None = None,
    since_what: str = "",
) -> Markup:
    """A line for each seed and name, and the name beside its end.

    Parameters
    ----------
    names
        Field -> its name on the chart, and its stroke: solid or dashed.
    level, since
        Where a fine line runs across, and where one stands upright, with `since_what` beside it.
    """
    lines = {
        field: [
            [(e, v) for e, v in zip(s["epoch"], s[field], strict=True) if v is not None]
            for s in training["seeds"]
        ]
        for field in names
    }
    points = [point for group in lines.values() for line in group for point in line]
    x = svg.axis_x([e for e, _ in points])
    y = svg.axis_y([v for _, v in points] + ([] if level is None else [level]), floor, roof)
    parts = [svg.frame(x, y, _("epoch"), y_label, whole=True)]
    if level is not None:
        parts.append(svg.line(LEFT, y(level), x.end, y(level), "mean"))
    if since is not None:
        parts.append(svg.line(x(since), y.start, x(since), y.end, "mean"))
        if since_what and x(since) < (LEFT + x.end) / 2:
            parts.append(svg.text(x(since) + 5, TOP + 6, since_what, "start"))
        elif since_what:  # the names of the lines need the room to the right
            parts.append(
                svg.text(x(since) - 5, TOP + 6, f"{since_what} \N{RIGHTWARDS ARROW}", "end")
            )
    ends: list[tuple[float, str, str]] = []
    for field, group in lines.items():
        label, stroke = names[field]
        drawn = [line for line in group if line]
        for line in drawn:
            path = "M" + "L".join(f"{x(e)} {y(v)}" for e, v in line)
            parts.append(Markup('<path class="line {}" d="{}"/>').format(stroke, path))
            if len(line) == 1:
                parts.append(
                    Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"/>').format(
                        stroke, x(line[0][0]), y(line[0][1])
                    )
                )
        if drawn:
            ends.append((sum(y(line[-1][1]) for line in drawn) / len(drawn), label, stroke))
    parts += _end_labels(ends)
    seeds = len(training["seeds"])
    alt = ngettext(
        "{what} per epoch ({shown}), {seeds} seed.",
        "{what} per epoch ({shown}), {seeds} seeds.",
        seeds,
    ).format(
        what=y_label[0].upper() + y_label[1:],
        shown=", ".join(label for label, _stroke in names.values()),
        seeds=seeds,
    )
    if since_what:
        alt += " " + _("The {part} begins where the upright line is.").format(part=since_what)
    return svg.picture(parts, alt)


def _end_labels(ends: Sequence[tuple[float, str, str]]) -> list[Markup]:
    """Names beside the ends of their lines: height, name, stroke; not one over another."""
    texts, below = [], -math.inf
    for at, label, stroke in sorted(ends):
        below = max(at, below + 14)
        texts.append(svg.text(WIDTH - RIGHT + 6, below + 4, label, "start", f"name {stroke}"))
    return texts


def _short(name: str) -> str:
    """A class name that fits beside a chart; the table has all of it."""
    name = _(name.replace("_", " "))
    return name if len(name) <= 22 else name[:21] + "…"
