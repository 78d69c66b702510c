"""Makes a model folder from a run: one seed's network, calibrated on the validation images.

The temperature (Guo et al. 2017) is fitted on the validation part, then the threshold of the
conformal sets on the same images at that temperature. Test images are not used.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thyroid import __version__, pipeline
from thyroid.configuration import from_json
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.evaluate.conformal import conformal_threshold
from thyroid.evaluate.temperature import fit_temperature, tempered
from thyroid.files import sha256_of
from thyroid.model.model_folder import CARD, FORMAT_VERSION, WEIGHTS
from thyroid.model.predict_files import UNCERTAIN, UNREADABLE
from thyroid.recipe import Recipe
from thyroid.run_files.config_json import not_understood, read_config
from thyroid.run_files.predictions_csv import Predictions, read_predictions
from thyroid.run_files.split_csv import read_split
from thyroid.storage.open_store import open_store

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The network of one seed of a finished run."""

    run: Path
    config: dict[str, Any]
    """config.json of the run."""
    seed: int
    folder: Path
    """Folder of weights and card."""
    classes: tuple[str, ...]

    def predictions(self, part: str) -> Predictions | None:
        """Read its predictions for `validation` or `test`; None if that part has no images."""
        path = self.run / "predictions" / f"{part}-seed{self.seed}.csv"
        found = read_predictions(path, self.classes) if path.exists() else None
        return found if found is not None and len(found.images) else None


def trained(run: Path, seed: int | None, store: Path | None) -> Trained:
    """Find the network of a seed, by default the run's first.

    Raises
    ------
    InputError
        When the folder holds no finished run, or the network of that seed is missing.
    """
    config = read_config(run)
    try:
        seeds, classes = list(config["seeds"]), tuple(config["dataset"]["classes"])
        recipe = from_json(Recipe, config["recipe"])
    except (KeyError, TypeError, InputError):
        raise not_understood(run) from None
    chosen = seeds[0] if seed is None else seed
    if chosen not in seeds:
        known = ", ".join(map(str, seeds))
        raise InputError(f"--seed {chosen} is none of the run's seeds: choose one of {known}.")
    named = run / "predictions" / f"validation-seed{chosen}.csv"
    if not named.is_file() or not (run / "model" / WEIGHTS).is_file():
        raise InputError(f"{run} is not finished: run the command that fills it again.")
    reserved = {UNCERTAIN, UNREADABLE} & set(classes)
    if reserved:
        raise InputError(
            f"A class of {run} is called '{reserved.pop()}', which is what an outcome is called: "
            "give it another name in the data set."
        )
    folder = run / "model"
    if chosen != seeds[0]:  # the run folder has only the first seed's network
        stage = pipeline.classifier(recipe, config["dataset"]["digest"], chosen)[-1]
        where = store or run / "store"
        kept = open_store(where).open(stage.key)
        if kept is None:
            raise InputError(
                f"The network of seed {chosen} is not in {where}: name the run's store with "
                "--store, or run its command again."
            )
        folder = kept
    return Trained(run=run, config=config, seed=chosen, folder=folder, classes=classes)


def model_card(source: Trained) -> dict[str, Any]:
    """Return the content of model.json, except metrics.

    Raises
    ------
    InputError
        When there is no validation image to calibrate on.
    """
    own = json.loads((source.folder / CARD).read_text(encoding="utf-8"))
    data, recipe = source.config["dataset"], source.config["recipe"]
    return {
        "format_version": FORMAT_VERSION,
        "thyroid": __version__,
        "name": f"{data['name']}, {own['network']['name']}, seed {source.seed}",
        **own,
        "weights_sha256": sha256_of(source.folder / WEIGHTS),
        "views": from_json(Recipe, recipe).allowed_views,
        "calibration": _calibration(source),
        "total_counts": _training_counts(source),
        "data": {
            name: data[name]
            for name in ("name", "digest", "source", "licence", "images", "patients")
        },
        "command": source.config["command"],
        "seed": source.seed,
        "recipe": recipe,
    }


def _calibration(source: Trained) -> dict[str, Any]:
    validation = source.predictions("validation")
    if validation is None:
        raise InputError(f"{source.run} has no validation image to calibrate its network on.")
    temperature = fit_temperature(validation.labels, validation.probabilities)
    p = tempered(validation.probabilities, temperature)
    threshold = conformal_threshold(validation.labels, p, LEVEL)
    return {
        "temperature": float(temperature),
        "threshold": min(float(threshold), 1.0),  # at 1 every class is credible
        "level": LEVEL,
        "part": "validation",
        "images": len(validation.images),
        "patients": int(validation.images["patient_id"].nunique()),
        "precision": source.config["recipe"]["execution"]["precision"],
    }


def _training_counts(source: Trained) -> list[int] | None:
    """Return the least and most counts of a training image; None without the data set."""
    data = source.config["dataset"]
    if data["kind"] != "counts":
        return None
    try:
        opened = Dataset.open(Path(data["folder"]), verify=False)
        parts = read_split(source.run)
    except InputError:
        return None
    training = {image.image_id for image in parts if image.part == "train"}
    totals = opened.images.loc[opened.images["image_id"].isin(training), "total_counts"]
    if opened.digest != data["digest"] or not len(totals):
        return None
    return [int(totals.min()), int(totals.max())]


def write_model(source: Trained, card: dict[str, Any], folder: Path) -> None:
    """Write weights and model.json into an existing folder."""
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    shutil.copyfile(source.folder / WEIGHTS, folder / WEIGHTS)
    (folder / CARD).write_text(text, encoding="utf-8")
