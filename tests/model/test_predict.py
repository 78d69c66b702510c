"""`thyroid predict` from files to a table and a page."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.data.make_dicom import save_nm
from tests.model.test_model import IMAGES
from tests.model.test_model import TRAIN as RECIPE
from tests.toy import CLASSES, write_toy
from thyroid.cli import main
from thyroid.commands import predict as predict_command
from thyroid.data.dataset import Dataset
from thyroid.evaluate.conformal import conformal_set
from thyroid.evaluate.temperature import tempered
from thyroid.files import sha256_of
from thyroid.model.model_folder import member_files, read_model, second_gate
from thyroid.model.predict_files import FOREIGN, UNLIKE, Prediction, predict
from thyroid.model.scintigram_gate import scintigram_gate
from thyroid.run_files.network import Network
from thyroid.run_files.predictions_csv import Predictions, read_predictions
from thyroid.run_files.split_csv import read_split

TRAIN = [*RECIPE, "--seeds", "1"]
NAME, BORN, NUMBER = "Mustermann^Erika", "19640812", "7261-443"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Path:
    """The toy data set, larger. Tests must not change it."""
    return write_toy(tmp_path_factory.mktemp("data") / "dataset", images=IMAGES, seed=seed).folder


@pytest.fixture(scope="module")
def place(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with run/ and model/, trained on counts. Tests must not change it."""
    folder = tmp_path_factory.mktemp("predict")
    assert main(["train", str(data), str(folder / "run"), *TRAIN]) == 0
    assert main(["export", str(folder / "run"), str(folder / "model")]) == 0
    return folder


def of_test_part(dataset: Path, run: Path) -> tuple[Predictions, np.ndarray]:
    """The run's predictions of its test images, and their matrices (N, H, H)."""
    said = read_predictions(run / "predictions" / "test-seed0.csv", CLASSES)
    images = Dataset.open(dataset)
    row_of = {name: i for i, name in enumerate(images.images["image_id"])}
    return said, images.counts[[row_of[name] for name in said.images["image_id"]]]


def as_dicom(folder: Path, matrices: Sequence[np.ndarray], pixel_mm: float = 4.0) -> list[Path]:
    return [
        save_nm(
            folder / f"{i:03d}.dcm", matrix, PixelSpacing=[pixel_mm, pixel_mm],
            PatientName=NAME, PatientBirthDate=BORN, PatientID=NUMBER,
        )
        for i, matrix in enumerate(matrices)
    ]  # fmt: skip


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([[float(row[f"p_{name}"]) for name in CLASSES] for row in rows])


def with_threshold(model: Path, threshold: float, folder: Path, gate: float = 1e6) -> Path:
    """The model with other thresholds; by default, nothing is unlike the training images."""
    shutil.copytree(model, folder)
    card = json.loads((folder / "model.json").read_text())
    card["calibration"]["threshold"] = threshold
    card["gate"] |= {"threshold": gate, "relative": 1e12}
    (folder / "model.json").write_text(json.dumps(card))
    return folder


@pytest.mark.processors
def test_a_file_gets_the_probabilities_that_the_run_gave_its_image(
    data: Path, place: Path, tmp_path: Path, measured: Callable[..., None]
) -> None:
    said, matrices = of_test_part(data, place / "run")
    as_dicom(tmp_path / "files", matrices)
    out = tmp_path / "new" / "out.csv"
    assert main(["predict", str(place / "model"), str(tmp_path / "files"), "--out", str(out)]) == 0
    rows = rows_of(out)
    assert [Path(row["file"]).name for row in rows] == [f"{i:03d}.dcm" for i in range(len(rows))]
    calibration = json.loads((place / "model" / "model.json").read_text())["calibration"]
    expected = tempered(said.probabilities, calibration["temperature"])
    np.testing.assert_allclose(numbers(rows), expected, atol=1e-4)

    credible = conformal_set(expected, calibration["threshold"])
    uncertain = credible.sum(axis=1) >= 2
    measured("least share of uncertain images", uncertain.mean(), above=0)
    measured("most share of uncertain images", uncertain.mean(), below=1)
    for row, p, are in zip(rows, expected, credible, strict=True):
        assert row["agreement"] == ""  # there is one network
        if float(row["distance"]) > 1:  # one of some forty images like them is expected to be
            assert (row["outcome"], row["credible"]) == ("unlike_training", "")
            continue
        order = np.argsort(-p, kind="stable")
        names = [CLASSES[c] for c in order if are[c]]
        assert row["credible"] == ";".join(names)
        assert row["outcome"] == (names[0] if len(names) == 1 else "uncertain")
        assert row["reason"] == ""


def test_finer_pixels_are_rebinned_as_import_does(data: Path, place: Path, tmp_path: Path) -> None:
    """Put each count into one of 2 x 2 pixels of half the size; re-binning restores the image."""
    _, matrices = of_test_part(data, place / "run")
    rng = np.random.default_rng(0)
    finer = []
    for matrix in matrices[:4]:
        dealt = rng.multinomial(matrix.astype(int), [0.25] * 4)  # (H, H, 4)
        finer.append(
            dealt.reshape(32, 32, 2, 2).transpose(0, 2, 1, 3).reshape(64, 64).astype(np.uint16)
        )
    files = as_dicom(tmp_path / "as-stored", matrices[:4])
    files += as_dicom(tmp_path / "finer", finer, pixel_mm=2.0)
    out = tmp_path / "out.csv"
    assert main(["predict", str(place / "model"), *map(str, files), "--out", str(out)]) == 0
    p = numbers(rows_of(out))
    np.testing.assert_allclose(p[:4], p[4:], atol=1e-5)


@pytest.mark.parametrize(("threshold", "credible"), [(1e-6, 0), (1.0, 3)])
def test_none_or_several_credible_classes_are_uncertain(
    threshold: float,
    credible: int,
    data: Path,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, matrices = of_test_part(data, place / "run")
    files = as_dicom(tmp_path / "files", matrices[:2])
    model = with_threshold(place / "model", threshold, tmp_path / "model")
    out, page = tmp_path / "out.csv", tmp_path / "page.html"
    command = ["predict", str(model), *map(str, files), "--out", str(out), "--explain", str(page)]
    assert main(command) == 0
    for row in rows_of(out):
        assert row["outcome"] == "uncertain"
        assert len(row["credible"].split(";") if row["credible"] else []) == credible
    told = capsys.readouterr().out
    assert "2 files: 0 decided, 2 uncertain, 0 unlike all training images, 0 unreadable" in told
    assert ("no class is credible, not even " if credible == 0 else " or ") in told
    assert ("no class is credible" if credible == 0 else "are credible") in page.read_text()


@pytest.mark.parametrize(
    ("colour", "border", "reason"),
    [
        ((255, 80, 0), 0, "it is coloured, unlike every training image"),
        ((0, 0, 0), 255, "it has a light background, unlike every training image"),
    ],
)
def test_a_kind_of_picture_that_no_training_image_is_of_gets_no_diagnosis(
    colour: tuple[int, int, int], border: int, reason: str, place: Path, tmp_path: Path
) -> None:
    picture = Image.new("RGB", (64, 64), (border,) * 3)
    picture.paste(colour, (20, 20, 44, 44))
    picture.save(tmp_path / "picture.png")
    of_counts = read_model(place / "model")
    model = dataclasses.replace(of_counts, kind="display", pixel_mm=None, gate=None)

    def found(training_flags: frozenset[str] | None) -> Prediction:
        trained = dataclasses.replace(model, training_flags=training_flags)
        return next(predict(trained, [tmp_path / "picture.png"]))

    assert (found(frozenset()).outcome, found(frozenset()).reason) == (UNLIKE, reason)
    for known in (frozenset({"colour", "light_background"}), None):
        assert found(known).outcome != UNLIKE
        assert found(known).reason == ""


def test_export_notes_the_flags_of_training_images(data: Path, place: Path) -> None:
    flags = read_model(place / "model").training_flags
    stored = Dataset.open(data).images["flags"].str.replace("=[0-9]+", "", regex=True)
    assert flags == frozenset(";".join(stored).split(";")) - {""}


def test_an_image_unlike_all_training_images_gets_no_diagnosis(
    data: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the first class can be credible here, however high other probabilities are."""
    _, matrices = of_test_part(data, place / "run")
    files = as_dicom(tmp_path / "files", matrices[:2])
    model = with_threshold(place / "model", 0.7, tmp_path / "model", gate=1e-6)
    out, page = tmp_path / "out.csv", tmp_path / "page.html"
    command = ["predict", str(model), *map(str, files), "--out", str(out), "--explain", str(page)]
    assert main(command) == 0
    for row in rows_of(out):
        assert (row["outcome"], row["credible"]) == ("unlike_training", "")
        assert float(row["distance"]) > 1
        assert row["reason"] == "it is far from all training images"
        assert sum(float(row[f"p_{name}"]) for name in CLASSES) == pytest.approx(1, abs=1e-5)
    told = capsys.readouterr().out
    assert (
        told.count("unlike all training images, no diagnosis: it is far from all training images")
        == 2
    )
    assert "2 files: 0 decided, 0 uncertain, 2 unlike all training images, 0 unreadable" in told
    assert "unlike all training images" in page.read_text()
    assert "(credible)" not in page.read_text()


def test_a_model_with_few_held_out_images_has_a_second_gate(
    data: Path, place: Path, tmp_path: Path
) -> None:
    """The toy images are no thyroid scintigrams, which this model does not know by itself."""
    files = as_dicom(tmp_path, Dataset.open(data).counts[:2])
    gate = scintigram_gate("counts", 128, 2.0)
    assert gate is not None
    small = dataclasses.replace(gate, input=dataclasses.replace(gate.input, size=32))
    model = read_model(place / "model")
    assert [one.outcome for one in predict(model, files)].count(UNLIKE) == 0
    for one in predict(dataclasses.replace(model, scintigrams=small), files):
        assert (one.outcome, one.credible, one.reason) == (UNLIKE, (), FOREIGN)
        assert one.distance is not None
        assert one.distance > 1

    card = {"kind": "counts", "size": 128, "pixel_mm": 2.0}
    for asked, expected in (({"used": True}, True), ({"used": False}, False), (None, False)):
        told = card | {"gate": {"scintigrams": asked}}
        assert (second_gate(told) is not None) == expected
    assert second_gate(card | {"gate": {}}) is None  # written before there was a second gate


def test_agreement_is_the_share_of_networks_that_name_the_class(
    data: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second member whose answers are the first's, with the first two classes exchanged."""
    model = with_threshold(place / "model", 1e-9, tmp_path / "model")
    first, features = (model / name for name in member_files(Network(0, 0)))
    second = model / member_files(Network(0, 1))[0]
    weights = load_file(first)
    for name in ("fc.weight", "fc.bias"):
        weights[name] = weights[name][[1, 0, 2]]
    save_file(weights, second)
    shutil.copyfile(features, model / member_files(Network(0, 1))[1])
    card = json.loads((model / "model.json").read_text())
    other = card["members"][0] | {"fold": 1, "weights_sha256": sha256_of(second)}
    card["members"].append(other)
    card["calibration"]["threshold"] = 0.999999  # every class that has any probability
    (model / "model.json").write_text(json.dumps(card))
    _, matrices = of_test_part(data, place / "run")
    files = as_dicom(tmp_path / "files", matrices[:12])
    out = tmp_path / "out.csv"
    assert main(["predict", str(model), *map(str, files), "--out", str(out)]) == 0
    one, rows = tmp_path / "one.csv", rows_of(out)
    assert main(["predict", str(place / "model"), *map(str, files), "--out", str(one)]) == 0
    alone = numbers(rows_of(one)).argmax(axis=1)
    shares = [float(row["agreement"]) for row in rows]
    assert shares == [1.0 if named == 2 else 0.5 for named in alone]
    assert set(shares) == {0.5, 1.0}


def test_what_cannot_be_used_has_a_reason_and_the_rest_is_predicted(
    data: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, matrices = of_test_part(data, place / "run")
    folder = tmp_path / "files"
    (good,) = as_dicom(folder, matrices[:1])
    (folder / "cut.dcm").write_bytes(good.read_bytes()[:-500])
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "notes, old.txt").write_text("no image")
    save_nm(folder / "black.dcm", np.zeros((32, 32), np.uint16))
    save_nm(folder / "ct.dcm", matrices[0], Modality="CT")
    (folder / "sub").mkdir()
    Image.fromarray((matrices[0] * 8).astype(np.uint8)).save(folder / "sub" / "picture.png")
    (folder / ".hidden.dcm").write_bytes(good.read_bytes())
    (folder / "Thumbs.db").write_bytes(b"\0")
    (folder / "labels.csv").write_text("file,label\n000.dcm,left\n")
    out = tmp_path / "out.csv"
    arguments = [str(folder), str(tmp_path / "none.dcm")]
    assert main(["predict", str(place / "model"), *arguments, "--out", str(out)]) == 0
    rows = {Path(row["file"]).name: row for row in rows_of(out)}
    reasons = {
        "black.dcm": "every pixel has the same value",
        "ct.dcm": "its Modality is not NM",
        "cut.dcm": "",
        "empty.dcm": "it is empty",
        "none.dcm": "there is no such file",
        "notes, old.txt": "it is neither DICOM nor",
        "picture.png": "it is a picture, whose pixel size and counts are unknown",
    }
    assert set(rows) == {"000.dcm", *reasons}
    assert rows["000.dcm"]["outcome"] in (*CLASSES, "uncertain", "unlike_training")
    for name, reason in reasons.items():
        assert rows[name]["outcome"] == "unreadable"
        assert rows[name]["reason"].startswith(reason)
        assert rows[name]["reason"]
        assert {rows[name][c] for c in ("agreement", "distance")} == {""}
        assert {rows[name][f"p_{c}"] for c in CLASSES} == {""}
    told = capsys.readouterr().out
    assert "none.dcm: unreadable: there is no such file" in told
    assert "8 files: " in told
    assert "7 unreadable" in told
    assert "Not for clinical use." in told


def test_nothing_usable_is_status_2_with_the_reasons_in_the_table(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "out.csv", tmp_path / "page.html"
    (tmp_path / "a.txt").write_text("no image")
    command = ["predict", str(place / "model"), str(tmp_path / "a.txt"), "--out", str(out)]
    assert main([*command, "--explain", str(page)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("thyroid: ")
    assert told.endswith("cannot be used: it is neither DICOM nor a PNG, JPEG or TIFF picture.\n")
    assert rows_of(out)[0]["reason"].startswith("it is neither DICOM")
    assert "it is neither DICOM" in page.read_text()


def test_bad_input_is_one_sentence(
    place: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    model, empty = str(place / "model"), tmp_path / "empty"
    empty.mkdir()
    out = ["--out", str(tmp_path / "out.csv")]
    for arguments, sentence in [
        ([], "No image is named"),
        ([str(empty), *out, "--threads", "0"], "--threads is 0"),
        ([model, *out, "--explain", out[1]], "would be written twice"),
        ([model, "--out", "a.json", "--explain", "a.html"], "a.json would be written twice"),
        ([str(empty), *out], f"There is no file in {empty}"),
        ([str(empty), "--out", str(empty)], "is a folder: name a file"),
        ([str(place / "run" / "config.json"), "--out", "/proc/out.csv"], "annot write /proc"),
        ([model, *out, "--explain", str(tmp_path / "p.json")], "choose one ending in .html"),
    ]:
        refused(["predict", model, *arguments], sentence)


def test_pictures_are_predicted_by_a_model_of_pictures_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_toy(tmp_path / "data", images=IMAGES, kind="display").folder
    run, model, out = tmp_path / "run", tmp_path / "model", tmp_path / "out.csv"
    assert main(["train", str(data), str(run), *TRAIN]) == 0
    assert main(["export", str(run), str(model)]) == 0
    assert "uptake is known only as far as a picture" in (model / "README.md").read_text()
    said, matrices = of_test_part(data, run)
    files = tmp_path / "files"
    files.mkdir()
    for i, matrix in enumerate(matrices):
        Image.fromarray(matrix).save(files / f"{i:03d}.png")  # 16 bits
    as_dicom(files / "sub", matrices[:1])
    assert main(["predict", str(model), str(files), "--out", str(out)]) == 0
    rows = rows_of(out)
    assert rows[-1]["outcome"] == "unreadable"
    assert rows[-1]["reason"].startswith("it holds photon counts")
    T = json.loads((model / "model.json").read_text())["calibration"]["temperature"]
    np.testing.assert_allclose(numbers(rows[:-1]), tempered(said.probabilities, T), atol=1e-4)


def test_nothing_of_a_header_is_written_or_told(
    data: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, matrices = of_test_part(data, place / "run")
    as_dicom(tmp_path / "files", matrices[:3])
    out, page = tmp_path / "out.csv", tmp_path / "page.html"
    command = ["predict", str(place / "model"), str(tmp_path / "files"), "--out", str(out)]
    assert main([*command, "--explain", str(page)]) == 0
    captured = capsys.readouterr()
    written = [out, page, page.with_suffix(".json")]
    everything = captured.out + captured.err + "".join(path.read_text() for path in written)
    for secret in (NAME, "Mustermann", BORN, NUMBER):
        assert secret not in everything


def test_names_that_no_terminal_shows_are_told_escaped(
    data: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, matrices = of_test_part(data, place / "run")
    (good,) = as_dicom(tmp_path, matrices[:1])
    odd = tmp_path / "a\x1b[31m\n\udcff, b.dcm"
    good.rename(odd)
    out, page = tmp_path / "out.csv", tmp_path / "page.html"
    command = ["predict", str(place / "model"), str(odd), "--out", str(out), "--explain", str(page)]
    assert main(command) == 0
    assert "\x1b" not in capsys.readouterr().out
    (row,) = rows_of(out)
    assert row["file"] == str(odd).encode("utf-8", "backslashreplace").decode()
    assert page.exists()


def test_counts_unlike_the_training_images_are_noted(
    data: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, matrices = of_test_part(data, place / "run")
    files = as_dicom(tmp_path, [matrices[0], matrices[0] // 4, matrices[0] * 9])
    out = tmp_path / "out.csv"
    assert main(["predict", str(place / "model"), *map(str, files), "--out", str(out)]) == 0
    flags = [row["flags"].split(";") for row in rows_of(out)]
    assert [f for one in flags for f in one if f.endswith("_counts")] == [
        "few_counts",
        "many_counts",
    ]
    printed = capsys.readouterr().out
    assert "note: files with fewer or more counts than any training image: 2" in printed


def test_images_that_the_model_was_trained_or_calibrated_on_are_told(
    data: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Users predict the folder that they trained on, and take the answers for a test."""
    images = Dataset.open(data)
    part_of = {image.image_id: image.part for image in read_split(place / "run")}
    parts = [part_of[name] for name in images.images["image_id"]]
    rows = [parts.index(part) for part in ("train", "validation", "test")]
    files = as_dicom(tmp_path, images.counts[rows])
    out = tmp_path / "out.csv"
    assert main(["predict", str(place / "model"), *map(str, files), "--out", str(out)]) == 0
    flagged = ["training_image" in row["flags"].split(";") for row in rows_of(out)]
    assert flagged == [True, True, False]
    printed = capsys.readouterr().out
    assert "note: the model was trained or calibrated on 2 of these 3 files" in printed
    (new,) = files[2:]
    assert main(["predict", str(place / "model"), str(new), "--out", str(out)]) == 0
    assert "trained or calibrated" not in capsys.readouterr().out


def test_flags_that_make_a_class_doubtful_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (("saturated", "padded"), ("view_unnamed", "saturated"), ("simulated",))
    found = [Prediction(file="a.dcm", outcome="graves", flags=own) for own in flags]
    predict_command._sum_up(found, tmp_path / "out.csv", None)
    told = capsys.readouterr().out
    assert "note: doubtful images, by their flags: 2 saturated, 1 view_unnamed\n" in told
    predict_command._sum_up(found[2:], tmp_path / "out.csv", None)
    assert "doubtful" not in capsys.readouterr().out


def test_twenty_files_are_told_and_all_are_written(
    data: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (good,) = as_dicom(tmp_path, Dataset.open(data).counts[:1])
    out = tmp_path / "out.csv"
    command = ["predict", str(place / "model"), *[str(good)] * 70, "--out", str(out)]
    assert main(command) == 0
    told = capsys.readouterr().out.splitlines()
    assert sum(str(good) in line for line in told) == 20
    assert "... and 50 more" in told
    rows = rows_of(out)  # more than one batch
    assert len(rows) == 70
    assert np.ptp(numbers(rows), axis=0).max() < 1e-6


def test_predicting_imports_no_more_than_it_needs(data: Path, place: Path, tmp_path: Path) -> None:
    """Importing any of these would add half a second or more to a cold start."""
    (good,) = as_dicom(tmp_path, Dataset.open(data).counts[:1])
    code = (
        "import sys; from thyroid.cli import main\n"
        f"assert main(['predict', {str(place / 'model')!r}, {str(good)!r},"
        f" '--out', {str(tmp_path / 'out.csv')!r}]) == 0\n"
        "heavy = {'ray', 'pandas', 'torchvision', 'optuna', 'scipy', 'onnx', 'jinja2'}\n"
        "heavy |= {'torch._dynamo'}  # the compiler\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("learned", [True, False])
def test_a_model_that_learned_nothing_says_so(
    data: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], learned: bool
) -> None:
    card = json.loads((place / "model" / "model.json").read_text())
    assert card["metrics"]["learned"] in (True, False)  # what export found
    shutil.copytree(place / "model", tmp_path / "model")
    card["metrics"]["learned"] = learned
    (tmp_path / "model" / "model.json").write_text(json.dumps(card))
    (file,) = as_dicom(tmp_path, Dataset.open(data).counts[:1])
    assert (
        main(["predict", str(tmp_path / "model"), str(file), "--out", str(tmp_path / "p.csv")]) == 0
    )
    assert ("no better than chance" in capsys.readouterr().out) == (not learned)
