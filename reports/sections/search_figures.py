"""Figure of a search's trials in their order."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from reports import svg
from reports.language import gettext as _
from reports.sections.search import HistoryPoint
from reports.svg import BOTTOM, HEIGHT, WIDTH


def history_chart(history: Sequence[HistoryPoint]) -> Markup:
    """The value of each trial, marked by outcome, and the best value so far."""
    x = svg.axis_x([h.number for h in history], right=WIDTH - 16)
    y = svg.axis_y([h.macro_f1 for h in history if h.macro_f1 is not None])
    parts = [svg.frame(x, y, _("trial"), _("validation macro-F1"), whole=True)]
    best = [(h.number, h.best_so_far) for h in history if h.best_so_far is not None]
    if best:
        path = f"M{x(best[0][0])} {y(best[0][1])}"
        path += "".join(f"H{x(n)}V{y(value)}" for n, value in best[1:])
        parts.append(Markup('<path class="line solid" d="{}"/>').format(path))
    for h in history:
        at = x(h.number)
        if h.macro_f1 is None:
            mark = f"M{at - 3} {HEIGHT - BOTTOM - 9}l6 6m0 -6l-6 6"
            parts.append(Markup('<path class="mark failed" d="{}"/>').format(mark))
        else:
            circle = '<circle class="mark {}" data-trial="{}" cx="{}" cy="{}" r="3"/>'
            value = y(h.macro_f1)
            parts.append(Markup(circle).format(h.state, h.number, at, value))
    alt = _("Validation macro-F1 of {trials} trials in order, with the best so far as a line.")
    return svg.picture(parts, alt.format(trials=len(history)))
