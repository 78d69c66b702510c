"""Charts as inline SVG, with the fonts and (light, dark or printed) colours of the page.

Coordinates are rounded to tenths, so the same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
        """The position of a value."""
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


def axis_x(values: Sequence[float], right: float = WIDTH - RIGHT) -> Axis:
    """A horizontal axis over the range of the values; it is widened if they are all the same."""
    low, high = (min(values), max(values)) if values else (0, 1)
    return Axis(low=low, high=high if high > low else low + 1, start=LEFT + 6, end=right)


def axis_y(values: Sequence[float], floor: float | None = None, roof: float | None = None) -> Axis:
    """A vertical axis over the range of the values and a little more, within floor and roof."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.08 * (high - low) or 0.05
    low = low - room if floor is None else max(floor, low - room)
    high = high + room if roof is None else min(roof, high + room)
    return Axis(low=low, high=high if high > low else low + 1, start=HEIGHT - BOTTOM, end=TOP)


def frame(x: Axis, y: Axis, x_label: str, y_label: str, *, whole: bool) -> Markup:
    """Grid lines, tick labels and axis titles."""
    parts = [line(LEFT, y.start, x.end, y.start, "axis")]
    for tick in y.ticks():
        parts.append(line(LEFT, y(tick), x.end, y(tick), "grid"))
        parts.append(text(LEFT - 6, y(tick) + 4, tick_label(tick), "end"))
    for tick in x.ticks(whole=whole):
        parts.append(text(x(tick), y.start + 16, tick_label(tick), "middle"))
    parts.append(text((LEFT + x.end) / 2, y.start + 33, x_label, "middle", "title"))
    middle = (y.start + y.end) / 2
    turned = Markup('<text class="title" transform="{}" text-anchor="middle">{}</text>')
    parts.append(turned.format(f"translate(11 {middle:g}) rotate(-90)", y_label))
    return Markup("").join(parts)


def picture(
    parts: Sequence[Markup], alt: str, height: float = HEIGHT, width: float = WIDTH
) -> Markup:
    """The whole SVG image; `alt` says in words what it shows."""
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, alt, Markup("").join(parts)
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return Markup('<path class="{}" d="{}"/>').format(kind, f"M{x1} {y1}L{x2} {y2}")


def text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    """A short text, anchored at its start, middle or end."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, round(x, 1), round(y, 1), anchor, text
    )


def tick_label(value: float) -> str:
    """The label of a tick."""
    return f"{round(value, 10):g}"


def width(text: str, letter: float = 6.3) -> float:
    """Approximate width of a text at 12 px; Chinese characters are as wide as high."""
    return sum(12.0 if ord(sign) > 0x2E80 else letter for sign in text)


def shortened(text: str, most: int) -> str:
    """A text of at most `most` letters; an ellipsis replaces the rest."""
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
