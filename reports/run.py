"""A run's folder, read: whatever of it exists so far."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from reports.case_files import Cases, read_cases
from reports.synthetic import read_examples, read_quality
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.evaluate.predictions import Predictions, read_predictions
from thyroid.runs.config import read_config
from thyroid.runs.stage_sharing import NeededStage, read_stages
from thyroid.runs.usage import read_usage

PARAMETER = "param_"
"""Columns of trials.csv that begin so hold what was searched."""
STAGES = {"classifier": "epoch", "dcgan": "epoch", "srgan": "epoch", "synthesis": "findings"}
"""Stages whose lines of metrics.jsonl are shown, and what a line of a seed is about."""
TEXTS = ("stage", "phase", "part", "findings")
"""What of such a line is no number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparedRow:
    """One recipe of a comparison."""

    name: str
    kind: str
    """method | baseline | ablation"""
    title: str
    changes: dict[str, Any]
    """What differs from the method, by dotted field."""
    about: dict[str, Any]
    """Numbers of rows.json, such as `parameters`, by name."""
    predictions: dict[int, Predictions]
    """Seed -> predictions of the part that the run's results are on; the method's are the run's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What a run has written. While it is at work, parts are empty."""

    folder: Path
    config: dict[str, Any]
    """config.json"""
    classes: tuple[str, ...]
    epochs: list[dict[str, Any]]
    """The classifier's lines of metrics.jsonl."""
    generators: dict[str, list[dict[str, Any]]]
    """dcgan, srgan, synthesis -> its lines of metrics.jsonl."""
    predictions: dict[str, dict[int, Predictions]]
    """Part (validation, test) -> seed -> predictions, of the same images in the same order."""
    without_synthetic: dict[str, dict[int, Predictions]]
    """The same, of the recipe without its synthetic images."""
    before_cross: dict[str, dict[int, Predictions]]
    """The same, of the networks before their cross phase."""
    rows: list[ComparedRow]
    """rows.json and rows/, in their order."""
    quality: dict[str, Any] | None
    """synthetic/quality.json"""
    examples: Dataset | None
    """synthetic/examples/"""
    cases: Cases | None
    """cases/"""
    trials: pd.DataFrame | None
    """trials.csv; None where nothing was searched, or no trial has ended."""
    stages: list[NeededStage] | None
    """stages.json; None where the run has none."""
    costs: dict[str, Any] | None
    """usage.json; None where the run has none."""
    parts: dict[str, str]
    """split.csv: image_id -> train, validation or test."""
    dataset: Dataset | None
    dataset_state: str
    """open | missing (no such folder) | changed (not the data of this run)"""
    test_set: Dataset | None = None
    """The data set that is the test part, where there is one and it is there still."""

    @property
    def part(self) -> str | None:
        """What the results are on: test, or validation where there is no test part (yet)."""
        return _part(self.predictions)

    @property
    def tried(self) -> int:
        """Of how many recipes the images of the results chose this one; test images chose none.

        Where they did, the best one owes some of its lead over any other to their luck.
        """
        if self.part == "test":
            return 1
        before = self.config.get("searched")
        own = 0 if self.trials is None else len(self.trials)
        compared = [int(row.about.get("trials", 0)) for row in self.rows if row.kind == "method"]
        return max(1, (before if isinstance(before, int) else 0) + own, *compared)


def read_run(folder: Path) -> Run:
    """Read a run.

    Raises
    ------
    InputError
        When the folder holds no run, or a file of it is damaged.
    """
    config = read_config(folder)
    classes = tuple(config["dataset"]["classes"])
    dataset, state = _dataset(folder, config["dataset"])
    stages = _stages(folder / "metrics.jsonl")

    def predicted(place: str = "") -> dict[str, dict[int, Predictions]]:
        return {
            part: _predictions(folder / "predictions" / place, part, classes)
            for part in ("validation", "test")
        }

    predictions = predicted()
    return Run(
        folder=folder,
        config=config,
        classes=classes,
        epochs=stages.pop("classifier"),
        generators=stages,
        predictions=predictions,
        without_synthetic=predicted("without-synthetic"),
        before_cross=predicted("before-cross"),
        rows=_rows(folder, _part(predictions), classes),
        quality=read_quality(folder / "synthetic" / "quality.json"),
        examples=read_examples(folder / "synthetic" / "examples", classes),
        cases=read_cases(folder, classes),
        trials=_trials(folder / "trials.csv"),
        stages=read_stages(folder / "stages.json"),
        costs=read_usage(folder / "usage.json"),
        parts=_parts(folder / "split.csv"),
        dataset=dataset,
        dataset_state=state,
        test_set=_dataset(folder, config["test_set"])[0] if config.get("test_set") else None,
    )


def _dataset(run: Path, recorded: dict[str, Any]) -> tuple[Dataset | None, str]:
    """The data set where it was, if it is still the one that the run used."""
    folder = Path(str(recorded.get("folder", "")))
    for place in (folder, run / folder):
        if not (place / "dataset.json").is_file():
            continue
        try:
            dataset = Dataset.open(place, verify=False)
        except InputError:
            return None, "changed"
        same = dataset.digest == recorded.get("digest", dataset.digest)
        return (dataset, "open") if same else (None, "changed")
    return None, "missing"


def _stages(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Each stage's rows, sorted by seed and epoch (or findings); of a repeated one the last."""
    rows: dict[str, dict[tuple[int, Any], dict[str, Any]]] = {stage: {} for stage in STAGES}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            stage = row.get("stage", "classifier")
            if stage in rows:
                rows[stage][_place(row, STAGES[stage])] = row
        except (ValueError, TypeError, KeyError, AttributeError):
            if number == len(lines):  # being written at this moment
                continue
            raise InputError(
                f"{path}, line {number} is no line of a training run: run the command again."
            ) from None
    return {stage: [found[key] for key in sorted(found)] for stage, found in rows.items()}


def _place(row: dict[str, Any], about: str) -> tuple[int, Any]:
    """Which seed and epoch (or findings) a line is of; ValueError where a number of it is none."""
    for name, value in row.items():
        if name in TEXTS or value is None:
            continue
        if not math.isfinite(value):
            raise ValueError
    if about == "epoch":
        return int(row["seed"]), int(row["epoch"])
    int(row["made"]), int(row["dropped"])
    return int(row["seed"]), str(row[about])


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


def _part(predictions: Mapping[str, Any]) -> str | None:
    return next((part for part in ("test", "validation") if predictions[part]), None)


def _rows(run: Path, part: str | None, classes: tuple[str, ...]) -> list[ComparedRow]:
    path = run / "rows.json"
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        named = [{name: row[name] for name in ("name", "kind", "title", "changes")} for row in rows]
        about = [{k: v for k, v in row.items() if isinstance(v, int | float)} for row in rows]
        sound = all(
            re.fullmatch(r"[\w-]+", row["name"]) and isinstance(row["changes"], dict)
            for row in named
        )
        sound = sound and all(math.isfinite(number) for own in about for number in own.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise InputError(f"{path} is damaged: run `thyroid compare` again.")
    return [
        ComparedRow(
            **row,
            about=numbers,
            predictions=_predictions(run / "rows" / row["name"] / "predictions", part, classes)
            if part and row["kind"] != "method"
            else {},
        )
        for row, numbers in zip(named, about, strict=True)
    ]


def _trials(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        text = {"state": str, "reason": str}
        trials = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except pd.errors.EmptyDataError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table ({error}): search again.") from None
    missing = [name for name in ("number", "state", "macro_f1") if name not in trials.columns]
    if missing:
        raise InputError(f"{path} has no column '{missing[0]}': run `thyroid search` again.")
    return trials.sort_values("number", ignore_index=True) if len(trials) else None


def _parts(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return dict(zip(table["image_id"], table["part"], strict=True))
    except (OSError, ValueError, KeyError):
        raise InputError(
            f"{path} is no table of image_id and part: run the command that made it again."
        ) from None
