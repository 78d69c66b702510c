"""The model card of a recalibrated model: README.md of its folder."""

from __future__ import annotations

import re
from typing import Any

from reports.estimates import Estimate
from reports.model_card import environment


def recalibration_card(
    card: dict[str, Any], original: str, onnx_difference: float | None = None
) -> str:
    """Say what was done and what was gained, followed by the card of the original model.

    Parameters
    ----------
    card : model.json of the recalibrated model
    original : README.md of the original model
    onnx_difference : largest difference of a probability between ONNX and torch, if written
    """
    gained = {
        name: None if e is None else Estimate(**e)
        for name, e in card["recalibration"]["cross_validated"].items()
    }
    below = re.sub(r"^(#+ )", r"#\1", original, flags=re.M)  # a heading becomes one level smaller
    template = environment().get_template("recalibration_card.md")
    text = template.render(card=card, gained=gained, onnx_difference=onnx_difference)
    return f"{text}\n{below}"
