"""A test set that is a separate data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.short_trainings import RETRAIN, cross_data
from tests.toy import write_toy
from thyroid.cli import main
from thyroid.data.dataset import Dataset


def elsewhere(folder: Path) -> Dataset:
    """Thirty images of other patients."""
    dataset = write_toy(folder, images=30, seed=7)
    names = "other-" + dataset.images["patient_id"]
    dataset.images.assign(patient_id=names).to_csv(folder / "images.csv", index=False)
    return Dataset.open(folder)


def test_a_test_set_that_lies_elsewhere_is_predicted_as_a_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = cross_data(tmp_path / "data"), tmp_path / "run"
    other = elsewhere(tmp_path / "other")
    train = ["train", str(data), str(run), "--seeds", "1", *RETRAIN]
    command = [*train, "--test-set", str(other.folder)]
    assert main([*command, "--dry-run"]) == 0
    assert not run.exists()
    capsys.readouterr()
    assert main(command) == 0
    assert "on 30 test images" in capsys.readouterr().out
    for place in ("predictions", "predictions/before-cross"):
        tested = pd.read_csv(run / place / "test-seed0.csv")
        assert list(tested["image_id"]) == list(other.images["image_id"])
    parts = pd.read_csv(run / "split.csv")["part"]
    assert set(parts) == {"train", "validation"}
    assert len(parts) == 114
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"]["split"]["test"] == 0
    about = config["test_set"]
    assert (about["digest"], about["images"], about["patients"]) == (other.digest, 30, 15)
    assert about["folder"] == str(other.folder)

    assert main(command) == 0  # the same command again
    capsys.readouterr()
    for test_set in ([], ["--test-set", str(elsewhere(tmp_path / "third").folder)]):
        table = tmp_path / "third" / "images.csv"
        if test_set:
            table.write_text(table.read_text().replace("centre-1", "centre-9"))
        assert main([*train, *test_set]) == 2
        assert "holds a run on other data" in capsys.readouterr().err


def test_a_test_set_that_says_nothing_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    data, run = cross_data(tmp_path / "data"), tmp_path / "run"
    size = elsewhere(tmp_path / "other")
    info = json.loads((size.folder / "dataset.json").read_text())
    info["classes"] = ["left", "below", "right"]
    (size.folder / "dataset.json").write_text(json.dumps(info))
    for test_set, sentence in [
        (data, "shares 114 images and 57 patients with the training data"),
        (write_toy(tmp_path / "patients", seed=3).folder, "shares 0 images and 45 patients"),
        (write_toy(tmp_path / "size", size=64, seed=3).folder, "has size 64"),
        (size.folder, "has classes"),
        (tmp_path / "none", "is not a data set"),
    ]:
        for name in ("train", "compare"):
            command = [name, str(data), str(run), *RETRAIN, "--test-set", str(test_set)]
            refused(command, sentence)
            assert not run.exists()
