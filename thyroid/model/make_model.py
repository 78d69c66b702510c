"""Makes a model folder from a run: an ensemble of its networks, calibrated on out-of-fold images.

An image of the validation part of a fold is predicted by the networks that were not trained on it:
the run's predictions/validation-seedS.csv. The temperature (Guo et al. 2017) and the threshold of
the conformal sets are fitted on these predictions, each of which is by one network per seed. The
only images that no network of the ensemble was trained on are test images, which are not used. So
the temperature of the ensemble is estimated (`ensemble_temperature`), and its sets are a little
wider than they need to be.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from thyroid import __version__
from thyroid.data.dataset import Dataset
from thyroid.data.scintigram import image_id
from thyroid.errors import InputError
from thyroid.evaluate.conformal import conformal_threshold
from thyroid.evaluate.metrics import macro_f1
from thyroid.evaluate.temperature import ensemble_temperature, fit_temperature, tempered
from thyroid.files import sha256_of
from thyroid.model.gate import ENOUGH, gate_of
from thyroid.model.gate import LEVEL as GATE_LEVEL
from thyroid.model.merging import Merging, merging_of
from thyroid.model.model_folder import (
    CARD,
    FORMAT_VERSION,
    MEMBERS,
    member_files,
    write_training_hashes,
)
from thyroid.model.predict_files import OUTCOMES
from thyroid.model.scintigram_gate import scintigram_gate
from thyroid.recipe import Recipe
from thyroid.run_files import features_file
from thyroid.run_files.config_json import RunConfig, read_config, recipe_of
from thyroid.run_files.network import Network
from thyroid.run_files.predictions_csv import (
    Predictions,
    ensemble,
    read_networks,
    read_predictions,
)
from thyroid.run_files.split_csv import read_split

LEVEL = 0.95
FEW_UNLIKE = 0.05
"""The gate for scintigrams is used if it finds at most this share of the training images unlike."""
WEIGHTS = "model.safetensors"
Members = Literal["best", "all"]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The networks of a finished run that become a model."""

    run: Path
    config: RunConfig
    recipe: Recipe
    classes: tuple[str, ...]
    """Classes of the networks."""
    merging: Merging | None
    """Merged classes of the model and of its predictions; None: the networks' classes."""
    networks: int
    """Number of networks of the run."""
    members: tuple[Network, ...]
    held_out: Predictions
    """Predictions of images that a network was not trained on; the mean over the seeds that the
    model has."""

    @property
    def single(self) -> bool:
        """True if the held-out predictions are by fewer networks than the model has."""
        return self.seeds < len(self.members)

    @property
    def seeds(self) -> int:
        """Number of networks whose mean each held-out prediction is."""
        return len({member.seed for member in self.members})

    def tested(self) -> Predictions | None:
        """Return the model's predictions of the test part, before calibration; None if the run has
        no such part.
        """
        networks = read_networks(self.run / "predictions", self.classes)
        if not networks:
            return None
        try:
            tested = ensemble([networks[member] for member in self.members])
        except KeyError:
            raise not_finished(self.run) from None
        return tested if self.merging is None else self.merging.of(tested)


def folder_of(run: Path, network: Network) -> Path:
    """Return the folder of a network's files in a run."""
    return run / "model" / network.name


def not_finished(run: Path) -> InputError:
    """Return the error of a run that lacks files of its final evaluation."""
    return InputError(f"{run} is not finished: run the command that fills it again.")


def trained(
    run: Path, members: Members = "all", merge: Mapping[str, Sequence[str]] | None = None
) -> Trained:
    """Find the networks that become a model.

    Parameters
    ----------
    members
        `all` networks of the run; or the `best`, the one with the highest macro-F1 on the
        validation images of its own fold. It looks too good on these images, because they were used
        to choose it. So it is calibrated on the out-of-fold predictions of all networks of its
        seed; it made those of one fold itself.
    merge
        Merged class -> its classes in the run: their probabilities are summed, and everything
        after that is about the merged classes.

    Raises
    ------
    InputError
        When the folder holds no finished run, a network is missing, or the classes cannot be
        merged in this way.
    """
    config = read_config(run)
    seeds, classes, recipe = config.seeds, config.dataset.classes, recipe_of(run, config.recipe)
    every = [Network(seed, fold) for seed in seeds for fold in range(recipe.folds)]
    files = [run / "predictions" / f"validation-seed{seed}.csv" for seed in seeds]
    files += [
        folder_of(run, m) / name for m in every for name in (WEIGHTS, CARD, features_file.FILE)
    ]
    if not every or not all(file.is_file() for file in files):
        raise not_finished(run)
    merging = None if merge is None else merging_of(merge, classes)
    reserved = set(OUTCOMES) & set(classes if merging is None else merging.classes)
    if reserved:
        where = "in the data set" if merging is None else "by --merge"
        raise InputError(
            f"A class of {run} is called '{reserved.pop()}', which is the name of an outcome: "
            f"give the class another name {where}."
        )
    by_seed = {
        seed: read_predictions(run / "predictions" / f"validation-seed{seed}.csv", classes)
        for seed in seeds
    }
    if merging is not None:
        by_seed = {seed: merging.of(predictions) for seed, predictions in by_seed.items()}
    if not all(len(predictions.images) for predictions in by_seed.values()):
        raise InputError(f"{run} has no validation image to calibrate its networks on.")
    chosen = tuple(every) if members == "all" else (_best(every, by_seed),)
    held_out = ensemble([by_seed[seed] for seed in sorted({member.seed for member in chosen})])
    return Trained(
        run=run,
        config=config,
        recipe=recipe,
        classes=classes,
        merging=merging,
        networks=len(every),
        members=chosen,
        held_out=held_out,
    )


def _best(members: Sequence[Network], by_seed: Mapping[int, Predictions]) -> Network:
    """Return the first network of the highest macro-F1 on its own validation images."""

    def value(member: Network) -> float:
        predictions = by_seed[member.seed]
        own = (
            np.ones(len(predictions.images), dtype=bool)
            if predictions.folds is None
            else predictions.folds == member.fold
        )
        named = predictions.probabilities[own].argmax(axis=1)
        return macro_f1(predictions.labels[own], named, len(predictions.classes))

    return max(members, key=value)


def model_card(source: Trained) -> dict[str, Any]:
    """Return the content of model.json, except metrics."""
    own = json.loads((folder_of(source.run, source.members[0]) / CARD).read_text(encoding="utf-8"))
    data = source.config.dataset
    number = len(source.members)
    of = f"{number} networks" if number > 1 else "1 network"
    members, gate = _members(source)
    return {
        "format_version": FORMAT_VERSION,
        "thyroid": __version__,
        "name": f"{data.name}, {own['network']['name']}, {of}",
        **own,
        "classes": list(source.classes if source.merging is None else source.merging.classes),
        "merged": None if source.merging is None else dict(source.merging.into),
        "views": source.recipe.allowed_views,
        "members": members,
        "networks_of_the_run": source.networks,
        "calibration": _calibration(source),
        **_training_images(source, gate),
        "data": {
            name: getattr(data, name)
            for name in ("name", "digest", "source", "licence", "images", "patients")
        },
        "command": source.config.command,
        "recipe": source.config.recipe,
    }


def _members(source: Trained) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return `members` and `gate` of the card."""
    folders = [folder_of(source.run, member) for member in source.members]
    files = [features_file.read_features(folder / features_file.FILE) for folder in folders]
    gate = gate_of(files, [member.fold for member in source.members])
    members = [
        {
            "fold": member.fold,
            "seed": member.seed,
            "weights_sha256": sha256_of(folder / WEIGHTS),
            "features_sha256": sha256_of(folder / features_file.FILE),
            "distance_scale": scale,
        }
        for member, folder, scale in zip(source.members, folders, gate.scales, strict=True)
    ]
    held_out = {
        member.fold: len(file.held_out) for member, file in zip(source.members, files, strict=True)
    }
    return members, {
        "threshold": gate.threshold,
        "relative": gate.relative,
        "level": GATE_LEVEL,
        "images": sum(held_out.values()),
        "scintigrams": None,
    }


def _calibration(source: Trained) -> dict[str, Any]:
    labels, stated = source.held_out.labels, source.held_out.probabilities
    temperature = fit_temperature(labels, stated)
    threshold = conformal_threshold(labels, tempered(stated, temperature), LEVEL)
    members = len(source.members)
    return {
        "temperature": ensemble_temperature(temperature, averaged=source.seeds, members=members),
        "fitted_temperature": temperature,
        "threshold": min(float(threshold), 1.0),  # at 1 every class is credible
        "level": LEVEL,
        "part": "validation" if source.recipe.folds == 1 else "out of fold",
        "networks": source.seeds,
        "images": len(source.held_out.images),
        "patients": int(source.held_out.images["patient_id"].nunique()),
        "precision": source.recipe.execution.precision,
    }


def _training_images(source: Trained, gate: dict[str, Any]) -> dict[str, Any]:
    """Return `gate`, `total_counts` and `training_flags` of the card.

    The last two are the least and most counts of a training image, and the flags that training
    images have. Both are None without the data set; `total_counts` is None for pictures, too.
    """
    unknown = {"gate": gate, "total_counts": None, "training_flags": None}
    data = source.config.dataset
    try:
        opened = Dataset.open(data.folder, verify=False)
        images = read_split(source.run)
    except InputError:
        return unknown
    folds = {member.fold for member in source.members}
    training = {
        image.image_id
        for image in images
        if image.part == "train" or (image.part == "development" and folds != {image.fold})
    }
    rows = opened.images[opened.images["image_id"].isin(training)]
    if opened.digest != data.digest or not len(rows):
        return unknown
    totals = rows["total_counts"]
    if gate["images"] < ENOUGH:
        gate = gate | {"scintigrams": about_second_gate(opened, rows)}
    return {
        "gate": gate,
        "total_counts": [int(totals.min()), int(totals.max())] if data.kind == "counts" else None,
        "training_flags": sorted(
            {flag.partition("=")[0] for flags in rows["flags"] for flag in flags.split(";") if flag}
        ),
    }


def about_second_gate(dataset: Dataset, rows: pd.DataFrame) -> dict[str, Any] | None:
    """Return how many training images the gate for scintigrams finds unlike scintigrams, and
    whether a model with few held-out images uses it; None if it cannot judge such images.

    The model holds no copy of this gate: it uses that of the installed version of thyroid.
    """
    judge = scintigram_gate(dataset.info.kind, dataset.info.size, dataset.info.pixel_mm)
    if judge is None:
        return None
    counts = torch.from_numpy(dataset.counts[rows.index.to_numpy()].astype(np.float32))
    unlike = int((judge.measure(counts) > 1).sum())
    return {"images": len(rows), "unlike": unlike, "used": unlike <= FEW_UNLIKE * len(rows)}


def write_model(source: Trained, card: dict[str, Any], folder: Path) -> None:
    """Write networks, model.json and training_images.txt into an existing folder."""
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / MEMBERS).mkdir(exist_ok=True)
    for member in source.members:
        names = member_files(member)
        for name, stored in zip((WEIGHTS, features_file.FILE), names, strict=True):
            shutil.copyfile(folder_of(source.run, member) / name, folder / stored)
    (folder / CARD).write_text(text, encoding="utf-8")
    hashes = training_hashes(source)
    if hashes is not None:
        write_training_hashes(folder, hashes)


def training_hashes(source: Trained) -> set[str] | None:
    """Return the hashes of the pixels of all images of the run's data set that the networks were
    trained or calibrated on; None without the data set.
    """
    data = source.config.dataset
    try:
        opened = Dataset.open(data.folder, verify=False)
        images = read_split(source.run)
    except InputError:
        return None
    if opened.digest != data.digest:
        return None
    parts = ("train", "validation", "development")
    names = {image.image_id for image in images if image.part in parts}
    rows = np.flatnonzero(opened.images["image_id"].isin(names))
    return {image_id(opened.counts[row]) for row in rows}
