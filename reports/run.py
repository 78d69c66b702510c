"""Reads the folder of a run, which may be unfinished."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.run_files import cases_json, quality_json
from thyroid.run_files.cases_json import Cases, read_cases
from thyroid.run_files.config_json import RecordedDataset, RunConfig, read_config
from thyroid.run_files.metrics_jsonl import (
    ClassifierEpoch,
    DcganEpoch,
    SrganEpoch,
    SynthesisedGroup,
    read_metrics,
)
from thyroid.run_files.network import Network
from thyroid.run_files.predictions_csv import (
    NETWORKS,
    Predictions,
    read_networks,
    read_predictions,
)
from thyroid.run_files.quality_json import Quality, read_quality
from thyroid.run_files.race_json import RacedRecipe, read_race
from thyroid.run_files.rows_json import FOLDER, ComparedRow, read_rows
from thyroid.run_files.split_csv import read_split
from thyroid.run_files.stages_json import NeededStage, read_stages
from thyroid.run_files.trials_csv import Trial, read_trials
from thyroid.run_files.usage_json import Usage, read_usage

T = TypeVar("T")
ByNetwork = dict[Network, Predictions]
"""Seed and fold of a network -> its predictions of the test images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedRow(ComparedRow):
    """One recipe of a comparison, and its predictions."""

    predictions: dict[int, Predictions]
    """Seed -> predictions of the part on which the run's results are; empty for the method, whose
    predictions are the run's own."""
    networks: ByNetwork
    """Test predictions of single networks; empty unless the run has several folds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """Content of a run's folder. Until the run has finished, some of it is empty."""

    folder: Path
    config: RunConfig
    classes: tuple[str, ...]
    epochs: list[ClassifierEpoch]
    """This field and the next three are from metrics.jsonl."""
    dcgan: list[DcganEpoch]
    srgan: list[SrganEpoch]
    synthesised: list[SynthesisedGroup]
    predictions: dict[str, dict[int, Predictions]]
    """Part (validation, test) -> seed -> predictions, of the same images in the same order. With
    several folds, the validation images are those of all folds, each predicted by the network that
    was not trained on it, and the test predictions are the mean of the folds' networks."""
    networks: ByNetwork
    """Test predictions of single networks; empty with one split, where `predictions` has them."""
    without_synthetic: dict[str, dict[int, Predictions]]
    """Like `predictions`, for the recipe without synthetic images."""
    networks_without_synthetic: ByNetwork
    before_cross: dict[str, dict[int, Predictions]]
    """Like `predictions`, for the networks before their cross phase."""
    networks_before_cross: ByNetwork
    rows: list[PredictedRow]
    """rows.json and rows/, in the order of rows.json."""
    quality: Quality | None
    """synthetic/quality.json"""
    examples: Dataset | None
    """synthetic/examples/"""
    cases: Cases | None
    """cases/"""
    trials: list[Trial]
    """trials.csv; empty if nothing was searched, or no trial has ended."""
    race: list[RacedRecipe]
    """race.json, the chosen recipe first; empty if there was no race."""
    stages: list[NeededStage] | None
    """stages.json; None if the run has no such file."""
    usage: Usage | None
    """usage.json; None if the run has no such file."""
    parts: dict[str, str]
    """split.csv: image_id -> train, validation or test, or with several folds development or
    test."""
    fold_of: dict[str, int]
    """split.csv: image_id -> the fold that validates the image; development images only."""
    dataset: Dataset | None
    dataset_state: str
    """open | missing (no such folder) | changed (not the data of this run)"""
    test_set: Dataset | None = None
    """The separate data set that is the test part; None if there is none, or it no longer
    exists."""

    @property
    def folds(self) -> int:
        """Number of folds; 1 for one split, which all runs of earlier versions have."""
        folds = self.config.of_recipe("split.folds")
        return folds if isinstance(folds, int) and folds > 1 else 1

    @property
    def by_centre(self) -> bool:
        """True if each fold is a centre."""
        return self.folds > 1 and self.config.of_recipe("split.folds_by") == "centre"

    @property
    def part(self) -> str | None:
        """Part on which the results are: test, or validation as long as there is no test part."""
        return _part(self.predictions)

    @property
    def tried(self) -> int:
        """Number of recipes that were compared on the images of the results; 1 for test images.

        If there are several, part of the lead of the best one is due to chance.
        """
        return 1 if self.part == "test" else self.chosen_among

    @property
    def chosen_among(self) -> int:
        """Number of recipes among which the run's was chosen on validation images; 1: no choice."""
        own = (self.config.searched or 0) + len(self.trials)
        compared = [row.trials for row in self.rows if row.kind == "method"]
        return max(1, own, *compared)


def read_run(folder: Path) -> Run:
    """Read a run.

    Raises
    ------
    InputError
        When the folder holds no run, or a file of it is damaged.
    """
    config = read_config(folder)
    classes = config.dataset.classes
    dataset, state = _dataset(folder, config.dataset)
    metrics = read_metrics(folder)

    def of(kind: type[T]) -> list[T]:
        return [line for line in metrics if isinstance(line, kind)]

    def predicted(place: str = "") -> dict[str, dict[int, Predictions]]:
        return {
            part: _predictions(folder / "predictions" / place, part, classes)
            for part in ("validation", "test")
        }

    def networks(place: str = "") -> ByNetwork:
        return _networks(folder / "predictions" / place, classes)

    predictions, split = predicted(), read_split(folder)
    return Run(
        folder=folder,
        config=config,
        classes=classes,
        epochs=of(ClassifierEpoch),
        dcgan=of(DcganEpoch),
        srgan=of(SrganEpoch),
        synthesised=of(SynthesisedGroup),
        predictions=predictions,
        networks=networks(),
        without_synthetic=predicted("without-synthetic"),
        networks_without_synthetic=networks("without-synthetic"),
        before_cross=predicted("before-cross"),
        networks_before_cross=networks("before-cross"),
        rows=_rows(folder, _part(predictions), classes),
        quality=read_quality(folder / quality_json.FOLDER),
        examples=_examples(folder / quality_json.FOLDER / "examples", classes),
        cases=read_cases(folder / cases_json.FOLDER, classes),
        trials=read_trials(folder),
        race=read_race(folder),
        stages=read_stages(folder),
        usage=read_usage(folder),
        parts={image.image_id: image.part for image in split},
        fold_of={image.image_id: image.fold for image in split if image.fold is not None},
        dataset=dataset,
        dataset_state=state,
        test_set=_dataset(folder, config.test_set)[0] if config.test_set else None,
    )


def _dataset(run: Path, recorded: RecordedDataset) -> tuple[Dataset | None, str]:
    """Open the recorded data set, if it is still there and the same; also return its state."""
    for place in (Path(recorded.folder), run / recorded.folder):
        if not (place / "dataset.json").is_file():
            continue
        try:
            dataset = Dataset.open(place, verify=False)
        except InputError:
            return None, "changed"
        return (dataset, "open") if dataset.digest == recorded.digest else (None, "changed")
    return None, "missing"


def _examples(folder: Path, classes: tuple[str, ...]) -> Dataset | None:
    """The data set of synthetic images; None if there is none."""
    if not folder.exists():
        return None
    try:
        examples = Dataset.open(folder)
    except InputError as error:
        raise InputError(
            f"The synthetic examples cannot be shown: run the command that made them again. {error}"
        ) from None
    if examples.info.classes != classes:
        raise InputError(
            f"{folder} has other classes than this run: run the command that made it again."
        )
    return examples


def _predictions(folder: Path, part: str, classes: tuple[str, ...]) -> dict[int, Predictions]:
    found = {}
    for path in folder.glob(f"{part}-seed*.csv"):
        match = re.fullmatch(rf"{part}-seed(\d+)\.csv", path.name)
        if match:
            found[int(match[1])] = read_predictions(path, classes)
    seeds = sorted(found)
    for seed in seeds[1:]:
        if not found[seed].images.equals(found[seeds[0]].images):
            raise InputError(
                f"{folder}: {part} images of seeds {seeds[0]} and {seed} differ: "
                "run the command that made them again."
            )
    return {seed: found[seed] for seed in seeds if len(found[seed].images)}


def _networks(folder: Path, classes: tuple[str, ...]) -> ByNetwork:
    """Predictions of single networks; empty with one split, where test-seedS.csv has them."""
    if not (folder / NETWORKS).is_dir():
        return {}
    found = read_networks(folder, classes)
    together = _predictions(folder, "test", classes)
    for network, seed in zip(list(found)[:1], list(together)[:1], strict=False):
        if not found[network].images.equals(together[seed].images):
            raise InputError(
                f"{folder}: the networks' test images are not those of test-seed{seed}.csv: "
                "run the command that made them again."
            )
    return found


def _part(predictions: Mapping[str, Any]) -> str | None:
    return next((part for part in ("test", "validation") if predictions[part]), None)


def _rows(run: Path, part: str | None, classes: tuple[str, ...]) -> list[PredictedRow]:
    rows = []
    for row in read_rows(run):
        folder = run / FOLDER / row.name / "predictions"
        other = part is not None and row.kind != "method"
        rows.append(
            PredictedRow(
                **vars(row),
                predictions=_predictions(folder, part, classes) if part and other else {},
                networks=_networks(folder, classes) if other and part == "test" else {},
            )
        )
    return rows
