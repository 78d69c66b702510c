"""The model card of an exported model: README.md of its folder."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.estimates import Estimate, estimate
from reports.run import Run
from reports.sections.data import Data, data_info
from reports.sections.results import Results, results_info
from reports.sections.verdict import verdict_info
from thyroid.evaluate.bootstrap import bootstrap
from thyroid.evaluate.conformal import conformal_set
from thyroid.evaluate.metrics import Floats
from thyroid.evaluate.temperature import tempered
from thyroid.model.merging import Merging
from thyroid.run_files.config_json import RecordedDataset
from thyroid.run_files.predictions_csv import Predictions


@dataclass(frozen=True, kw_only=True)
class DecidedShares:
    """Shares of the images by their conformal sets; None if undefined."""

    coverage: Estimate | None
    """Share of images whose set contains their class."""
    named: Estimate | None
    """Share of images whose set is a single class."""
    right: Estimate | None
    """Share of these images for which the single class is correct."""
    empty: float
    several: float


@dataclass(frozen=True, kw_only=True)
class CardInfo:
    """Content of a model card; figures are of calibrated probabilities."""

    card: dict[str, Any]
    """model.json, without metrics."""
    data: Data
    test_set: RecordedDataset | None
    part: str
    """test | validation"""
    results: Results
    """Results of the model or, without a test part, of the networks that were not trained on the
    images."""
    out_of_fold: bool
    """True if each image was predicted by networks that were not trained on it, and not by the
    whole model."""
    cautions: list[str]
    sets: DecidedShares
    onnx_difference: float | None
    """Largest difference of a probability between ONNX and torch; None if not exported."""


def model_card_info(
    run: Run,
    part: Literal["test", "validation"],
    predictions: Predictions,
    card: dict[str, Any],
    onnx_difference: float | None = None,
) -> CardInfo:
    """Content of the card.

    Parameters
    ----------
    part : part of the data set to which the (uncalibrated) predictions belong
    card : model.json, without metrics
    """
    calibration = card["calibration"]
    fitted = part == "validation"  # perhaps by fewer networks than the model has
    temperature = calibration["fitted_temperature" if fitted else "temperature"]
    p = tempered(predictions.probabilities, temperature)
    calibrated = dataclasses.replace(predictions, probabilities=p)
    alone = dataclasses.replace(
        run, predictions={"validation": {}, "test": {}} | {part: {0: calibrated}}
    )
    data, results = data_info(run), results_info(alone)
    assert results is not None
    return CardInfo(
        card=card,
        data=data,
        test_set=run.config.test_set,
        part=part,
        results=results,
        out_of_fold=fitted and calibration["part"] == "out of fold",
        cautions=verdict_info(run.config, data, results, None).cautions,
        sets=_sets(calibrated, calibration["threshold"]),
        onnx_difference=onnx_difference,
    )


def merged_run(run: Run, merging: Merging | None) -> Run:
    """Return the run with the classes of its networks' predictions merged."""
    if merging is None:
        return run
    networks = {network: merging.of(p) for network, p in run.networks.items()}
    return dataclasses.replace(run, classes=merging.classes, networks=networks)


def _sets(predictions: Predictions, threshold: float) -> DecidedShares:
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
    return DecidedShares(
        **{name: estimate(e) for name, e in found.items()},
        empty=float(np.mean(size == 0)),
        several=float(np.mean(size > 1)),
    )


def metrics(info: CardInfo) -> dict[str, Any]:
    """The metrics of model.json."""
    results = dataclasses.asdict(info.results)
    names = ("part", "images", "patients", "level", "learned", "overall", "per_class")
    return {name: results[name] for name in names} | {
        "out_of_fold": info.out_of_fold,
        "sets": dataclasses.asdict(info.sets),
    }


def model_card(info: CardInfo) -> str:
    """The model card in Markdown."""
    return environment().get_template("model_card.md").render(**vars(info))


@cache
def environment() -> Environment:
    """The environment of Markdown templates."""
    env = Environment(
        loader=PackageLoader("reports"),
        autoescape=False,  # Markdown: names go through `text`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters.update(text=text, estimate=with_interval)
    return env


def text(value: Any) -> str:
    """Escape a name from outside, so that Markdown shows it as it is, on one line."""
    plain = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~])", r"\\\1", plain).replace("&", "&amp;")


def with_interval(e: Estimate | None) -> str:
    """A value with its interval."""
    if e is None:
        return "–"
    if e.low == e.high:
        return f"{e.value:.3f}"
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"
