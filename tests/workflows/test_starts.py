"""Networks that start from weights, and probes: trained, exported, compared, refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.run_files.test_files_md import all_named
from tests.short_trainings import FEW
from tests.toy import CLASSES, made, toy_recipe
from thyroid import pipeline
from thyroid.cli import main
from thyroid.data.dataset import Dataset
from thyroid.files import sha256_of
from thyroid.model.model_folder import read_model
from thyroid.run_files.predictions_csv import read_predictions
from thyroid.stages.checkpoint import WEIGHTS


@pytest.fixture(scope="module")
def weights(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that a training begins with. Tests must not change it."""
    folder = tmp_path_factory.mktemp("weights")
    stage = pipeline.classifier(toy_recipe(), Dataset.open(toy).digest, 7)[0]
    shutil.copyfile(made(stage, toy, folder)[0] / WEIGHTS, folder / "my start.safetensors")
    return folder / "my start.safetensors"


def test_a_probe_is_trained_reported_and_exported_as_any_network(
    toy: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["train", str(toy), str(run), *FEW, "--training", "probe", "--seeds", "1"]
    command += ["--weights", str(weights)]
    # A probe has none of these, whatever the recipe says
    command += ["--cross.order", "retrain", "--mixing.synthetic-share", "0.5"]
    assert main(command) == 0
    (line,) = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert (line["stage"], line["seed"], line["images"]) == ("probe", 0, 54)
    assert {stage["kind"] for stage in json.loads((run / "stages.json").read_text())["stages"]} == {
        *("split", "weights", "probe", "prediction", "distances", "cases"),
    }
    page = (run / "report.html").read_text()
    assert "Only the last layer was fitted, a logistic regression" in page
    assert "No epoch of the final model has ended yet" not in page
    assert all_named(run)
    start = load_file(weights)
    for name, tensor in load_file(run / "model" / "fold0-seed0" / WEIGHTS).items():
        assert (tensor == start[name]).all() != name.startswith("fc."), name

    model = tmp_path / "model"
    assert main(["export", str(run), str(model)]) == 0
    predicted = read_predictions(run / "predictions" / "test-seed0.csv", CLASSES)
    dataset = Dataset.open(toy)
    rows = dataset.images.reset_index().set_index("image_id")["index"]
    counts = dataset.counts[rows.loc[predicted.images["image_id"]].to_numpy()]
    p = read_model(model).probabilities(torch.from_numpy(counts.astype(np.float32)))
    assert np.array_equal(np.asarray(p).argmax(axis=1), predicted.probabilities.argmax(axis=1))
    capsys.readouterr()


@pytest.mark.usefixtures("ray_here")
def test_a_comparison_has_rows_of_given_weights_and_of_probes(
    toy: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["compare", str(toy), str(run), *FEW, "--seeds", "1", "--trials-per-model", "2"]
    command += ["--models", f"lenet5,resnet_small={weights},probe"]
    assert main(command) == 0
    rows = {row["name"]: row for row in json.loads((run / "rows.json").read_text())["rows"]}
    assert list(rows) == [
        "method",
        "lenet5",
        "resnet_small-my-start",
        "probe-resnet_small",
        "probe-resnet_small-my-start",
    ]
    assert [row["epochs"] for row in rows.values()] == [3, 3, 3, 0, 0]
    tuned, random, probe = list(rows.values())[2:]
    assert tuned["title"] == "ResNet-10, small · fine-tuned · my start.safetensors"
    assert tuned["changes"]["network.weights"] == sha256_of(weights)
    assert tuned["trials"] == 2  # the same budget as the others
    assert (random["changes"]["training"], random["trials"]) == ("probe", 1)
    assert random["parameters"] == probe["parameters"] < tuned["parameters"] / 10
    assert all(row["done"] and row["train_seconds"] > 0 for row in rows.values())
    seen = {}
    for name in list(rows)[1:]:
        for part in ("validation", "test"):
            file = f"{part}-seed0.csv"
            own = read_predictions(run / "rows" / name / "predictions" / file, CLASSES)
            method = read_predictions(run / "predictions" / file, CLASSES)
            assert own.images.equals(method.images)
        seen[name] = own.probabilities.tobytes()
    assert len(set(seen.values())) == len(seen)
    page = (run / "report.html").read_text()
    assert "ResNet-10, small · probe · random weights" in page
    assert str(weights.parent) not in page + (run / "report.json").read_text()
    assert "lenet5,resnet_small=my start.safetensors,probe" in page
    capsys.readouterr()


def test_what_cannot_start_so_is_one_sentence_and_leaves_nothing(
    toy: Path, weights: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    run, other = tmp_path / "run", tmp_path / "my start.pth"
    other.write_bytes(b"no weights")
    command = [str(toy), str(run), *FEW]
    searched = ["search", *command, "--space", "augmentation", "--trials", "2"]
    for words, sentence in [
        (
            ["compare", *command, "--models", "resnet_small=none.pth"],
            "--models resnet_small=none.pth: --weights none.pth is not a file. Give phantom, the",
        ),
        (["compare", *command, "--models", f"lenet5={weights}"], "not hold the weights of lenet5"),
        (["compare", *command, "--models", f"resnet_small={other}"], "does not hold the weights"),
        (["compare", *command, "--models", f"resnet19={weights}"], "--models names 'resnet19="),
        ([*searched, "--training", "probe"], "A probe has no epochs to search over"),
    ]:
        refused(words, sentence)
        assert not run.exists()
