"""A file in MedMNIST's format becomes a data set; no network is trained on its test part."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import thyroid
from tests.data.make import small_dataset
from tests.security.test_nothing_executes import Trap
from tests.short_trainings import FEW
from tests.toy import like, made
from thyroid import pipeline
from thyroid.cli import main
from thyroid.data.dataset import OFFICIAL_PART, PARTS, Dataset
from thyroid.data.splits import make_split, with_folds
from thyroid.errors import InputError
from thyroid.recipe import SplitConfig

PREFIXES = ("train", "val", "test")


def made_arrays(
    numbers: tuple[int, int, int] = (40, 12, 16), shape: tuple[int, ...] = (28, 28)
) -> dict[str, np.ndarray]:
    """Arrays of random pictures of four classes in turn."""
    rng = np.random.default_rng(sum(numbers))
    arrays = {}
    for prefix, number in zip(PREFIXES, numbers, strict=True):
        arrays[f"{prefix}_images"] = rng.integers(0, 255, (number, *shape), dtype=np.uint8)
        arrays[f"{prefix}_labels"] = (np.arange(number, dtype=np.uint8) % 4)[:, None]
    return arrays


def saved(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


def digits(path: Path) -> Path:
    """scikit-learn's digits, (8, 8) with 16 levels, as a file in this format."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) * 15).astype(np.uint8)
    parts = zip(PREFIXES, np.split(np.arange(len(images)), [1078, 1437]), strict=True)
    arrays = {}
    for prefix, rows in parts:
        arrays |= {f"{prefix}_images": images[rows], f"{prefix}_labels": labels[rows, None]}
    return saved(path, arrays)


def test_images_labels_and_parts_are_those_of_the_file(tmp_path: Path) -> None:
    arrays = made_arrays()
    file = saved(tmp_path / "made.npz", arrays)
    data = thyroid.import_files(file, tmp_path / "data", size=28, licence="CC BY 4.0")
    assert data.info.classes == ("class_0", "class_1", "class_2", "class_3")
    assert (data.info.kind, data.info.size, data.info.licence) == ("display", 28, "CC BY 4.0")
    assert len(data) == len(set(data.patients)) == 68
    assert data.official_parts is not None
    for prefix, part in zip(PREFIXES, PARTS, strict=True):
        rows = np.flatnonzero(data.official_parts == part)
        np.testing.assert_array_equal(data.labels[rows], arrays[f"{prefix}_labels"][:, 0])
        np.testing.assert_array_equal(data.counts[rows], arrays[f"{prefix}_images"] * 257.0)
    assert data.images["flags"].str.endswith("patient_unnamed").all()
    assert not data.images["flags"].str.contains("colour").any()


def test_colour_is_reduced_and_told_and_names_are_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = made_arrays(shape=(64, 64, 3))
    grey = np.full((64, 64, 3), np.arange(64, dtype=np.uint8)[:, None, None])
    arrays["test_images"][5] = grey
    file = saved(tmp_path / "made.npz", arrays)
    names = tmp_path / "names.csv"
    names.write_text("label,class\n0,normal\n1,graves\n2,above\n3,hashimoto\n")
    command = ["import", str(file), str(tmp_path / "data"), "--labels", str(names), "--size", "32"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "67 pictures are in colour, and were reduced to their brightness" in told
    assert "train 40, validation 12, test 16" in told
    data = Dataset.open(tmp_path / "data")
    assert data.info.classes == ("normal", "graves", "hashimoto", "above")
    tested = data.images[data.images[OFFICIAL_PART] == "test"].reset_index()
    numbers = {"normal": 0, "graves": 1, "above": 2, "hashimoto": 3}
    assert list(tested["label"].map(numbers)) == list(arrays["test_labels"][:, 0])
    assert tested["flags"].str.contains("colour").sum() == 15
    row = int(tested["index"][5])
    expected = np.arange(64).reshape(32, 2).mean(axis=1) * 257  # rows averaged in pairs
    np.testing.assert_allclose(data.counts[row], expected[:, None].repeat(32, 1), atol=1)


def test_copies_across_parts_stay_in_the_test_part(tmp_path: Path) -> None:
    arrays = made_arrays()
    arrays["train_images"][:3] = arrays["test_images"][:3]
    arrays["val_images"][0] = arrays["test_images"][4]
    arrays["train_images"][3] = arrays["val_images"][1]
    arrays["train_images"][5] = arrays["train_images"][4]  # of one patient
    arrays["train_images"][6] = 7  # an empty image
    data = thyroid.import_files(saved(tmp_path / "a.npz", arrays), tmp_path / "data", size=28)
    parts = data.images.groupby(OFFICIAL_PART)
    assert parts.size().to_dict() == {"train": 35, "validation": 11, "test": 16}
    assert len(set(data.patients)) == 61
    assert (parts["patient_id"].nunique() == [16, 34, 11]).all()


def in_parts(rows: np.ndarray, data: Dataset) -> set[str]:
    assert data.official_parts is not None
    return set(data.official_parts[rows])


@pytest.mark.parametrize("test", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("seed", [0, 1])
def test_official_test_images_never_train_or_validate(
    test: float, seed: int, tmp_path: Path
) -> None:
    """The file's parts are kept for all shares and seeds."""
    file = saved(tmp_path / "made.npz", made_arrays())
    data = thyroid.import_files(file, tmp_path / "data", size=28)
    config = SplitConfig(test=test, validation=0.2, seed=seed)
    one = make_split(data, replace(config, folds=1))
    for part in PARTS:
        assert in_parts(getattr(one, part), data) == {part}
    assert sum(len(getattr(one, part)) for part in PARTS) == len(data)

    assert with_folds(data, config).folds == 5
    validated = []
    for fold in range(5):
        split = make_split(data, replace(config, folds=5, fold=fold))
        np.testing.assert_array_equal(split.test, one.test)
        assert in_parts(split.train, data) == {"train", "validation"}
        validated += split.validation.tolist()
        assert not set(split.train) & set(split.validation)
    assert sorted(validated) == sorted([*one.train, *one.validation])


def test_without_an_official_validation_part_training_patients_validate(tmp_path: Path) -> None:
    file = saved(tmp_path / "made.npz", made_arrays())
    data = thyroid.import_files(file, tmp_path / "data", size=28)
    table = data.images.replace({OFFICIAL_PART: {"validation": "train"}})
    split = make_split(replace(data, images=table), SplitConfig(folds=1, validation=0.25))
    assert len(split.test) == 16
    assert len(split.validation) == 12  # of 13 per class, three


def test_a_centre_is_not_left_out_of_an_official_split(tmp_path: Path) -> None:
    file = saved(tmp_path / "made.npz", made_arrays())
    data = thyroid.import_files(file, tmp_path / "data", size=28)
    table = data.images.assign(centre=["A", "B"] * 34)
    with pytest.raises(InputError, match="do not leave a centre out"):
        make_split(replace(data, images=table), SplitConfig(leave_out_centre="A"))


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (["train", "test", "train", "test"], "row 2, has a patient in two official parts"),
        (["train", "train", "holdout", "test"], "row 4, has an official_part that is none of"),
        (["train", "train", "train", "train"], "official split without a test part"),
        (["test", "test", "validation", "test"], "official split without a train part"),
        (["train", "train", "", "test"], "row 4, has an official_part that is none of"),
    ],
)
def test_a_patient_of_two_official_parts_opens_no_data_set(
    parts: list[str], sentence: str, tmp_path: Path
) -> None:
    rows = [("p", "c", "a"), ("p", "c", "a"), ("q", "c", "b"), ("r", "c", "b")]
    folder = small_dataset(tmp_path / "data", rows).folder
    table = pd.read_csv(folder / "images.csv", keep_default_na=False)
    table.assign(**{OFFICIAL_PART: parts}).to_csv(folder / "images.csv", index=False)
    with pytest.raises(InputError, match=sentence):
        Dataset.open(folder)


def test_a_part_that_is_moved_is_another_data_set(tmp_path: Path) -> None:
    file = saved(tmp_path / "made.npz", made_arrays())
    data = thyroid.import_files(file, tmp_path / "data", size=28)
    digest = data.digest
    table = data.images.copy()
    table.loc[0, OFFICIAL_PART] = "train" if table.loc[0, OFFICIAL_PART] == "test" else "test"
    table.to_csv(data.folder / "images.csv", index=False, lineterminator="\n")
    assert Dataset.open(data.folder).digest != digest


def test_digits_are_trained_on_and_tested_with_their_official_split(tmp_path: Path) -> None:
    data = thyroid.import_files(digits(tmp_path / "digits.npz"), tmp_path / "data", size=16)
    assert len(data.info.classes) == 10
    assert data.images[OFFICIAL_PART].value_counts().to_dict() == {
        "train": 1078, "validation": 359, "test": 360,
    }  # fmt: skip
    dealt, _ = made(
        pipeline.split(SplitConfig(folds=1), data.digest), data.folder, tmp_path / "store"
    )
    table = pd.read_csv(dealt / "split.csv", dtype=str)
    assert list(table["part"]) == list(data.images[OFFICIAL_PART])

    few = data.images.groupby([OFFICIAL_PART, "label"]).head(4).index  # a training of seconds
    table = data.images.loc[few].reset_index(drop=True)
    again = like(data, tmp_path / "few", images=table, counts=data.counts[few])
    run = tmp_path / "run"
    command = ["train", str(again.folder), str(run), *FEW, "--seeds", "1", "--input.size", "16"]
    assert main(command) == 0
    predicted = pd.read_csv(run / "predictions" / "test-seed0.csv", dtype={"image_id": str})
    tested = again.images["image_id"][again.images[OFFICIAL_PART] == "test"]
    assert sorted(predicted["image_id"]) == sorted(tested)


def test_what_is_not_in_this_format_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    whole, place = made_arrays(), tmp_path / "files"
    place.mkdir()

    def changed(name: str, **arrays: np.ndarray) -> Path:
        return saved(place / f"{name}.npz", whole | arrays)

    missing = saved(place / "missing.npz", {k: v for k, v in whole.items() if "val" not in k})
    cut = place / "cut.npz"
    cut.write_bytes((place / "missing.npz").read_bytes()[:-400])
    text = place / "text.npz"
    text.write_text("no archive")
    short, header = place / "short.npz", place / "header.npz"
    saved(short, whole)
    for target, old, new in [(header, b"(40, 28, 28)", b"(99, 28, 28)")]:
        with zipfile.ZipFile(short) as source, zipfile.ZipFile(target, "w") as made_again:
            for member in source.namelist():
                content = source.read(member).replace(old, new)
                content = content.replace(b"(40, 1)", b"(99, 1)")
                made_again.writestr(member, content)
    planted = changed("planted", train_images=np.array([{"a": 1}] * 40, dtype=object))
    names, twice = place / "names.csv", place / "twice.csv"
    names.write_text("label,class\n0,normal\n1,graves\n")
    twice.write_text("label,class\n0,normal\n1,normal\n")
    for file, options, sentence in [
        (place / "none.npz", [], "there is no file"),
        (text, [], "is not a NumPy archive"),
        (cut, [], "is not a NumPy archive"),
        (header, [], "is not a NumPy archive (.npz), or is damaged"),
        (planted, [], "must be uint8"),
        (missing, [], "is not in MedMNIST's format"),
        (changed("multi", val_labels=np.zeros((12, 14), np.uint8)), [], "14 labels for each image"),
        (changed("volume", test_images=np.zeros((16, 28, 28, 28), np.uint8)), [], "of volumes"),
        (changed("wide", test_images=np.zeros((16, 28, 30), np.uint8)), [], "must be uint8 of"),
        (changed("deep", val_images=np.zeros((12, 28, 28))), [], "type float64"),
        (changed("more", test_labels=np.zeros((17, 1), int)), [], "16 test_images and 17 labels"),
        (changed("many", val_labels=np.zeros((10**7 + 1, 1), np.int8)), [], "which no set of"),
        (changed("minus", test_labels=np.full((16, 1), -1)), [], "has labels from -1 to -1"),
        (changed("half", test_labels=np.zeros((16, 1))), [], "must be integers"),
        (changed("blank", test_images=np.zeros((16, 28, 28), np.uint8)), [], "no usable image in"),
        (short, ["--labels", str(names)], "does not name the label 2"),
        (short, ["--labels", str(twice)], "row 3, has no class name, or repeats one"),
        (short, ["--labels", str(text)], "does not name the label 0"),
        (short, ["--patients-key", str(place / "key")], "names no patients"),
        (short, ["--size", "8"], "--size is 8 but must be from 16"),
    ]:  # fmt: skip
        refused(["import", str(file), str(tmp_path / "data"), *options], sentence)
        assert [path.name for path in tmp_path.iterdir()] == ["files"]
        assert not (place / "key").exists()


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = saved(tmp_path / "whole.npz", made_arrays())
    bomb = tmp_path / "bomb.npz"
    header = io.BytesIO()
    number = 200_000
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (number, 28, 28)}
    )
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as to:
        for member in source.namelist():
            with to.open(member, "w") as array:
                if member != "test_images.npy":
                    array.write(source.read(member))
                    continue
                array.write(header.getvalue())
                for _ in range(number // 1000):
                    array.write(bytes(1000 * 28 * 28))
    assert bomb.stat().st_size < 10**6
    assert main(["import", str(bomb), str(tmp_path / "data")]) == 2
    assert "which is too much for pictures" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_planted_object_is_not_unpickled(tmp_path: Path) -> None:
    """An array of objects would run code when NumPy loads it with pickle."""
    mark = tmp_path / "mark"
    planted = np.empty(40, dtype=object)
    planted[:] = [Trap(mark)] * 40
    arrays = made_arrays() | {"train_labels": planted, "test_labels": planted[:16]}
    with pytest.raises(InputError, match="must be integers"):
        thyroid.import_files(saved(tmp_path / "a.npz", arrays), tmp_path / "data")
    assert not mark.exists()
