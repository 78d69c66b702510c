"""The prediction stage: a trained classifier's probabilities for one part of the data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thyroid.data.dataset import Dataset
from thyroid.data.splits import LeakError
from thyroid.network_input import network_input
from thyroid.recipe import Views
from thyroid.run_files.predictions_csv import ARTIFACT, Predictions, write_predictions
from thyroid.stage_config import PredictionConfig
from thyroid.stages import split
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import Compute, start
from thyroid.stages.images import Images, chunks, images
from thyroid.views import NUMBER, mean_of_views, views_of


def fit(
    config: PredictionConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Write predictions.csv, as `thyroid.run_files.predictions_csv` reads it.

    Raises
    ------
    LeakError
        When the network was trained on other images than the split's training part, or on a data
        set that is to be predicted as a whole.
    """
    on = start(config.execution)
    network, card, input_config = load_model(inputs["model"], on)
    if config.part == "all":
        dataset = Dataset.open(inputs["dataset"], verify=False)
        if card["dataset"] == dataset.digest:
            raise LeakError("the test set is the data set that the network was trained on")
        rows = np.arange(len(dataset))
    else:
        dataset, parts = split.open_split(inputs)
        rows = getattr(parts, config.part)
    counts = images(dataset, rows, input_config, on)
    p = probabilities(network, counts, input_config.normalisation, on, config.views)
    predictions = Predictions(
        classes=tuple(card["classes"]),
        images=dataset.images.iloc[rows],
        probabilities=p.double().numpy(),
    )
    write_predictions(folder / ARTIFACT, predictions)
    yield {"part": config.part, "images": len(rows)}


def probabilities(
    network: nn.Module,
    counts: Images | Tensor,
    normalisation: str,
    on: Compute,
    views: Views = "one",
) -> Tensor:
    """Softmax outputs (N, C) float32 on the CPU for counts (N, S, S), averaged over views."""
    network.eval()
    out = []
    with torch.inference_mode(), on.autocast():
        for some in chunks(len(counts), 256 // NUMBER[views]):
            x = network_input(counts[some], normalisation)  # (n, 1, S, S)
            p = network(on.arranged(views_of(x, views))).float().softmax(1)  # (V n, C)
            out.append(mean_of_views(p, views))
    return torch.cat(out).cpu()
