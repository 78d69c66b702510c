"""The final evaluation: it trains the run's final recipe and fills the run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from thyroid import pipeline
from thyroid.execution.in_process import Runner, bring_about, opened, reread
from thyroid.files import cannot_write, remove_at_once, replace_file
from thyroid.run_files import cases_json, features_file, quality_json
from thyroid.run_files.metrics_jsonl import metrics_of, write_metrics
from thyroid.run_files.network import Network
from thyroid.run_files.predictions_csv import (
    ARTIFACT,
    NETWORKS,
    Predictions,
    ensemble,
    network_file,
    out_of_fold,
    read_predictions,
    write_predictions,
)
from thyroid.run_files.split_csv import SplitImage, read_split, write_split
from thyroid.runs.experiment import Experiment, network_of
from thyroid.runs.tensorboard import write_tensorboard
from thyroid.stage import Stage
from thyroid.stages import synthesise
from thyroid.stages.checkpoint import MODEL, WEIGHTS
from thyroid.storage.store import Store

GENERATORS = ("dcgan", "generator", "srgan", "synthesis")
EXAMPLES = 6
"""Number of synthetic images of each combination of findings that the run folder keeps."""


def evaluate(run: Path, experiment: Experiment, store: Store, runner: Runner) -> None:
    """Train the recipe in every fold with every seed, predict validation and test, and fill the
    run folder.

    Raises
    ------
    InputError
        When data, recipe or folder cannot be used.
    StageFailed
        When training cannot finish.
    """
    bring_about(experiment.stages(), runner, then="training is done; predictions and maps follow")
    write_results(run, experiment, store)


def write_results(run: Path, experiment: Experiment, store: Store) -> None:
    """Fill the run folder from the artifacts of the experiment's stages."""
    folder, recipe = run / "predictions", experiment.recipe
    with cannot_write(run):
        _write_metrics(run, experiment, store)
        predicted = experiment.predictions()
        copy_predictions(predicted, experiment, store, folder)
        _write_split(run, predicted, experiment, store)
        for network in experiment.networks:
            distances, place = experiment.distances(network), run / "model" / network.name
            _copy(opened(distances.inputs["model"], store), (WEIGHTS, MODEL), place)
            _copy(opened(distances, store), (features_file.FILE,), place)
        _copy(
            opened(experiment.cases(), store),
            (cases_json.IMAGES, cases_json.HEAT, cases_json.FILE),
            run / cases_json.FOLDER,
        )
        if recipe.cross.order == "retrain":
            before = experiment.predictions(before_cross=True)
            copy_predictions(before, experiment, store, folder / "before-cross")
        if recipe.synthetic:
            real_only = experiment.real_only.predictions()
            copy_predictions(real_only, experiment, store, folder / "without-synthetic")
            _copy_synthetic(run, experiment.quality(), store)


def _copy(artifact: Path, names: Sequence[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        replace_file(artifact / name, folder / name)


def _write_split(
    run: Path, predicted: Sequence[Stage], experiment: Experiment, store: Store
) -> None:
    """Write split.csv: each image's part of the single split, or its fold."""
    parts = [
        read_split(opened(stage.inputs["split"], store))
        for stage in predicted
        if stage.config.part == "validation" and network_of(stage).seed == experiment.seeds[0]
    ]
    if experiment.recipe.folds == 1:
        write_split(run, parts[0])
        return
    images = []
    for of_image in zip(*parts, strict=True):
        fold = next((f for f, image in enumerate(of_image) if image.part == "validation"), None)
        tested = any(image.part == "test" for image in of_image)
        part: Literal["test", "development", "unused"] = "test" if tested else "unused"
        if fold is not None:
            part = "development"
        images.append(SplitImage(image_id=of_image[0].image_id, part=part, fold=fold))
    write_split(run, images)


def _write_metrics(run: Path, experiment: Experiment, store: Store) -> None:
    """Write metrics.jsonl and tensorboard/ with the metrics of each network and its generators, but
    not of its label filter.
    """
    digest = experiment.dataset.digest
    lines = []
    for seed, fold in experiment.networks:
        recipe = experiment.recipe.in_fold(fold)
        stages = pipeline.classifier(recipe, digest, seed)
        if recipe.synthetic:
            made = pipeline.synthesis(recipe, digest, seed)
            stages = [s for s in made.lineage() if s.kind in GENERATORS] + stages
        for stage in stages:
            yielded = reread(opened(stage, store))
            lines += [dataclasses.replace(metrics_of(line), fold=fold) for line in yielded]
    write_metrics(run, lines)
    write_tensorboard(run)


def copy_predictions(
    stages: Sequence[Stage], experiment: Experiment, store: Store, folder: Path
) -> None:
    """Write the predictions of an experiment's networks.

    validation-seedS.csv has each image of the validation parts of all folds, predicted by the
    network that was not trained on it. test-seedS.csv has the mean of the folds' probabilities.
    With several folds, networks/test-foldF-seedS.csv has the probabilities of each network.
    """
    classes = experiment.dataset.info.classes
    held_out: dict[Network, Predictions] = {}
    tested: dict[Network, Predictions] = {}
    for stage in stages:
        predicted = held_out if stage.config.part == "validation" else tested
        predicted[network_of(stage)] = read_predictions(opened(stage, store) / ARTIFACT, classes)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in experiment.seeds:
        own, test = ([p for n, p in of.items() if n.seed == seed] for of in (held_out, tested))
        write_predictions(folder / f"validation-seed{seed}.csv", out_of_fold(own))
        if test:
            write_predictions(folder / f"test-seed{seed}.csv", ensemble(test))
    for network, predictions in tested.items():
        if experiment.recipe.folds > 1:
            (folder / NETWORKS).mkdir(exist_ok=True)
            write_predictions(folder / NETWORKS / network_file(network), predictions)


def _copy_synthetic(run: Path, measured: Stage, store: Store) -> None:
    """Copy the quality table and some of the synthetic images that it describes."""
    folder = run / quality_json.FOLDER
    remove_at_once(folder)
    folder.mkdir()
    replace_file(opened(measured, store) / quality_json.FILE, folder / quality_json.FILE)
    made = opened(measured.inputs["synthetic"], store)
    synthesise.write_examples(made, folder / "examples", EXAMPLES)
