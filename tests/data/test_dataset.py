"""A data set opens as it was written; a changed one is refused with one sentence."""

import errno
import json
import os
import random
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.data.make import small_dataset
from thyroid.data.dataset import COLUMNS, Dataset, write_dataset
from thyroid.errors import InputError

ROWS = [
    ("p1", "c1", "normal"),
    ("p1", "c1", "graves;cold_nodule"),
    ("p2", "c2", "cold_nodule"),
    ("p3", "c2", "graves"),
]


@pytest.fixture
def folder(tmp_path) -> Path:
    return small_dataset(tmp_path / "set", ROWS).folder


def test_round_trip(folder):
    dataset = Dataset.open(folder)
    rng = np.random.default_rng(len(ROWS))
    np.testing.assert_array_equal(dataset.counts, rng.poisson(50, (4, 8, 8)))
    assert isinstance(dataset.counts, np.memmap)
    assert dataset.counts.dtype == np.uint16
    assert not dataset.counts.flags.writeable
    assert dataset.info.classes == ("cold_nodule", "graves", "normal")
    assert tuple(dataset.images.columns) == COLUMNS
    assert dataset.labels.tolist() == [2, 1, 0, 1]
    assert dataset.labels.dtype == np.int64
    assert dataset.findings.tolist() == [[0, 0, 1], [1, 1, 0], [1, 0, 0], [0, 1, 0]]
    assert dataset.findings.dtype == np.float32
    assert dataset.is_cross.tolist() == [False, True, False, False]
    assert dataset.patients.tolist() == ["p1", "p1", "p2", "p3"]
    assert len(dataset) == 4
    assert [path.name for path in folder.parent.iterdir()] == ["set"]


def test_names_that_pandas_would_take_for_missing_values(tmp_path):
    rows = [("NA", "null", "NA"), ("nan", "", "None;NA"), ("1", "01", "1e5")]
    dataset = Dataset.open(small_dataset(tmp_path / "set", rows).folder)
    assert dataset.images["label"].tolist() == ["NA", "None", "1e5"]
    assert dataset.images["centre"].tolist() == ["null", "", "01"]
    assert dataset.patients.tolist() == ["NA", "nan", "1"]


def test_a_table_that_a_spreadsheet_wrote(folder):
    """The table may have a byte order mark, other line ends and quotation marks."""
    before, path = Dataset.open(folder), folder / "images.csv"
    rows = (line.split(",") for line in path.read_text().splitlines())
    lines = [",".join(f'"{value}"' if value else "" for value in row) for row in rows]
    path.write_text("\r\n".join(lines), encoding="utf-8-sig", newline="")
    pd.testing.assert_frame_equal(Dataset.open(folder).images, before.images)


def test_a_row_longer_than_usual(folder):
    path = folder / "images.csv"
    path.write_text(path.read_text().replace(",c1,", f",{'c' * 3_000_000},"))
    assert Dataset.open(folder).images["centre"].str.len().tolist() == [3_000_000] * 2 + [2] * 2


def test_display_data_have_no_pixel_size(tmp_path):
    written = small_dataset(tmp_path / "set", ROWS, kind="display", pixel_mm=None)
    assert json.loads((written.folder / "dataset.json").read_text())["pixel_mm"] is None
    assert Dataset.open(written.folder).info.kind == "display"


def test_digest_is_the_content_and_not_the_name(tmp_path):
    first = small_dataset(tmp_path / "a", ROWS)
    assert first.digest == small_dataset(tmp_path / "b", ROWS, name="other").digest
    assert first.digest == Dataset.open(first.folder).digest
    others = [
        small_dataset(tmp_path / "c", ROWS[::-1]),
        small_dataset(tmp_path / "d", ROWS, pixel_mm=1.0),
        small_dataset(tmp_path / "e", ROWS, classes=("graves", "normal", "cold_nodule")),
        small_dataset(tmp_path / "f", ROWS, counts=np.ones((4, 8, 8), np.uint16)),
    ]
    assert len({first.digest, *(other.digest for other in others)}) == 5


def test_changed_counts_are_noticed(folder):
    path = folder / "counts.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"counts\.npy is not the file .* import again"):
        Dataset.open(folder)
    assert len(Dataset.open(folder, verify=False)) == 4


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("counts.npy", lambda b: b[:-1], "is not an NPY file"),
        ("counts.npy", lambda b: b"", "is not an NPY file"),
        ("counts.npy", lambda b: b"\x80\x04K\x01.", "is not an NPY file"),  # a pickle
        (
            "counts.npy",
            lambda b: b.replace(b"(4, 8, 8)", b"(2, 8,16)"),
            r"not an NPY file of \(4, 8, 8\) uint16",
        ),
        ("counts.npy", None, "has no counts.npy"),
        ("dataset.json", None, "is not a data set"),
        ("dataset.json", lambda b: b[:-4], "does not describe a data set"),
        ("dataset.json", lambda b: b"[]", "does not describe a data set"),
        ("dataset.json", lambda b: b.replace(b'"size": 8', b'"size": "8"'), "does not describe"),
        ("dataset.json", lambda b: b.replace(b'"size"', b'"sise"'), "does not describe"),
        ("dataset.json", lambda b: b.replace(b": 1\n", b": 2\n"), "install a newer version"),
        ("dataset.json", lambda b: b.replace(b"normal", b"norm"), "row 2, names 'normal'"),
        ("images.csv", None, "is not a data set"),
        ("images.csv", lambda b: b"", "cannot be read"),
        ("images.csv", lambda b: b.splitlines()[0], "lists no images"),
        ("images.csv", lambda b: b.splitlines()[0] + b"\n\n", "lists no images"),
        ("images.csv", lambda b: b.replace(b"centre", b"center"), "has the columns"),
        ("images.csv", lambda b: b.replace(b"centre", b"\xff"), "cannot be read"),
        ("images.csv", lambda b: b.replace(b"import,", b"import,,", 1), "Expected 9 columns"),
        ("images.csv", lambda b: re.sub(rb"import,[0-9]+", b"import,", b), "no total_counts"),
        ("images.csv", lambda b: re.sub(rb"import,[0-9]+", b"import,9.5", b), "cannot be read"),
        ("images.csv", lambda b: b.replace(b"p2,", b","), "row 4, has an empty"),
        ("images.csv", lambda b: b.replace(b"graves;cold", b"cold"), "row 3, has findings"),
        ("images.csv", lambda b: b.replace(b",2.0,", b",two,"), "cannot be read"),
        ("images.csv", lambda b: b + b.splitlines()[-1], "row 6, repeats an image_id"),
        ("images.csv", lambda b: b"\n".join(b.splitlines()[:-1]), r"of \(3, 8, 8\) uint16"),
    ],
)
def test_contradictions_are_refused(folder, name, change, sentence):
    path = folder / name
    if change is None:
        path.unlink()
    else:
        changed = change(path.read_bytes())
        assert changed != path.read_bytes()
        path.write_bytes(changed)
    with pytest.raises(InputError, match=sentence) as caught:
        Dataset.open(folder, verify=False)
    assert str(folder) in str(caught.value)


def test_a_folder_that_is_not_there_or_a_file(tmp_path):
    with pytest.raises(InputError, match="is not a data set"):
        Dataset.open(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot read"):
        Dataset.open(tmp_path / "file")


def test_an_existing_target_is_left_alone(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match="exists already"):
        small_dataset(folder, ROWS)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_nothing_is_left_of_an_interrupted_writing(tmp_path, failure):
    images = small_dataset(tmp_path / "set", ROWS).images

    def counts():
        yield np.zeros((8, 8), np.uint16)
        raise failure

    target = tmp_path / "other"
    with pytest.raises((KeyboardInterrupt, InputError)):
        write_dataset(
            target,
            name="other",
            classes=("cold_nodule", "graves", "normal"),
            size=8,
            pixel_mm=2.0,
            kind="counts",
            source="test",
            licence="none",
            images=images,
            counts=counts(),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_disk_errors_are_sentences(tmp_path, monkeypatch, error):
    def refuse(path, *_args, **_kwargs):
        raise OSError(error, os.strerror(error), str(path))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(InputError, match=r"Cannot write .*set: .*; (free space|choose another)"):
        small_dataset(tmp_path / "set", ROWS)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tiny_disk(tmp_path):
    mount = tmp_path / "disk"
    mount.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)]
    try:
        made = subprocess.run(options, capture_output=True, check=False).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("needs the right to mount a file system")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_full_disk(tiny_disk):
    counts = np.zeros((100, 64, 64), np.uint16)
    rows = [(f"p{i}", "c", "normal") for i in range(100)]
    with pytest.raises(InputError, match=r"Cannot write .*: No space left on device; free space"):
        small_dataset(tiny_disk / "set", rows, counts=counts)
    assert list(tiny_disk.iterdir()) == []


def test_read_only_disk(tiny_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(InputError, match=r"Cannot write .*: Read-only file system; choose another"):
        small_dataset(tiny_disk / "deep" / "set", ROWS)


def test_the_parent_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"Cannot write .*file: .*choose another folder"):
        small_dataset(tmp_path / "file" / "set", ROWS)


def test_fewer_or_more_matrices_than_rows_is_the_programs_fault(tmp_path):
    dataset = small_dataset(tmp_path / "set", ROWS)
    settings = {
        "name": "n", "classes": dataset.info.classes, "size": 8, "pixel_mm": 2.0, "kind": "counts",
        "source": "s", "licence": "l", "images": pd.DataFrame(dataset.images),
    }  # fmt: skip
    for number in (3, 5):
        with pytest.raises(ValueError, match="zip"):
            write_dataset(
                tmp_path / "other", counts=[np.zeros((8, 8), np.uint16)] * number, **settings
            )
    with pytest.raises(ValueError, match="expected"):
        write_dataset(tmp_path / "other", counts=[np.zeros((8, 9), np.uint16)] * 4, **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_mutated_files_are_opened_or_refused_and_nothing_else(folder):
    dice = random.Random(3)
    names = ("dataset.json", "images.csv", "counts.npy")
    originals = {name: (folder / name).read_bytes() for name in names}
    refused = 0
    for _ in range(300):
        name = dice.choice(names)
        content = bytearray(originals[name])
        for _ in range(dice.choice((1, 2, 8))):
            at = dice.randrange(len(content))
            if dice.random() < 0.6:
                content[at] = dice.randrange(256)
            else:
                content[at : at + dice.randrange(9)] = dice.randbytes(dice.randrange(9))
        (folder / name).write_bytes(content)
        try:
            dataset = Dataset.open(folder, verify=False)
            assert dataset.labels.shape == dataset.findings.sum(axis=1).shape == (4,)
        except InputError:
            refused += 1
        (folder / name).write_bytes(originals[name])
    assert 50 < refused < 300
