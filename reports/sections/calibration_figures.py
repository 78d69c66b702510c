"""Figure of stated probabilities and shares of correct predictions."""

from __future__ import annotations

import math

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.line_chart import end_labels
from reports.sections.calibration import MeasuredCalibration
from reports.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH


def reliability_chart(calibration: MeasuredCalibration) -> Markup:
    """Accuracy over confidence, before and after temperature scaling, and the diagonal of perfect
    calibration.
    """
    names = {"trained": (_("as trained"), "dashed"), "tempered": (_("calibrated"), "solid")}
    x = svg.Axis(low=0.0, high=1.0, start=LEFT + 6, end=WIDTH - RIGHT)
    y = svg.Axis(low=0.0, high=1.0, start=HEIGHT - BOTTOM, end=TOP)
    parts = [svg.frame(x, y, _("stated probability"), _("share right"), whole=False)]
    parts.append(svg.line(x(0), y(0), x(1), y(1), "mean"))
    ends = []
    for name, (label, stroke) in names.items():
        bins = calibration.curves[name]
        places = [(x(b.confidence), y(b.accuracy)) for b in bins]
        path = "M" + "L".join(f"{across} {up}" for across, up in places)
        parts.append(Markup('<path class="line {}" d="{}"/>').format(stroke, path))
        for (across, up), found in zip(places, bins, strict=True):
            parts.append(
                Markup('<circle class="bin {}" cx="{}" cy="{}" r="{}"/>').format(
                    stroke, across, up, round(2 + 7 * math.sqrt(found.share), 1)
                )
            )
        ends.append((places[-1][1], label, stroke))
    parts += end_labels(ends)
    alt = _("Share of right answers over stated probability, before and after calibration.")
    return svg.picture(parts, alt)
