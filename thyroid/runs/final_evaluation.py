"""The final evaluation: it trains what a run came to, and fills the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from thyroid import pipeline
from thyroid.execution.in_process import Runner, bring_about, opened, reread
from thyroid.files import cannot_write, remove_at_once, replace_file
from thyroid.run_files import cases_json, quality_json, split_csv
from thyroid.run_files.metrics_jsonl import metrics_of, write_metrics
from thyroid.runs.experiment import Experiment
from thyroid.runs.tensorboard import write_tensorboard
from thyroid.stage import Stage
from thyroid.stages import predict_part, synthesise
from thyroid.stages.checkpoint import MODEL, WEIGHTS
from thyroid.storage.store import Store

GENERATORS = ("dcgan", "generator", "srgan", "synthesis")
EXAMPLES = 6
"""Synthetic images of each combination of findings that the run folder keeps."""


def evaluate(run: Path, experiment: Experiment, store: Store, runner: Runner) -> None:
    """Train the recipe with every seed, predict validation and test, and fill the run folder.

    Raises
    ------
    InputError
        When data, recipe or folder cannot be used.
    StageFailed
        When training cannot finish.
    """
    bring_about(experiment.stages(), runner)
    write_results(run, experiment, store)


def write_results(run: Path, experiment: Experiment, store: Store) -> None:
    """Fill the run folder from the artifacts of the experiment's stages."""
    folder, recipe = run / "predictions", experiment.recipe
    with cannot_write(run):
        _write_metrics(run, experiment, store)
        predicted = experiment.predictions()
        copy_predictions(predicted, store, folder)
        parts, model = predicted[0].inputs["split"], predicted[0].inputs["model"]
        replace_file(opened(parts, store) / split_csv.FILE, run / split_csv.FILE)
        _copy(opened(model, store), (WEIGHTS, MODEL), run / "model")
        _copy(
            opened(experiment.cases(), store),
            (cases_json.IMAGES, cases_json.HEAT, cases_json.FILE),
            run / cases_json.FOLDER,
        )
        if recipe.cross.order == "retrain":
            before = experiment.predictions(before_cross=True)
            copy_predictions(before, store, folder / "before-cross")
        if recipe.synthetic:
            copy_predictions(
                experiment.real_only.predictions(), store, folder / "without-synthetic"
            )
            _copy_synthetic(run, experiment.quality(), store)


def _copy(artifact: Path, names: Sequence[str], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        replace_file(artifact / name, folder / name)


def _write_metrics(run: Path, experiment: Experiment, store: Store) -> None:
    """Write metrics.jsonl and tensorboard/: of each seed's generators and classifier, but not of
    its label filter.
    """
    recipe, digest = experiment.recipe, experiment.dataset.digest
    lines = []
    for seed in experiment.seeds:
        stages = pipeline.classifier(recipe, digest, seed)
        if recipe.synthetic:
            made = pipeline.synthesis(recipe, digest, seed)
            stages = [s for s in made.lineage() if s.kind in GENERATORS] + stages
        for stage in stages:
            lines += [metrics_of(line) for line in reread(opened(stage, store))]
    write_metrics(run, lines)
    write_tensorboard(run)


def copy_predictions(stages: Sequence[Stage], store: Store, folder: Path) -> None:
    """Write each as {validation,test}-seedS.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        part = "validation" if stage.config.part == "validation" else "test"
        name = f"{part}-seed{stage.inputs['model'].config.seed}.csv"
        replace_file(opened(stage, store) / predict_part.FILE, folder / name)


def _copy_synthetic(run: Path, measured: Stage, store: Store) -> None:
    """The quality table, and some of the images that it is about."""
    folder = run / quality_json.FOLDER
    remove_at_once(folder)
    folder.mkdir()
    replace_file(opened(measured, store) / quality_json.FILE, folder / quality_json.FILE)
    made = opened(measured.inputs["synthetic"], store)
    synthesise.write_examples(made, folder / "examples", EXAMPLES)
