"""Cases to look at: images that the first network got confidently wrong, and uncertain ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from reports.run import Run
from reports.scintigrams import LEAST_SCALE, colour_map, data_uri, inverted_grey, summed
from thyroid.run_files.cases_json import Why

TOP = 3
"""Number of most probable classes that are shown with their probabilities."""
SHOWN = 128
"""Maximum side of a picture in pixels; counts of larger images are summed over blocks."""


@dataclass(frozen=True, kw_only=True)
class StatedClass:
    name: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """An image, and the first network's prediction."""

    image_id: str
    why: str
    """error | uncertain"""
    label: str
    findings: str
    named: str
    """The predicted class."""
    wrong: int | None
    """Number of networks that are wrong about the image, among those not trained on it."""
    faded: float
    """Factor by which the probability of the predicted class changes where the map has full
    colour."""
    likeliest: list[StatedClass]


@dataclass(frozen=True, kw_only=True)
class CaseGroup:
    why: str
    cases: list[Case]


@dataclass(frozen=True, kw_only=True)
class CasesOfRun:
    state: str
    """missing (a run of an earlier version has none) | done"""
    part: str
    """test | validation"""
    seed: int
    """Seed of the network whose predictions are shown."""
    fold: int | None
    """Fold of this network; None with one split."""
    networks: int
    """Number of networks that predicted an image."""
    groups: list[CaseGroup]


def cases_info(run: Run) -> CasesOfRun | None:
    """The cases; None if nothing has been predicted yet."""
    if run.part is None:
        return None
    predictions = run.predictions[run.part]
    first = next(iter(predictions.values()))
    rows = {name: i for i, name in enumerate(first.images["image_id"])}
    tested = run.part == "test" and run.networks
    every = run.networks.values() if tested else predictions.values()
    answers = np.stack([p.probabilities.argmax(axis=1) for p in every])  # (R, N)
    errs = (answers != first.labels).sum(axis=0)
    cases = []
    for case, heat in zip(run.cases.listed, run.cases.heat, strict=True) if run.cases else ():
        order = np.argsort(-np.array(case.probabilities), kind="stable")[:TOP]
        row = rows.get(case.image_id)
        cases.append(
            Case(
                image_id=case.image_id,
                why=case.why,
                label=case.label,
                findings=case.findings,
                named=case.named,
                wrong=None if row is None else int(errs[row]),
                faded=math.exp(-_scale(heat)),
                likeliest=[
                    StatedClass(name=run.classes[c], value=case.probabilities[c]) for c in order
                ],
            )
        )
    return CasesOfRun(
        state="done" if run.cases else "missing",
        part=run.part,
        seed=next(iter(predictions)),
        fold=0 if run.folds > 1 else None,
        networks=len(answers),
        groups=[
            CaseGroup(why=why, cases=[c for c in cases if c.why == why]) for why in get_args(Why)
        ],
    )


def case_pictures(run: Run) -> dict[str, dict[str, str]]:
    """image_id -> data URIs of `scintigram` and of `heat`, the map that is laid over it."""
    if run.part is None or run.cases is None:
        return {}
    return {
        case.image_id: {
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
