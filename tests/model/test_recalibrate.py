"""`thyroid recalibrate`: new values for the same networks, fitted and validated by patient."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import thyroid
from tests.short_trainings import FEW
from tests.toy import CLASSES, like, write_toy
from thyroid.cli import main
from thyroid.data.dataset import Dataset
from thyroid.data.scintigram import image_id
from thyroid.evaluate.conformal import conformal_threshold
from thyroid.evaluate.temperature import shrunk_temperature, tempered
from thyroid.model.model_folder import read_model
from thyroid.run_files.split_csv import read_split


@pytest.fixture(scope="module")
def model(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model, overconfident and with a gate that rejects nothing. Tests must not change
    it.
    """
    place = tmp_path_factory.mktemp("recalibrate")
    longer = ["--schedule.constant-epochs", "6", "--optimiser.batch-size", "8", "--seeds", "1"]
    assert main(["train", str(toy), str(place / "run"), *FEW, *longer]) == 0
    assert main(["export", str(place / "run"), str(place / "model")]) == 0
    card = json.loads((place / "model" / "model.json").read_text())
    card["gate"] |= {"threshold": 1e6, "relative": 1e12}
    card["calibration"]["temperature"] = 0.1
    (place / "model" / "model.json").write_text(json.dumps(card))
    return place / "model"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty images of thirty other patients. Tests must not change it."""
    return write_toy(tmp_path_factory.mktemp("own") / "own", images=60, seed=5).folder


@pytest.fixture(scope="module")
def recalibrated(model: Path, own: Path) -> Path:
    """The model, recalibrated with these images. Tests must not change it."""
    folder = model.with_name("recalibrated")
    assert main(["recalibrate", str(model), str(own), str(folder)]) == 0
    return folder


def card_of(folder: Path) -> dict:
    return json.loads((folder / "model.json").read_text())


def raw(model: Path, data: Dataset) -> np.ndarray:
    """Mean probabilities of the networks."""
    network = read_model(model).network
    counts = torch.from_numpy(data.counts.astype(np.float32))
    with torch.inference_mode():
        return network.of_members(counts).mean(0).double().numpy()


def test_temperature_and_threshold_are_those_of_one_s_own_images(
    model: Path, own: Path, recalibrated: Path
) -> None:
    data, before, after = Dataset.open(own), card_of(model), card_of(recalibrated)
    p = raw(model, data)
    T = shrunk_temperature(data.labels, p, data.patients, before["calibration"]["temperature"])
    assert after["calibration"]["temperature"] == pytest.approx(T, rel=1e-4)
    assert T > 0.13
    q = conformal_threshold(data.labels, tempered(p, T), 0.95, data.patients)
    assert after["calibration"]["threshold"] == pytest.approx(min(q, 1.0), abs=1e-4)
    counts = torch.from_numpy(data.counts.astype(np.float32))
    answers = read_model(recalibrated).answers(counts)
    np.testing.assert_allclose(answers.probabilities, tempered(p, T), atol=1e-5)


def test_the_card_says_what_was_done(model: Path, own: Path, recalibrated: Path) -> None:
    before, after, data = card_of(model), card_of(recalibrated), Dataset.open(own)
    done, calibration = after["recalibration"], after["calibration"]
    assert done["data"] == {
        "name": "toy", "digest": data.digest, "images": 60, "patients": 30,
        "unnamed_patients": 0, "unlike_training": 0,
        "classes": {name: int((data.images["label"] == name).sum()) for name in CLASSES},
    }  # fmt: skip
    assert done["before"]["temperature"] == before["calibration"]["temperature"]
    assert done["before"]["threshold"] == before["calibration"]["threshold"]
    assert (calibration["part"], calibration["images"]) == ("recalibration", 60)
    for name in ("members", "gate", "data", "recipe", "classes"):
        assert after[name] == before[name]
    assert after["metrics"]["overall"]["macro_f1"] == before["metrics"]["overall"]["macro_f1"]
    assert after["metrics"]["overall"]["log_loss"] is after["metrics"]["sets"] is None
    gained = done["cross_validated"]
    text = (recalibrated / "README.md").read_text()
    assert text.startswith("# toy, ")
    assert "recalibrated\n\n**Not for clinical use.**" in text
    assert "| data set | toy |\n| images | 60 of 30 patients |" in text
    assert data.digest in text
    for name in ("before_log_loss", "after_log_loss", "after_coverage", "log_loss_change"):
        assert f"{gained[name]['value']:.3f} ({gained[name]['low']:.3f} to" in text
    assert "\n## toy, " in text  # the model's own card
    assert "\n### Limits" in text
    assert [line for line in text.splitlines() if line.startswith("# ")] == text.splitlines()[:1]
    assert str(own.parent) not in text
    assert str(own.parent) not in (recalibrated / "model.json").read_text()


def test_predictions_and_notebooks_use_it(recalibrated: Path, model: Path, own: Path) -> None:
    opened = thyroid.Model.open(recalibrated)
    assert "60 recalibration images" in opened._repr_html_()
    made = thyroid.recalibrate(model, Dataset.open(own), model.with_name("again"))
    assert made.card == opened.card
    known, new = read_model(model).training_hashes, Dataset.open(own).counts
    assert known
    assert made.network.training_hashes == known | {image_id(counts) for counts in new}
    assert thyroid.Model.open(model).card == card_of(model)


def test_what_is_unlike_the_training_images_takes_no_part(
    model: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Dataset.open(own)
    counts = torch.from_numpy(data.counts.astype(np.float32))
    distances = read_model(model).answers(counts).distances * 1e6
    strict = Path(shutil.copytree(model, tmp_path / "strict"))
    card = card_of(model)
    card["gate"]["threshold"] = float(np.sort(distances)[-4])  # three lie beyond
    (strict / "model.json").write_text(json.dumps(card))
    assert main(["recalibrate", str(strict), str(own), str(tmp_path / "made")]) == 0
    assert "3 more images are unlike" in capsys.readouterr().out
    near = np.argsort(distances)[:-3]
    found = card_of(tmp_path / "made")
    assert found["recalibration"]["data"]["unlike_training"] == 3
    assert found["calibration"]["images"] == 57
    T = shrunk_temperature(
        data.labels[near], raw(model, data)[near], data.patients[near],
        card["calibration"]["temperature"],
    )  # fmt: skip
    assert found["calibration"]["temperature"] == pytest.approx(T, rel=1e-4)

    other = Path(shutil.copytree(own, tmp_path / "other"))
    images = data.images.copy()
    images.loc[:3, "flags"] = "other_examination"
    images.to_csv(other / "images.csv", index=False)
    assert main(["recalibrate", str(model), str(other), str(tmp_path / "of-kinds")]) == 0
    assert card_of(tmp_path / "of-kinds")["recalibration"]["data"]["unlike_training"] == 4


def test_what_cannot_be_recalibrated_is_one_sentence_and_leaves_nothing(
    toy: Path, model: Path, own: Path, recalibrated: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], refused: Callable[..., str],
) -> None:  # fmt: skip
    data = Dataset.open(own)

    def altered(name: str, table: pd.DataFrame, **changes: object) -> Path:
        counts = data.counts[table.index]
        return like(data, tmp_path / name, images=table, counts=counts, **changes).folder

    few = altered("few", data.images[:38])
    one = altered("one", data.images.assign(label="left", findings="left"))
    trained = read_split(model.with_name("run"))
    rows = [row for row, image in enumerate(trained) if image.part == "train"][:2]
    mixed = np.concatenate([data.counts[:58], Dataset.open(toy).counts[rows]])
    known = like(data, tmp_path / "known", counts=mixed).folder
    renamed = data.images.replace("left", "above")
    other = altered("other", renamed, classes=("above", "right", "below"))
    finer = write_toy(tmp_path / "finer", images=60, size=64, seed=5).folder
    display = write_toy(tmp_path / "display", images=60, kind="display", seed=5).folder
    before = sorted(tmp_path.iterdir())
    for given, images, sentence in [
        (model, few, "images of 19 patients, and recalibration needs 20"),
        (model, one, "images of one class only"),
        (model, other, "images of 'above', which is not a class of"),
        (model, finer, "import its files with --size 32 --pixel-mm 4"),
        (model, display, "holds pictures, but"),
        (model, toy, "was trained on"),
        (model, known, "was trained on 2 of the 60 images of"),
        (model, tmp_path / "none", "is not a data set"),
        (recalibrated, own, "was recalibrated already"),
        (toy, own, "is not a model"),
    ]:
        refused(["recalibrate", str(given), str(images), str(tmp_path / "made")], sentence)
        assert sorted(tmp_path.iterdir()) == before
    assert main(["recalibrate", str(model), str(own), str(recalibrated)]) == 2
    assert "exists already" in capsys.readouterr().err
