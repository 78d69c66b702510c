"""The cases stage: a classifier's confident errors and uncertain images, with occlusion maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from thyroid.data.dataset import Dataset
from thyroid.evaluate.occlusion import occlusion
from thyroid.run_files.cases_json import Case, Cases, Why, write_cases
from thyroid.run_files.predictions_csv import ARTIFACT, Predictions, read_predictions
from thyroid.stage_config import CasesConfig
from thyroid.stages import predict_part
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import start
from thyroid.stages.images import images


def fit(config: CasesConfig, inputs: Mapping[str, Path], folder: Path) -> Iterator[dict[str, Any]]:
    """Write cases.json, images.npy and heat.npy, a row for each case in the order of `chosen`.

    Cases are chosen by the predictions, which average views, and have their probabilities. The maps
    are of the image as it is: ten views would take ten times as long, and a map already is a mean
    over squares that are displaced by more than views are.
    """
    on = start(config.execution)
    dataset = Dataset.open(inputs["dataset"], verify=False)
    network, card, input_config = load_model(inputs["model"], on)
    predicted = read_predictions(inputs["prediction"] / ARTIFACT, tuple(card["classes"]))
    cases = chosen(predicted, config.most)
    names = predicted.images["image_id"].iloc[[row for row, _ in cases]]
    rows = dataset.images.reset_index().set_index("image_id")["index"].loc[names].to_numpy()

    def probabilities(counts: Tensor) -> Tensor:
        return predict_part.probabilities(network, counts, input_config.normalisation, on)

    counts = images(dataset, rows.astype(np.int64), input_config, on)[:]
    side = input_config.size
    patch = max(side // 8, 2)  # holds a lobe's pole or a nodule
    named = predicted.probabilities[[row for row, _ in cases]].argmax(axis=1)
    heat = np.zeros((0, side, side), np.float16)
    if cases:
        falls = occlusion(
            probabilities, counts, torch.from_numpy(named), patch=patch, stride=patch // 2
        )
        heat = falls.cpu().numpy().astype(np.float16)
    listed = tuple(case_of(predicted, row, why) for row, why in cases)
    write_cases(folder, Cases(listed=listed, images=dataset.counts[rows], heat=heat))
    yield {"cases": len(cases)}


def case_of(predicted: Predictions, row: int, why: Why) -> Case:
    """Return the case of a row of the predictions."""
    image, p = predicted.images.iloc[row], predicted.probabilities[row]
    return Case(
        image_id=str(image["image_id"]),
        why=why,
        label=str(image["label"]),
        findings=str(image["findings"]),
        named=predicted.classes[int(p.argmax())],
        probabilities=tuple(p.tolist()),
    )


def chosen(predicted: Predictions, most: int) -> list[tuple[int, Why]]:
    """Select the most confident errors, then the most uncertain of the other images.

    An error is the more confident, the higher the probability of the predicted class. An image is
    the more uncertain, the smaller the difference between the two highest probabilities. Ties are
    in the order of the images' identifiers.

    Returns
    -------
    list of (row, `error` or `uncertain`), at most `most` of each
    """
    p, labels = predicted.probabilities, predicted.labels
    names = predicted.images["image_id"].to_numpy(dtype=str)
    wrong = p.argmax(axis=1) != labels
    top = np.sort(p, axis=1)[:, ::-1]

    def first(among: npt.NDArray[np.bool_], order: npt.NDArray[np.float64]) -> list[int]:
        rows = np.flatnonzero(among)
        return [int(row) for row in rows[np.lexsort((names[rows], order[rows]))][:most]]

    errors = first(wrong, -top[:, 0])
    rest = np.ones(len(p), dtype=bool)
    rest[errors] = False
    torn = first(rest, top[:, 0] - top[:, 1])
    return [(row, "error") for row in errors] + [(row, "uncertain") for row in torn]
