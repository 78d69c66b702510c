"""A patient in two imports has the same name with the same key; otherwise there is no link."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.data.make import save_picture, save_table
from thyroid.data.dataset import Dataset
from thyroid.data.importer import import_folder
from thyroid.errors import InputError

NAMES = ("Doe^Jane", "Roe^Richard", "Low^Mary")


def pictures(folder: Path) -> Path:
    """A picture of each person, whom labels.csv names."""
    for number in range(len(NAMES)):
        save_picture(folder / f"{number}.png")
    rows = [(f"{i}.png", ("graves", "normal")[i % 2], name) for i, name in enumerate(NAMES)]
    save_table(folder / "labels.csv", ("file", "label", "patient"), *rows)
    return folder


def imported(source: Path, dataset: Path, key: Path | None) -> Dataset:
    import_folder(source, dataset, size=16, patients_key=key)
    return Dataset.open(dataset)


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of the same persons."""
    return pictures(tmp_path / "a"), pictures(tmp_path / "b")


def test_the_same_key_gives_a_patient_one_name(both: tuple[Path, Path], tmp_path: Path) -> None:
    key = tmp_path / "patients.key"
    one, other = (imported(s, tmp_path / f"data-{s.name}", key) for s in both)
    assert set(one.patients) == set(other.patients)
    assert len(set(one.patients)) == 3
    assert one.info.patients_key == other.info.patients_key is not None


def test_without_a_key_or_with_another_nobody_is_linked(
    both: tuple[Path, Path], tmp_path: Path
) -> None:
    keys = (None, tmp_path / "first.key", tmp_path / "second.key")
    sets = [imported(both[0], tmp_path / f"data-{n}", key) for n, key in enumerate(keys)]
    assert len({name for dataset in sets for name in dataset.patients}) == 9
    assert len({dataset.info.patients_key for dataset in sets}) == 3
    assert sets[0].info.patients_key is None


def test_a_key_that_is_not_there_is_made_for_its_owner_alone(
    both: tuple[Path, Path], tmp_path: Path
) -> None:
    key = tmp_path / "patients.key"
    dataset = imported(both[0], tmp_path / "data", key)
    assert len(key.read_bytes()) == 64
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    secret = key.read_text()
    for file in dataset.folder.iterdir():
        assert secret.encode() not in file.read_bytes()


@pytest.mark.parametrize(
    "content", ["", "a" * 63, "A script, or any other file of more than sixty-four bytes."]
)
def test_a_file_that_is_no_key_is_refused(
    content: str, both: tuple[Path, Path], tmp_path: Path
) -> None:
    key = tmp_path / "patients.key"
    key.write_text(content)
    with pytest.raises(InputError, match="is not a patients' key"):
        import_folder(both[0], tmp_path / "data", size=16, patients_key=key)
    assert not (tmp_path / "data").exists()


def test_a_key_that_cannot_be_read_or_made_is_a_sentence(
    both: tuple[Path, Path], tmp_path: Path
) -> None:
    for key, sentence in [(tmp_path, "cannot read"), (tmp_path / "none" / "key", "Cannot write")]:
        with pytest.raises(InputError, match=sentence):
            import_folder(both[0], tmp_path / "data", size=16, patients_key=key)


def test_where_a_patient_is_unnamed_no_key_is_claimed_and_that_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    for label in ("graves", "normal"):
        save_picture(folder / label / "1.png")
    key = tmp_path / "patients.key"
    summary = import_folder(folder, tmp_path / "data", size=16, patients_key=key)
    assert Dataset.open(tmp_path / "data").info.patients_key is None
    assert any("the patients' key cannot show" in note for note in summary.notes)
    without = import_folder(folder, tmp_path / "without", size=16)
    assert not any("the patients' key" in note for note in without.notes)
