"""`thyroid predict --explain`: each image, the model's answer, and where the network looked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reports.page import write_page
from reports.scintigrams import LEAST_SCALE, colour_map, data_uri, inverted_grey, summed
from thyroid.model.model_folder import Model
from thyroid.model.predict_files import UNREADABLE, Prediction

MOST_IMAGES = 50
PIXELS = MOST_IMAGES * 128**2
"""Maximum number of pixels of all scintigrams on a page, which shows each one twice and takes about
a byte per pixel."""


@dataclass(frozen=True, kw_only=True)
class AboutModel:
    name: str
    kind: str
    """counts | display"""
    level: float
    """Required share of images whose true class is credible."""
    learned: bool
    least_credible: float
    """Lowest probability at which a class is credible."""
    input_size: int
    """Side in pixels."""
    networks: int
    """Number of networks whose probabilities are averaged."""


@dataclass(frozen=True, kw_only=True)
class StatedClass:
    name: str
    value: float
    credible: bool


@dataclass(frozen=True, kw_only=True)
class ExplainedImage:
    file: str
    outcome: str
    credible: list[str]
    flags: list[str]
    likeliest: str
    agreeing: int | None
    """Number of networks that name the likeliest class; None if there is one network."""
    distance: float | None
    """Distance from the training images: above 1, the image is unlike them; None without a gate."""
    faded: float
    """Factor by which the probability changes where the map has full colour."""
    probabilities: list[StatedClass]
    """In descending order."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    format_version: int = 2
    model: AboutModel
    files: int
    most_images: int
    readable: int
    outcomes: dict[str, int]
    """Number of files by outcome."""
    images: list[ExplainedImage]
    """The images that the page shows."""
    unreadable: list[dict[str, str]]
    """file and reason"""
    unreadable_files: int


def explanation_info(
    model: Model, predictions: Sequence[Prediction], scales: Iterable[float]
) -> Explanation:
    """The numbers of the page.

    Parameters
    ----------
    predictions : of all files
    scales
        For each readable image that is shown, the fall of log p that full colour means.
    """
    outcomes = [one.outcome for one in predictions]
    unreadable = [one for one in predictions if one.outcome == UNREADABLE]
    readable = [one for one in predictions if one.outcome != UNREADABLE]
    return Explanation(
        model=AboutModel(
            name=model.name,
            kind=model.kind,
            level=model.level,
            learned=model.learned,
            least_credible=1 - model.threshold,
            input_size=model.input.size,
            networks=model.networks,
        ),
        files=len(predictions),
        most_images=MOST_IMAGES,
        readable=len(readable),
        outcomes={name: outcomes.count(name) for name in sorted(set(outcomes))},
        images=[
            _explained(model, one, scale) for one, scale in zip(readable, scales, strict=False)
        ],
        unreadable=[{"file": one.file, "reason": one.reason} for one in unreadable[:MOST_IMAGES]],
        unreadable_files=len(unreadable),
    )


def _explained(model: Model, one: Prediction, scale: float) -> ExplainedImage:
    order = np.argsort(-np.array(one.probabilities), kind="stable")
    return ExplainedImage(
        file=one.file,
        outcome=one.outcome,
        credible=list(one.credible),
        flags=list(one.flags),
        likeliest=model.classes[order[0]],
        agreeing=None if one.agreement is None else round(one.agreement * model.networks),
        distance=one.distance,
        faded=math.exp(-scale),
        probabilities=[
            StatedClass(
                name=model.classes[c],
                value=one.probabilities[c],
                credible=model.classes[c] in one.credible,
            )
            for c in order
        ],
    )


def write_explanation(
    model: Model,
    predictions: Sequence[Prediction],
    maps: Sequence[npt.NDArray[np.float32]],
    out: Path,
    lang: str = "en",
) -> Path:
    """Write the page, and its numbers as JSON beside it.

    Parameters
    ----------
    predictions : of all files
    maps : `heat_map` of each image that is shown (the first readable ones), (S, S)

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
            "scintigram": data_uri(inverted_grey(summed(np.asarray(one.image), side))),
            "heat": data_uri(colour_map(heat[:: len(heat) // side, :: len(heat) // side], scale)),
        }
        for one, heat, scale in zip(readable, maps, scales, strict=False)
    ]
    info = explanation_info(model, predictions, scales)
    return write_page("explain.html", vars(info), out, lang, pictures=pictures)


def _shown_side(side: int, images: int) -> int:
    while images * side**2 > PIXELS and side % 2 == 0:
        side //= 2
    return side
