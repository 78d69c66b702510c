"""Recalibrate a model on the user's own images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from reports.estimates import estimate
from reports.recalibration_card import recalibration_card
from thyroid import progress
from thyroid.data.dataset import Dataset
from thyroid.evaluate.recalibration import Calibration, gain, recalibrated
from thyroid.files import new_folder
from thyroid.model import model_folder
from thyroid.model.model_folder import README
from thyroid.model.onnx_graph import require_onnx, write_onnx
from thyroid.model.predict_files import unknown_kinds
from thyroid.model.recalibration import (
    OwnImages,
    labels_of,
    recalibrated_card,
    require_enough,
    write_recalibrated,
)
from thyroid.workflows.predicting import Model


def recalibrate(
    model: Model | Path | str,
    dataset: Dataset | Path | str,
    out: Path | str,
    *,
    onnx: bool = False,
) -> Model:
    """Fit a model's temperature and threshold of credible classes to the user's labelled images.

    The networks do not change. Cross-validation over the patients measures what the new calibration
    gains, and the new model's card states it.

    Parameters
    ----------
    model : a model that export wrote, or its folder
    dataset : a data set that the model was not trained on, of at least 20 patients, or its folder
    out : new folder to write
    onnx : also write model.onnx, for other programs, after checking it against torch

    Raises
    ------
    InputError
        When there are too few patients, when the data set differs from the model in kind, grid or
        classes, when the model was trained on any of its images, or when the folder exists.
    """
    if onnx:
        require_onnx()
    given = model if isinstance(model, Model) else Model.open(model)
    data = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    own = given.network
    images = _seen(own, data, labels_of(own, given.folder, data))
    require_enough(images, own.level)
    before = Calibration(temperature=own.network.temperature, threshold=own.threshold)
    seen = images.labels, images.probabilities, images.patients
    fitted = recalibrated(*seen, own=before.temperature, level=own.level)
    measured = gain(*seen, before=before, level=own.level)
    gained = {
        name: None if (e := estimate(interval)) is None else dataclasses.asdict(e)
        for name, interval in measured.items()
    }
    card = recalibrated_card(own, images, fitted, gained)
    with new_folder(Path(out)) as made:
        write_recalibrated(given.folder, card, images, made)
        difference = write_onnx(model_folder.read_model(made), made) if onnx else None
        original = (given.folder / README).read_text(encoding="utf-8", errors="replace")
        (made / README).write_text(recalibration_card(card, original, difference), encoding="utf-8")
    return dataclasses.replace(Model.open(out), onnx_difference=difference)


def _seen(model: model_folder.Model, data: Dataset, labels: np.ndarray) -> OwnImages:
    """Apply a model, before its calibration, to all images of a data set."""
    uncalibrated = dataclasses.replace(model, network=model.network.at(1.0))
    p, distances, step = [], [], model.network.batch
    with progress.bar("predicting", "images") as advance:
        for start in range(0, len(data), step):
            counts = data.counts[start : start + step].astype(np.float32)  # (n, H, H)
            answers = uncalibrated.answers(torch.from_numpy(counts))
            p.append(answers.probabilities)
            distances.append(answers.distances)
            advance(min(start + step, len(data)), len(data))
    unlike = np.concatenate(distances) > 1  # False without a gate, where distances are NaN
    unlike |= [any(unknown_kinds(model, flags.split(";"))) for flags in data.images["flags"]]
    return OwnImages(
        dataset=data,
        rows=np.flatnonzero(~unlike),
        labels=labels[~unlike],
        probabilities=np.concatenate(p)[~unlike],
        unlike=int(unlike.sum()),
    )
