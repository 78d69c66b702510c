"""The chosen images, and the maps, which show the images that the network saw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from tests.toy import CLASSES, made, toy_recipe, write_toy
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.execution.in_process import opened
from thyroid.run_files.predictions_csv import ARTIFACT, Predictions, read_predictions
from thyroid.runs.experiment import Experiment
from thyroid.stages import find_cases
from thyroid.storage.store import Store


def predicted(probabilities: list[list[float]], labels: str) -> Predictions:
    names = [CLASSES["lrb".index(c)] for c in labels]
    table = pd.DataFrame({"image_id": [f"i{9 - i}" for i in range(len(names))], "label": names})
    table = table.assign(patient_id="p", centre="", findings=names)
    return Predictions(classes=CLASSES, images=table, probabilities=np.array(probabilities))


def test_confident_errors_come_first_then_what_is_uncertain() -> None:
    p = [
        [0.90, 0.05, 0.05],  # right, sure
        [0.80, 0.10, 0.10],  # wrong, sure
        [0.40, 0.35, 0.25],  # wrong, unsure
        [0.34, 0.33, 0.33],  # right, unsure
        [0.45, 0.10, 0.45],  # right, torn
    ]
    images = predicted(p, "lrrll")
    assert find_cases.chosen(images, 1) == [(1, "error"), (4, "uncertain")]
    both = find_cases.chosen(images, 2)
    assert both == [(1, "error"), (2, "error"), (4, "uncertain"), (3, "uncertain")]
    assert len(find_cases.chosen(images, 6)) == 5  # none twice


def test_equal_ones_stand_in_the_order_of_their_names() -> None:
    images = predicted([[0.8, 0.1, 0.1]] * 3, "rrr")
    assert [row for row, _ in find_cases.chosen(images, 2)] == [2, 1, 0]


def test_a_perfect_classifier_has_no_error_to_show() -> None:
    images = predicted([[0.8, 0.1, 0.1]] * 2, "ll")
    assert {why for _, why in find_cases.chosen(images, 6)} == {"uncertain"}


def test_the_stage_keeps_images_maps_and_probabilities_of_the_test_part(tmp_path: Path) -> None:
    dataset = write_toy(tmp_path / "toy")
    recipe = toy_recipe()
    store = Store(tmp_path / "store")
    stage = pipeline.cases(pipeline.prediction(recipe, dataset.digest, 0, "test"))
    folder, _ = made(stage, dataset.folder, store.root)
    before = opened(stage.inputs["prediction"], store)
    listed = json.loads((folder / "cases.json").read_text())["cases"]
    images, heat = (np.load(folder / name) for name in ("images.npy", "heat.npy"))
    assert 6 <= len(listed) <= 12
    assert len(images) == len(heat) == len(listed)
    assert heat.shape[1:] == (recipe.input.size,) * 2
    assert heat.dtype == np.float16
    assert np.abs(heat).max() > 0
    tested = read_predictions(before / ARTIFACT, CLASSES)
    known = dict(zip(tested.images["image_id"], tested.probabilities.tolist(), strict=True))
    whole = Dataset.open(dataset.folder)
    for case, image in zip(listed, images, strict=True):
        assert case["probabilities"] == known[case["image_id"]]
        assert case["named"] == CLASSES[int(np.argmax(case["probabilities"]))]
        (row,) = np.flatnonzero(whole.images["image_id"] == case["image_id"])
        assert np.array_equal(image, whole.counts[row])
        assert (case["why"] == "error") <= (case["named"] != case["label"])


def test_only_the_final_evaluation_of_the_first_seed_looks(tmp_path: Path) -> None:
    dataset = write_toy(tmp_path / "toy")
    needs = Experiment(dataset=dataset, recipe=toy_recipe(), seeds=[3, 4]).needs()
    looking = [(who, s) for who, stages in needs.items() for s in stages if s.kind == "cases"]
    assert [who for who, _ in looking] == ["seed 3"]
    (stage,) = (stage for _, stage in looking)
    assert stage.inputs["prediction"].config.part == "test"
    assert stage.inputs["model"].config.seed == 3
    segments = pipeline.classifier(toy_recipe(), dataset.digest, 3)
    assert all(s.kind != "cases" for last in segments for s in last.lineage())
