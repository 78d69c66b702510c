"""The model card of an exported model: README.md of its folder."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.run import Run
from reports.sections.data import data_info
from reports.sections.results import results_info
from reports.sections.verdict import verdict_info
from thyroid.evaluate.bootstrap import bootstrap
from thyroid.evaluate.conformal import conformal_set
from thyroid.evaluate.metrics import Floats
from thyroid.evaluate.temperature import tempered
from thyroid.run_files.predictions_csv import Predictions


def model_card_info(
    run: Run, seed: int, card: dict[str, Any], onnx_difference: float | None = None
) -> dict[str, Any]:
    """What the card says, as plain data; figures are of calibrated probabilities.

    Parameters
    ----------
    card : model.json, but for metrics

    Returns
    -------
    dict
        `results` as in a report, of this one network. `sets`: of the images, how many have a
        conformal set that holds their class (`coverage`) and that is one class (`named`), and of
        those, for how many it is right (`right`), each {value, low, high} or None; `empty` and
        `several` as shares.
    """
    calibration = card["calibration"]
    part = "test" if seed in run.predictions["test"] else "validation"
    raw = run.predictions[part][seed]
    p = tempered(raw.probabilities, calibration["temperature"])
    calibrated = dataclasses.replace(raw, probabilities=p)
    alone = dataclasses.replace(
        run, predictions={"validation": {}, "test": {}} | {part: {seed: calibrated}}
    )
    data, results = data_info(run), results_info(alone)
    verdict = verdict_info(run.config, data, results, None)
    return {
        "card": card,
        "data": data,
        "test_set": run.config.get("test_set"),
        "part": part,
        "results": results,
        "cautions": verdict["cautions"],
        "sets": _sets_info(calibrated, calibration["threshold"]),
        "onnx_difference": onnx_difference,
    }


def _sets_info(predictions: Predictions, threshold: float) -> dict[str, Any]:
    labels = predictions.labels
    credible = conformal_set(predictions.probabilities, threshold)  # (N, C)
    size = credible.sum(axis=1)
    holds = credible[np.arange(len(labels)), labels]
    one = size == 1

    def statistic(weights: Floats) -> dict[str, Floats]:
        def share(chosen: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> Floats:
            total = weights[among].sum(axis=0)
            hits = weights[among & chosen].sum(axis=0)
            ratio: Floats = np.divide(hits, total, out=np.full_like(total, np.nan), where=total > 0)
            return ratio[None]

        everything = np.ones(len(labels), dtype=bool)
        return {
            "coverage": share(holds, everything),
            "named": share(one, everything),
            "right": share(holds, one),
        }

    found = bootstrap(statistic, predictions.images["patient_id"])
    shares = {
        name: {side: float(getattr(e, side)) for side in ("value", "low", "high")}
        if np.isfinite([e.value, e.low, e.high]).all()
        else None
        for name, e in found.items()
    }
    return shares | {"empty": float(np.mean(size == 0)), "several": float(np.mean(size > 1))}


def metrics(info: dict[str, Any]) -> dict[str, Any]:
    """The part of the information that model.json keeps."""
    results = info["results"]
    return {
        name: results[name]
        for name in ("part", "images", "patients", "level", "learned", "overall", "per_class")
    } | {"sets": info["sets"]}


def model_card(info: dict[str, Any]) -> str:
    """The card, Markdown."""
    return _environment().get_template("model_card.md").render(**info)


@cache
def _environment() -> Environment:
    env = Environment(
        loader=PackageLoader("reports"),
        autoescape=False,  # Markdown: names go through `text`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters.update(text=text, estimate=estimate)
    return env


def text(value: Any) -> str:
    """A name from outside, so that it is shown as it is: no markup, no table cell, one line."""
    plain = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~])", r"\\\1", plain).replace("&", "&amp;")


def estimate(e: dict[str, float] | None) -> str:
    """A value with its interval."""
    if e is None:
        return "–"
    if e["low"] == e["high"]:
        return f"{e['value']:.3f}"
    return f"{e['value']:.3f} ({e['low']:.3f} to {e['high']:.3f})"
