"""Cases to look at: confident errors and uncertain images of the first seed's model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from reports.case_files import WHY
from reports.run import Run
from reports.scintigrams import LEAST_SCALE, colour_map, data_uri, inverted_grey, summed

TOP = 3
"""Classes that are shown with their probabilities."""
SHOWN = 128
"""Side in pixels at most of what is shown; the counts of larger images are summed."""


def cases_info(run: Run) -> dict[str, Any] | None:
    """The cases in words and numbers; None where nothing has been predicted yet.

    Returns
    -------
    dict
        `state`: missing (an older run has none) | done. `groups`: for each of `WHY` its `cases`:
        `wrong` of `seeds` models err on the image; `faded`: factor on the probability of the
        `named` class where the map's colour is full.
    """
    if run.part is None:
        return None
    if run.cases is None:
        return {"state": "missing"}
    predictions = run.predictions[run.part]
    first = next(iter(predictions.values()))
    rows = {name: i for i, name in enumerate(first.images["image_id"])}
    answers = np.stack([p.probabilities.argmax(axis=1) for p in predictions.values()])  # (S, N)
    errs = (answers != first.labels).sum(axis=0)
    cases = []
    for case, heat in zip(run.cases.listed, run.cases.heat, strict=True):
        order = np.argsort(-np.array(case["probabilities"]), kind="stable")[:TOP]
        row = rows.get(case["image_id"])
        cases.append(
            {name: case[name] for name in ("image_id", "why", "label", "findings", "named")}
            | {
                "wrong": None if row is None else int(errs[row]),
                "faded": math.exp(-_scale(heat)),
                "likeliest": [
                    {"name": run.classes[c], "value": case["probabilities"][c]} for c in order
                ],
            }
        )
    return {
        "state": "done",
        "part": run.part,
        "seed": next(iter(predictions)),
        "seeds": len(predictions),
        "groups": [{"why": why, "cases": [c for c in cases if c["why"] == why]} for why in WHY],
    }


def case_pictures(run: Run) -> dict[str, dict[str, str]]:
    """image_id -> the data URIs of `scintigram` and `heat`, the map to lay over it."""
    if run.part is None or run.cases is None:
        return {}
    return {
        case["image_id"]: {
            "scintigram": data_uri(inverted_grey(summed(image, _side(len(image))))),
            "heat": data_uri(colour_map(heat.astype(np.float64), _scale(heat))),
        }
        for case, image, heat in zip(
            run.cases.listed, run.cases.images, run.cases.heat, strict=True
        )
    }


def _scale(heat: npt.NDArray[np.float16]) -> float:
    return max(float(np.abs(heat).max()), LEAST_SCALE)


def _side(side: int) -> int:
    while side > SHOWN and side % 2 == 0:
        side //= 2
    return side
