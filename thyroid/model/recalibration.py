"""Recalibrates a model on images of another place: same networks, new temperature and threshold.

Images that the gate stops get no diagnosis, so they take no part. The temperature is shrunk towards
the model's own (`shrunk_temperature`); each patient counts once, whatever the number of images.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from thyroid import __version__
from thyroid.data.dataset import Dataset
from thyroid.data.scintigram import image_id
from thyroid.errors import InputError
from thyroid.evaluate.metrics import Floats, Ints
from thyroid.evaluate.recalibration import Calibration, least_patients
from thyroid.model.model_folder import (
    CARD,
    Model,
    read_training_hashes,
    stored_files,
    write_training_hashes,
)

ENTRY = "recalibration"
"""Key of model.json."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnImages:
    """The images of a data set that a model is recalibrated on."""

    dataset: Dataset
    rows: npt.NDArray[np.int64]
    """(N,) rows of the data set."""
    labels: Ints
    """(N,) index of each class in the model's."""
    probabilities: Floats
    """(N, C) mean over the networks, before calibration."""
    unlike: int
    """Images of the data set that the gate stops; they are not in `rows`."""

    @property
    def patients(self) -> npt.NDArray[np.object_]:
        """Patient of each image, (N,)."""
        return self.dataset.patients[self.rows]


def labels_of(model: Model, folder: Path, dataset: Dataset) -> Ints:
    """Return the index of each image's label in the classes of a model, (N,).

    Raises
    ------
    InputError
        When the model was recalibrated before or trained on these images, or the data set has
        another kind, grid or class than the model.
    """
    if ENTRY in model.card:
        raise InputError(
            f"{folder} was recalibrated already: name the model that `thyroid export` wrote."
        )
    info, where = dataset.info, dataset.folder
    hashes = model.training_hashes or frozenset()
    known = [row for row, counts in enumerate(dataset.counts) if image_id(counts) in hashes]
    if known or dataset.digest == model.card.get("data", {}).get("digest"):
        some = f"{where}, and"
        if known:
            such = dataset.images["image_id"].iloc[known[0]]
            some = f"{len(known)} of the {len(dataset)} images of {where}, such as {such}, and"
        raise InputError(
            f"{folder} was trained on {some} is too sure of these images: recalibrate it on other "
            "patients."
        )
    if info.kind != model.kind:
        holds = {"counts": "photon counts", "display": "pictures"}
        raise InputError(
            f"{where} holds {holds[info.kind]}, but {folder} was trained on {holds[model.kind]}: "
            "import images of that kind."
        )
    if info.size != model.size or not np.isclose(info.pixel_mm or 1, model.pixel_mm or 1):
        pixels = f" --pixel-mm {model.pixel_mm:g}" if model.pixel_mm else ""
        raise InputError(
            f"{where} has another grid than {folder}: import its files with "
            f"--size {model.size}{pixels}."
        )
    merged: dict[str, str] = model.card.get("merged") or {}
    names = dataset.images["label"].map(
        lambda name: name if name in model.classes else merged.get(name, name)
    )
    unknown = sorted(set(names) - set(model.classes))
    if unknown:
        raise InputError(
            f"{where} has images of '{unknown[0]}', which is not a class of {folder}: import the "
            f"data set with the labels {', '.join(model.classes)}, or without these images."
        )
    return np.array([model.classes.index(name) for name in names], dtype=np.int64)


def require_enough(images: OwnImages, level: float) -> None:
    """Check that a calibration can be fitted, and its gain measured.

    Raises
    ------
    InputError
        When there are too few patients, or images of one class only.
    """
    patients, least = len(set(images.patients)), least_patients(level)
    where = images.dataset.folder
    if patients < least:
        stopped = f" that are like the model's training images ({images.unlike} are not)"
        raise InputError(
            f"{where} has images of {patients} patients{stopped if images.unlike else ''}, and "
            f"recalibration needs {least}: add labelled images, or use the model as it is."
        )
    if len(set(images.labels)) < 2:
        raise InputError(
            f"{where} has images of one class only, and recalibration would raise the probability "
            "of this class for all images: add images of the other classes, as frequent as they "
            "are in practice."
        )


def recalibrated_card(
    model: Model, images: OwnImages, fitted: Calibration, gained: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of model.json of the recalibrated model.

    Parameters
    ----------
    gained : figures of `thyroid.evaluate.recalibration.gain`, as plain data
    """
    card, table = copy.deepcopy(model.card), images.dataset.images.iloc[images.rows]
    before = card["calibration"]
    number = len(images.rows)
    patients = len(set(images.patients))
    card["calibration"] = before | {
        "temperature": fitted.temperature,
        "fitted_temperature": fitted.temperature,
        "threshold": fitted.threshold,
        "part": ENTRY,
        "networks": model.networks,
        "images": number,
        "patients": patients,
        "precision": "fp32",
    }
    if "metrics" in card:  # measured with the earlier calibration
        card["metrics"]["overall"] |= {"log_loss": None, "ece": None}
        card["metrics"]["sets"] = None
    shown = np.bincount(images.labels, minlength=len(model.classes))
    card[ENTRY] = {
        "thyroid": __version__,
        "data": {
            "name": images.dataset.info.name,
            "digest": images.dataset.digest,
            "images": number,
            "patients": patients,
            "unnamed_patients": int(table["flags"].str.contains("patient_unnamed").sum()),
            "unlike_training": images.unlike,
            "classes": {name: int(n) for name, n in zip(model.classes, shown, strict=True)},
        },
        "before": {name: before[name] for name in ("temperature", "threshold")},
        "cross_validated": dict(gained),
    }
    return card


def write_recalibrated(source: Path, card: dict[str, Any], images: OwnImages, folder: Path) -> None:
    """Copy the networks of a model into an existing folder, with another model.json, and add the
    images to those that the model has used.
    """
    files = stored_files(card, "weights")
    files += stored_files(card, "features") if card["gate"] is not None else []
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, folder / name)
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / CARD).write_text(text, encoding="utf-8")
    known = read_training_hashes(source)
    if known is not None:
        new = {image_id(images.dataset.counts[row]) for row in images.rows}
        write_training_hashes(folder, known | new)
