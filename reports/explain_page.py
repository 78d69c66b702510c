"""`thyroid predict --explain`: each image, what the model says of it, and where it looked."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from reports.page import write_page
from reports.scintigrams import inverted_grey
from thyroid.model.folder import Model
from thyroid.model.prediction import UNREADABLE, Prediction

MOST_IMAGES = 50
PIXELS = MOST_IMAGES * 128**2
"""Of all scintigrams on a page together; each stands there twice, at about a byte per pixel."""
STEPS = 8
"""Shades of each colour, few so that a map takes a kilobyte or two."""
LEAST_SCALE = 0.1
"""Fall of log p that full colour stands for at least: what hardly matters is not coloured."""
FOR, AGAINST = (176, 74, 0), (11, 83, 148)
"""Orange and blue, which all common kinds of colour vision tell apart."""
OPACITY = 0.8


def explanation_info(
    model: Model, predictions: Sequence[Prediction], scales: Iterable[float]
) -> dict[str, Any]:
    """What the page says, as plain data.

    Parameters
    ----------
    predictions : of all files
    scales
        The fall of log p that full colour stands for, of each readable image that is shown.

    Returns
    -------
    dict
        `outcomes`: images by outcome. `images`: those shown; `faded` is the factor on the
        probability where the colour is full. `unreadable`: files and reasons.
    """
    outcomes = [one.outcome for one in predictions]
    unreadable = [one for one in predictions if one.outcome == UNREADABLE]
    readable = [one for one in predictions if one.outcome != UNREADABLE]
    return {
        "format_version": 1,
        "model": {
            "name": model.name,
            "kind": model.kind,
            "level": model.level,
            "least_credible": 1 - model.threshold,
            "input_size": model.input.size,
        },
        "files": len(predictions),
        "most_images": MOST_IMAGES,
        "readable": len(readable),
        "outcomes": {name: outcomes.count(name) for name in sorted(set(outcomes))},
        "images": [
            _image_info(model, one, scale) for one, scale in zip(readable, scales, strict=False)
        ],
        "unreadable": [
            {"file": one.file, "reason": one.reason} for one in unreadable[:MOST_IMAGES]
        ],
        "unreadable_files": len(unreadable),
    }


def _image_info(model: Model, one: Prediction, scale: float) -> dict[str, Any]:
    order = np.argsort(-np.array(one.probabilities), kind="stable")
    return {
        "file": one.file,
        "outcome": one.outcome,
        "credible": list(one.credible),
        "flags": list(one.flags),
        "likeliest": model.classes[order[0]],
        "faded": math.exp(-scale),
        "probabilities": [
            {
                "name": model.classes[c],
                "value": one.probabilities[c],
                "credible": model.classes[c] in one.credible,
            }
            for c in order
        ],
    }


def write_explanation(
    model: Model,
    predictions: Sequence[Prediction],
    maps: Sequence[npt.NDArray[np.float32]],
    out: Path,
) -> Path:
    """Write the page, and its numbers as JSON beside it.

    Parameters
    ----------
    predictions : of all files
    maps : `heat_map` of the first readable ones, as many as are shown, (S, S) each

    Raises
    ------
    InputError
        When the page cannot be written.
    """
    scales = [max(float(np.abs(heat).max()), LEAST_SCALE) for heat in maps]
    readable = [one for one in predictions if one.outcome != UNREADABLE]
    side = _shown_side(model.input.size, len(maps))
    pictures = [
        {
            "scintigram": _data_uri(inverted_grey(_summed(np.asarray(one.image), side))),
            "heat": _data_uri(colour_map(heat[:: len(heat) // side, :: len(heat) // side], scale)),
        }
        for one, heat, scale in zip(readable, maps, scales, strict=False)
    ]
    info = explanation_info(model, predictions, scales)
    return write_page("explain.html", info, out, images=pictures)


def colour_map(heat: npt.NDArray[np.floating[Any]], scale: float) -> bytes:
    """(H, W) -> PNG to lay over a scintigram: orange above zero, blue below, clear at zero.

    Opacity grows with the distance from zero, to full colour at `scale`, in `STEPS` steps.
    """
    step = np.clip(np.rint(heat / scale * STEPS), -STEPS, STEPS).astype(np.int64)
    picture = Image.fromarray((step + STEPS).astype(np.uint8)).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    shades = [AGAINST] * STEPS + [FOR] * (STEPS + 1)
    picture.putpalette([level for shade in shades for level in shade])
    opacity = np.rint(255 * OPACITY * np.abs(np.arange(-STEPS, STEPS + 1)) / STEPS)
    file = io.BytesIO()
    picture.save(
        file, format="PNG", optimize=True, transparency=bytes(opacity.astype(np.uint8).tolist())
    )
    return file.getvalue()


def _shown_side(side: int, images: int) -> int:
    while images * side**2 > PIXELS and side % 2 == 0:
        side //= 2
    return side


def _summed(counts: npt.NDArray[np.uint16], side: int) -> npt.NDArray[np.uint32]:
    """(H, H) -> (side, side), the counts of each block of pixels together."""
    block = len(counts) // side
    summed: npt.NDArray[np.uint32] = counts.reshape(side, block, side, block).sum(
        axis=(1, 3), dtype=np.uint32
    )
    return summed


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
