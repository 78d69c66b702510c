"""Charts as inline SVG: they take the page's colours, light, dark or printed, and its fonts.

Drawing only; every number comes from the report's dictionary. Coordinates are rounded to tenths,
so the same numbers are the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 84, 12, 38


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A linear map from values to SVG units, with round ticks."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, count: int = 5, *, whole: bool = False) -> list[float]:
        """Multiples of 1, 2 or 5 times a power of ten, about `count` of them."""
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
        step = max(1.0, step) if whole else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def loss_chart(training: dict[str, Any]) -> Markup:
    """Training and validation loss per epoch, a line for each seed."""
    names = {"train_loss": ("training", "dashed"), "validation_loss": ("validation", "solid")}
    return _curves(training, names, "loss", **_switch(training))


def macro_f1_chart(training: dict[str, Any]) -> Markup:
    """Validation macro-F1 per epoch, a line for each seed."""
    names = {"validation_macro_f1": ("validation", "solid")}
    return _curves(training, names, "macro-F1", floor=0.0, roof=1.0, **_switch(training))


def _switch(training: dict[str, Any]) -> dict[str, Any]:
    """Where the cross phase begins."""
    begins = training["cross_from"]
    return {} if begins is None else {"since": begins - 0.5, "since_what": "cross phase"}


def dcgan_loss_chart(dcgan: dict[str, Any]) -> Markup:
    """Both networks' losses per epoch, a line for each seed."""
    names = {
        "discriminator_loss": ("discriminator", "solid"),
        "generator_loss": ("generator", "dashed"),
    }
    return _curves(dcgan, names, "loss")


def diversity_chart(dcgan: dict[str, Any]) -> Markup:
    """How far generated pictures differ, per epoch, beside a line where real ones are."""
    return _curves(dcgan, {"diversity": ("generated", "solid")}, "diversity", 0.0, level=1.0)


def psnr_chart(srgan: dict[str, Any]) -> Markup:
    """PSNR on validation images per epoch, beside bicubic interpolation's."""
    names = {"validation_psnr_db": ("SRGAN", "solid"), "bicubic_psnr_db": ("bicubic", "dashed")}
    begins = srgan["adversarial_from"]
    return _curves(srgan, names, "PSNR, dB", since=None if begins is None else begins - 0.5)


def history_chart(history: Sequence[dict[str, Any]]) -> Markup:
    """Each trial's value by its outcome, and the best so far."""
    valued = [h for h in history if h["macro_f1"] is not None]
    x = _axis_x([h["number"] for h in history], right=WIDTH - 16)
    y = _axis_y([h["macro_f1"] for h in valued])
    parts = [_frame(x, y, "trial", "validation macro-F1", whole=True)]
    best = [(h["number"], h["best_so_far"]) for h in history if h["best_so_far"] is not None]
    if best:
        path = f"M{x(best[0][0])} {y(best[0][1])}"
        path += "".join(f"H{x(n)}V{y(value)}" for n, value in best[1:])
        parts.append(Markup('<path class="line solid" d="{}"/>').format(path))
    for h in history:
        at = x(h["number"])
        if h["macro_f1"] is None:
            mark = f"M{at - 3} {HEIGHT - BOTTOM - 9}l6 6m0 -6l-6 6"
            parts.append(Markup('<path class="mark failed" d="{}"/>').format(mark))
        else:
            parts.append(
                Markup('<circle class="mark {}" cx="{}" cy="{}" r="3"/>').format(
                    h["state"], at, y(h["macro_f1"])
                )
            )
    alt = f"Validation macro-F1 of {len(history)} trials in order, with the best so far as a line."
    return _svg(parts, alt)


def interval_chart(rows: Sequence[dict[str, Any]], metric: str, mean: float | None) -> Markup:
    """A dot and its confidence interval for each class; a dashed line at the macro mean."""
    rows = [row for row in rows if row[metric]]
    left = 12 + min(150, max((6.3 * len(_short(row["name"])) for row in rows), default=0))
    height = TOP + 25 * len(rows) + BOTTOM
    low = min((row[metric]["low"] for row in rows), default=0.0)
    x = Axis(low=min(0.8, math.floor(low * 10) / 10), high=1.0, start=left, end=WIDTH - 14)
    parts = []
    for tick in x.ticks():
        parts.append(_line(x(tick), TOP, x(tick), height - BOTTOM, "grid"))
        parts.append(_text(x(tick), height - BOTTOM + 15, _tick(tick), "middle"))
    parts.append(_text((left + WIDTH - 14) / 2, height - 4, metric.upper(), "middle"))
    if mean is not None:
        parts.append(_line(x(mean), TOP, x(mean), height - BOTTOM, "mean"))
    for i, row in enumerate(rows):
        y, e = TOP + 25 * i + 13, row[metric]
        parts.append(_text(left - 8, y + 4, _short(row["name"]), "end"))
        parts.append(_line(x(e["low"]), y, x(e["high"]), y, "interval"))
        parts.append(
            Markup('<circle class="mark complete" cx="{}" cy="{}" r="4"/>').format(x(e["value"]), y)
        )
    alt = f"{metric.upper()} of each class with its confidence interval; the table has the numbers."
    return _svg(parts, alt, height)


def reliability_chart(calibration: dict[str, Any]) -> Markup:
    """Accuracy over stated confidence, as trained and tempered, beside the diagonal of truth."""
    names = {"trained": ("as trained", "dashed"), "tempered": ("tempered", "solid")}
    x = Axis(low=0.0, high=1.0, start=LEFT + 6, end=WIDTH - RIGHT)
    y = Axis(low=0.0, high=1.0, start=HEIGHT - BOTTOM, end=TOP)
    parts = [_frame(x, y, "stated probability", "share right", whole=False)]
    parts.append(_line(x(0), y(0), x(1), y(1), "mean"))
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
    alt = "Share of right answers over stated probability, before and after tempering."
    return _svg(parts, alt)


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
    x = _axis_x([e for e, _ in points])
    y = _axis_y([v for _, v in points] + ([] if level is None else [level]), floor, roof)
    parts = [_frame(x, y, "epoch", y_label, whole=True)]
    if level is not None:
        parts.append(_line(LEFT, y(level), x.end, y(level), "mean"))
    if since is not None:
        parts.append(_line(x(since), y.start, x(since), y.end, "mean"))
        if since_what and x(since) < (LEFT + x.end) / 2:
            parts.append(_text(x(since) + 5, TOP + 6, since_what, "start"))
        elif since_what:  # the names of the lines need the room to the right
            parts.append(_text(x(since) - 5, TOP + 6, f"{since_what} \N{RIGHTWARDS ARROW}", "end"))
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
    shown = " and ".join(label for label, _ in names.values())
    alt = f"{y_label[0].upper()}{y_label[1:]} per epoch ({shown}), {seeds} seeds."
    if since_what:
        alt += f" The {since_what} begins where the upright line is."
    return _svg(parts, alt)


def _end_labels(ends: Sequence[tuple[float, str, str]]) -> list[Markup]:
    """Names beside the ends of their lines: height, name, stroke; not one over another."""
    texts, below = [], -math.inf
    for at, label, stroke in sorted(ends):
        below = max(at, below + 14)
        texts.append(_text(WIDTH - RIGHT + 6, below + 4, label, "start", f"name {stroke}"))
    return texts


def _axis_x(values: Sequence[float], right: float = WIDTH - RIGHT) -> Axis:
    low, high = (min(values), max(values)) if values else (0, 1)
    return Axis(low=low, high=high if high > low else low + 1, start=LEFT + 6, end=right)


def _axis_y(values: Sequence[float], floor: float | None = None, roof: float | None = None) -> Axis:
    """The values' range and a little room, within floor and roof."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.08 * (high - low) or 0.05
    low = low - room if floor is None else max(floor, low - room)
    high = high + room if roof is None else min(roof, high + room)
    return Axis(low=low, high=high if high > low else low + 1, start=HEIGHT - BOTTOM, end=TOP)


def _frame(x: Axis, y: Axis, x_label: str, y_label: str, *, whole: bool) -> Markup:
    """Grid lines, tick labels and axis titles."""
    parts = [_line(LEFT, y.start, x.end, y.start, "axis")]
    for tick in y.ticks():
        parts.append(_line(LEFT, y(tick), x.end, y(tick), "grid"))
        parts.append(_text(LEFT - 6, y(tick) + 4, _tick(tick), "end"))
    for tick in x.ticks(whole=whole):
        parts.append(_text(x(tick), y.start + 16, _tick(tick), "middle"))
    parts.append(_text((LEFT + x.end) / 2, y.start + 33, x_label, "middle", "title"))
    middle = (y.start + y.end) / 2
    turned = Markup('<text class="title" transform="{}" text-anchor="middle">{}</text>')
    parts.append(turned.format(f"translate(11 {middle:g}) rotate(-90)", y_label))
    return Markup("").join(parts)


def _svg(parts: Sequence[Markup], alt: str, height: float = HEIGHT) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, alt, Markup("").join(parts)
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<path class="{}" d="{}"/>').format(kind, f"M{x1} {y1}L{x2} {y2}")


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, round(x, 1), round(y, 1), anchor, text
    )


def _tick(value: float) -> str:
    return f"{round(value, 10):g}"


def _short(name: str) -> str:
    """A class name that fits beside a chart; the table has all of it."""
    name = name.replace("_", " ")
    return name if len(name) <= 22 else name[:21] + "…"
