"""A model with fewer classes than its networks, with sums of probabilities that are calibrated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

import thyroid
from tests.short_trainings import FEW
from tests.toy import CLASSES, write_toy
from thyroid.cli import main
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.evaluate.conformal import conformal_threshold
from thyroid.evaluate.temperature import ensemble_temperature, fit_temperature, tempered
from thyroid.model.merging import Merging, merging_of, parse_merge
from thyroid.model.model_folder import read_model
from thyroid.run_files.predictions_csv import COLUMNS, Predictions, read_predictions

SUMMED = np.array([[1, 0], [1, 0], [0, 1]])
"""The classes left and right are merged into sides; below stays."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two folds, on single and cross images. Tests must not change it."""
    place = tmp_path_factory.mktemp("merged")
    data = write_toy(place / "data", images=90, crosses=24).folder
    longer = ["--schedule.constant-epochs", "5", "--optimiser.batch-size", "8", "--seeds", "1"]
    command = ["train", str(data), str(place / "run"), *FEW, *longer, "--folds", "2"]
    assert main(command) == 0
    return place / "run"


@pytest.fixture(scope="module")
def merged(run: Path) -> Path:
    """Its model of two classes, with ONNX. Tests must not change it."""
    command = ["export", str(run), str(run.with_name("merged")), "--merge", "sides=left+right"]
    assert main([*command, "--onnx"]) == 0
    return run.with_name("merged")


@pytest.fixture(scope="module")
def whole(run: Path) -> Path:
    """Its model of three classes. Tests must not change it."""
    assert main(["export", str(run), str(run.with_name("whole"))]) == 0
    return run.with_name("whole")


def card_of(folder: Path) -> dict:
    return json.loads((folder / "model.json").read_text())


def counts_of(run: Path) -> torch.Tensor:
    data = Dataset.open(run.with_name("data"))
    return torch.from_numpy(data.counts[:30].astype(np.float32))


def test_probabilities_are_sums_of_the_networks_mean_probabilities(
    run: Path, merged: Path, whole: Path
) -> None:
    counts = counts_of(run)
    ours, three = read_model(merged), read_model(whole)
    with torch.inference_mode():
        of_networks = three.network.of_members(counts).double().numpy()  # (2, N, 3)
    T = card_of(merged)["calibration"]["temperature"]
    expected = tempered(of_networks.mean(axis=0) @ SUMMED, T)
    answers = ours.answers(counts)
    assert ours.classes == ("sides", "below")
    np.testing.assert_allclose(answers.probabilities, expected, atol=1e-5)
    of_sums = of_networks @ SUMMED
    agree = (of_sums.argmax(axis=2) == expected.argmax(axis=1)).mean(axis=0)
    np.testing.assert_allclose(answers.agreement, agree)
    np.testing.assert_allclose(answers.distances, three.answers(counts).distances)


def test_calibration_is_of_out_of_fold_predictions_of_merged_classes(
    run: Path, merged: Path, whole: Path
) -> None:
    said = read_predictions(run / "predictions" / "validation-seed0.csv", CLASSES)
    labels, p = (said.labels == 2).astype(int), said.probabilities @ SUMMED
    T = fit_temperature(labels, p)
    calibration = card_of(merged)["calibration"]
    assert calibration["fitted_temperature"] == pytest.approx(T)
    assert calibration["temperature"] == pytest.approx(
        ensemble_temperature(T, averaged=1, members=2)
    )
    q = conformal_threshold(labels, tempered(p, T), 0.95)
    assert calibration["threshold"] == pytest.approx(min(q, 1.0))
    assert calibration["threshold"] != pytest.approx(card_of(whole)["calibration"]["threshold"])
    holds = 1 - tempered(p, T)[np.arange(len(p)), labels] <= calibration["threshold"]
    assert 0.95 <= holds.mean() < 0.95 + 2 / len(labels)


def test_card_and_report_are_of_merged_classes(run: Path, merged: Path) -> None:
    card, networks = card_of(merged), []
    assert card["classes"] == ["sides", "below"]
    assert card["merged"] == {"left": "sides", "right": "sides", "below": "below"}
    for fold in (0, 1):
        name = f"networks/test-fold{fold}-seed0.csv"
        networks.append(read_predictions(run / "predictions" / name, CLASSES))
    labels = (networks[0].labels == 2).astype(int)
    p = np.mean([each.probabilities for each in networks], axis=0) @ SUMMED
    overall = card["metrics"]["overall"]
    named = p.argmax(axis=1)
    assert overall["accuracy"]["value"] == pytest.approx(accuracy_score(labels, named))
    assert overall["macro_f1"]["value"] == pytest.approx(f1_score(labels, named, average="macro"))
    assert [row["name"] for row in card["metrics"]["per_class"]] == ["sides", "below"]
    text = (merged / "README.md").read_text()
    assert "| sides | left, right |\n| below | below |" in text
    assert "for each of 2 classes:\nsides, below" in text
    assert "sums of classes" in text


def test_onnx_says_the_same(run: Path, merged: Path) -> None:
    counts = counts_of(run)
    session = onnxruntime.InferenceSession(
        merged / "model.onnx", providers=["CPUExecutionProvider"]
    )
    (theirs,) = session.run(None, {"counts": counts.numpy()})
    ours = read_model(merged).probabilities(counts)
    assert theirs.shape == (30, 2)
    np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-4)
    about = {p.key: p.value for p in onnx.load(merged / "model.onnx").metadata_props}
    assert json.loads(about["classes"]) == ["sides", "below"]


def test_a_notebook_merges_and_recalibrates_with_labels_of_either_kind(
    run: Path, merged: Path, tmp_path: Path
) -> None:
    made = thyroid.export(run, tmp_path / "made", merge={"sides": ["left", "right"]})
    assert made.card == card_of(merged)
    own = write_toy(tmp_path / "own", images=60, seed=5)
    again = thyroid.recalibrate(made, own, tmp_path / "again")
    sides = int((own.images["label"] != "below").sum())
    shown = again.card["recalibration"]["data"]
    assert sum(shown["classes"].values()) == shown["images"]
    assert shown["classes"]["sides"] <= sides
    assert shown["classes"]["sides"] > shown["classes"]["below"] > 0
    assert again.classes == ("sides", "below")


def test_a_merging_that_the_card_contradicts_is_damage(merged: Path, tmp_path: Path) -> None:
    for number, changes in enumerate(
        [
            {"merged": {"left": "sides", "right": "sides"}},
            {"merged": ["sides"]},
            {"merged": {"left": "below", "right": "sides", "below": "below"}},
        ]
    ):
        folder = Path(shutil.copytree(merged, tmp_path / str(number)))
        (folder / "model.json").write_text(json.dumps(card_of(merged) | changes))
        with pytest.raises(InputError, match="is damaged, or was changed"):
            read_model(folder)


def test_a_finding_that_is_merged_with_another_is_one() -> None:
    merging = Merging(into={"a": "x", "b": "y", "c": "x"})
    images = pd.DataFrame({name: ["1", "2", "3"] for name in COLUMNS})
    images["label"], images["findings"] = ["c", "b", "a"], ["c;a", "b;c", "a"]
    p = np.array([[0.2, 0.3, 0.5], [0.1, 0.6, 0.3], [1.0, 0.0, 0.0]])
    found = merging.of(Predictions(classes=("a", "b", "c"), images=images, probabilities=p))
    assert found.classes == ("x", "y")
    assert list(found.images["label"]) == ["x", "y", "x"]
    assert list(found.images["findings"]) == ["x", "y;x", "x"]
    np.testing.assert_allclose(found.probabilities, [[0.7, 0.3], [0.4, 0.6], [1, 0]])
    assert list(images["label"]) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sides", "cannot read 'sides'"),
        ("sides=left+right,sides=below", "each merged class once"),
        ("sides=left+up", "names 'up', which is not a class of the run"),
        ("sides=left+right,other=right+below", "names 'right' twice"),
        ("one=left", "merges no classes"),
        ("all=left+right+below", "leaves only one class"),
        ("below=left+right", "but the class of this name is not part"),
        ("below=left+right,beneath=below", "but the class of this name is not part"),
        ("uncertain=left+right", "which is the name of an outcome"),
        ("a;b=left+right", "a name that cannot be printed"),
    ],
)
def test_what_cannot_be_merged_is_one_sentence(
    text: str, sentence: str, run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    command = ["export", str(run), str(tmp_path / "model"), "--merge", text]
    refused(command, sentence)
    assert not list(tmp_path.iterdir())


def test_classes_that_are_not_named_stay_in_their_places() -> None:
    merge = parse_merge(" nodular = hot + cold , even=graves")
    merging = merging_of(merge, ("normal", "hot", "graves", "cold"))
    assert merging.classes == ("normal", "nodular", "even")
