"""The prediction stage: a trained classifier's probabilities for one part of the data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thyroid.data.dataset import Dataset
from thyroid.evaluate.predictions import Predictions, write_predictions
from thyroid.pipeline import PredictionConfig
from thyroid.stages import split
from thyroid.stages.checkpoint import load_model
from thyroid.stages.classifier import probabilities
from thyroid.stages.compute import start
from thyroid.stages.images import images

FILE = "predictions.csv"


def fit(
    config: PredictionConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Write predictions.csv, as `thyroid.evaluate.predictions` reads it."""
    on = start(config.execution)
    dataset = Dataset.open(inputs["dataset"], verify=False)
    rows = getattr(split.load(dataset, inputs["split"]), config.part)
    network, card, input_config = load_model(inputs["model"], on)
    counts, _ = images(dataset, rows, input_config, on)
    p = probabilities(network, counts, input_config.normalisation, on)
    predictions = Predictions(
        classes=tuple(card["classes"]),
        images=dataset.images.iloc[rows],
        probabilities=p.double().numpy(),
    )
    write_predictions(folder / FILE, predictions)
    yield {"part": config.part, "images": len(rows)}
