"""People in two spellings, machine-made folders, folders with a split, columns of other names."""

import dataclasses
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tests.data.make import RNG, import_small, save_picture, save_table, some_counts
from tests.data.make_dicom import save_nm
from thyroid.data.dataset import FLAGS, Dataset
from thyroid.data.folders import made_by_machines, part_of
from thyroid.data.import_summary import UNTOLD
from thyroid.data.patient_names import spelled, without_zeros
from thyroid.data.record import Rejection
from thyroid.errors import InputError
from thyroid.workflows.importing import import_files

SAME = (
    ("AB001", "ab001"), ("Müller Ann", unicodedata.normalize("NFD", "Müller  Ann")),
    ("Straße", "STRASSE"), (" 12 ", "12"), ("１２", "12"), ("Doe^Jane", "DOE^JANE"),
    ("P1", "P1\u200b"), ("p\u00a01", "P 1"),
)  # fmt: skip
LIKE = (
    ("000001", "1"),
    ("1.0", "1"),
    ("AB-001", "ab-1"),
    ("0007.0", "7"),
    ("p01.1", "p1.1"),
    ("7,0", "7"),
    ("1,234", "1234"),
)
OTHERS = (("1", "10"), ("AB1", "AC1"), ("100", "1"), ("1.5", "15"), ("0", "00a"), ("1,23", "123"))


def test_spellings_of_one_person_and_of_others() -> None:
    assert all(spelled(one) == spelled(other) for one, other in SAME)
    for one, other in LIKE:
        assert spelled(one) != spelled(other)
        assert without_zeros(spelled(one)) == without_zeros(spelled(other))
    assert all(
        without_zeros(spelled(one)) != without_zeros(spelled(other)) for one, other in OTHERS
    )
    assert {
        spelled(word)
        for word in ("", "nan", "NaN", "None", " null ", "N/A", "unknown", "未知", "k.A.", "#REF!")
    } == {""}


def _two_images_each(source: Path, *patients: str) -> None:
    for number, patient in enumerate(patients):
        save_nm(
            source / f"{number}.dcm",
            some_counts(),
            PatientID=patient,
            StudyInstanceUID=f"1.2.{number // 2}",
        )
    rows = [(f"{i}.dcm", ("normal", "graves")[i % 2]) for i in range(len(patients))]
    save_table(source / "labels.csv", ("file", "label"), *rows)


def test_two_spellings_are_one_patient_and_two_numbers_are_pointed_out(
    source: Path, target: Path
) -> None:
    _two_images_each(source, "AB001", "ab001", "000007", "7", "7.0", "8")
    summary = import_small(source, target)
    assert summary.patients == 5
    assert any(
        "the names of 3 patients differ from another patient's only by leading" in n
        for n in summary.notes
    )
    dataset = Dataset.open(target)
    assert len(set(dataset.patients_like)) == 3
    like = dataset.images["flags"].str.contains("patient_like=")
    assert like.sum() == 4  # of ab001, 000007, 7.0


def test_images_of_one_study_are_one_patient_where_nothing_else_is_named(
    source: Path, target: Path
) -> None:
    _two_images_each(source, "", "None", "nan", "", "P1", "P2")
    summary = import_small(source, target, patients_key=source.parent / "key")
    assert summary.patients == 4
    assert any("4 images name a study and no patient" in note for note in summary.notes)
    dataset = Dataset.open(target)
    assert dataset.images["flags"].str.contains("patient_by_study").sum() == 4
    assert dataset.info.patients_key is None  # in another data set they may be in another study


@pytest.mark.parametrize(
    "patient",
    ["Patient ID", "PatientNr", "Patient No.", "patient_number", "PatNr", "Pat-ID", "Patient #"],
)
def test_columns_of_other_names_are_taken_and_told(
    patient: str, source: Path, target: Path
) -> None:
    for number in range(4):
        save_picture(source / f"{number}.png")
    rows = [(f"{i}.png", ("normal", "graves")[i % 2], f"P{i // 2}", "A", "55") for i in range(4)]
    save_table(source / "labels.csv", ("FileName", "Diagnosis", patient, "Center", "age"), *rows)
    summary = import_small(source, target)
    assert (summary.patients, summary.centres) == (2, ("A",))
    said = "\n".join(summary.notes)
    for given, wanted in (
        (patient.lower(), "patient"),
        ("center", "centre"),
        ("diagnosis", "label"),
    ):
        assert f"{given!r} of labels.csv was taken for {wanted!r}" in said
    assert "that were not used: 'age'" in said


@pytest.mark.parametrize(
    ("first", "second"),
    [("mrn", "subject"), ("patientid", "patientname"), ("patientid", "patnr"), ("pat-id", "pat")],
)
def test_of_two_columns_that_could_name_the_patient_the_number_is_taken(
    first: str, second: str, source: Path, target: Path
) -> None:
    for number in range(4):
        save_picture(source / f"{number}.png")
    rows = [(f"{i}.png", "normal", "same", f"P{i // 2}", "A", "B") for i in range(4)]
    columns = ("Filename", "Diagnosis", second, first, "CenterID", "Site")
    save_table(source / "labels.csv", columns, *rows)
    summary = import_small(source, target)
    assert (summary.patients, summary.centres) == (2, ("A",))
    said = "\n".join(summary.notes)
    assert f"{first!r} of labels.csv was taken for 'patient'" in said
    assert f"that were not used: {second!r}, 'site'" in said


def test_two_columns_that_could_name_the_class_are_refused(source: Path, target: Path) -> None:
    save_picture(source / "0.png")
    save_table(source / "labels.csv", ("file", "class", "diagnosis"), ("0.png", "a", "b"))
    with pytest.raises(InputError, match=r"class.*diagnosis"):
        import_small(source, target)


def test_a_class_of_one_patient_is_told_at_once(
    source: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A diagnosis in another spelling is a class of its own."""
    for number in range(12):
        save_picture(source / ("normal" if number % 2 else "cold_nodule") / f"{number}.png")
    save_picture(source / "kalter Knoten" / "12.png")
    import_files(source, target, size=16)
    said = capsys.readouterr().err
    assert "note: Class 'kalter Knoten' has one patient only" in said
    assert said.count("note: Class") == 1


@pytest.mark.parametrize("word", ["nan", "None", "NULL", "#N/A", "?", "Unknown", "未知"])
def test_words_for_empty_cells_are_no_class(source: Path, target: Path, word: str) -> None:
    save_picture(source / "sub" / "0.png")
    save_table(source / "labels.csv", ("file", "label"), ("sub/0.png", word))
    with pytest.raises(InputError, match="which names no class"):
        import_small(source, target)
    (source / "labels.csv").unlink()
    if "/" not in word:
        (source / "sub").rename(source / word)
        with pytest.raises(InputError, match="means that the class is unknown"):
            import_small(source, target)


def test_empty_words_for_patients_are_as_empty_as_empty_cells(source: Path, target: Path) -> None:
    for number in range(2):
        save_picture(source / f"{number}.png")
    rows = (("0.png", "normal", "P1"), ("1.png", "graves", "nan"))
    save_table(source / "labels.csv", ("file", "label", "patient"), *rows)
    with pytest.raises(InputError, match=r"row 3, has no patient \(1 of 2"):
        import_small(source, target)


def test_tables_and_disks_of_other_unicode_forms(source: Path, target: Path) -> None:
    name = unicodedata.normalize("NFD", "é.png")
    save_picture(source / name)
    save_table(source / "labels.csv", ("file", "label"), ("é.png", "normal"))
    assert import_small(source, target).imported == 1


MACHINES = (
    "@eaDir/0.png/SYNOPHOTO_THUMB_M.png", "thumbnails/0.png", "#recycle/0.png", "__MACOSX/._0.png",
    ".DS_Store", "Thumbs.db", "normal/Thumbnails/0.png", "normal/.thumbnails/0.png",
    "normal/0_thumb.png", "$RECYCLE.BIN/0.png", "System Volume Information/x",
    "~snapshot/hourly/0.png", "normal/缩略图/0.png", "Network Trash Folder/0.png", "normal/~$0.png",
    "LOST.DIR/0.png", "graves/0.png~",
)  # fmt: skip


def test_what_machines_make_is_skipped_and_told(source: Path, target: Path) -> None:
    pixels = RNG.integers(0, 255, (24, 24)).astype(np.uint8)
    for label in ("normal", "graves"):
        save_picture(source / label / "0.png", pixels if label == "normal" else None)
    for name in MACHINES:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            save_picture(path, pixels[::2, ::2])
        else:
            path.write_bytes(b"x")
    summary = import_small(source, target)
    assert summary.imported == 2
    assert not summary.rejected
    assert sum(summary.skipped.values()) == len(MACHINES)
    assert {"@eaDir", "#recycle", "__MACOSX", ".DS_Store", "Thumbs.db"} <= set(summary.skipped)
    table = "\n".join(summary.table())
    assert f"{len(MACHINES)}  skipped, not from a camera" in table
    assert not made_by_machines("thumper.png")


SPLIT = ("train/normal", "train/graves", "test/normal", "test/graves", "val/normal", "val/graves")


@pytest.mark.parametrize("below", [False, True])
def test_a_tree_that_is_split_already(source: Path, target: Path, below: bool) -> None:
    for folder in SPLIT:
        part, label = folder.split("/")
        for number in range(2):
            place = (label, part) if below else (part, label)
            save_picture(source.joinpath(*place, f"p{part}{label}{number}", "0.png"))
    with pytest.raises(
        InputError, match=r"already has a split: it has folders 'test', 'train', 'val' "
    ):
        import_small(source, target)
    summary = import_small(source, target, keep_split=True)
    dataset = Dataset.open(target)
    assert dataset.info.classes == ("normal", "graves")
    assert summary.patients == 12
    assert dataset.official_parts is not None
    parts, number = np.unique(dataset.official_parts, return_counts=True)
    assert dict(zip(parts, number, strict=True)) == {"train": 4, "test": 4, "validation": 4}


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("train/normal", "test/normal", "masks/normal"), "already has a split"),
        (("train", "test"), "'test', 'train', which are parts of a split or folds, not classes"),
        (("fold_1/normal", "fold_2/normal"), "'fold_1', 'fold_2', which are parts"),
        (("train/normal", "train/graves"), "import .*/train$"),
    ],
)
def test_parts_and_folds_are_no_classes(
    source: Path, target: Path, folders: tuple[str, ...], said: str
) -> None:
    for folder in folders:
        save_picture(source / folder / "0.png")
    with pytest.raises(InputError, match=said):
        import_small(source, target)


def test_patients_called_as_parts_are_patients(source: Path, target: Path) -> None:
    for patient in ("TR", "TS", "AB"):
        save_picture(source / "normal" / patient / "0.png")
    assert import_small(source, target).patients == 3


def test_numbers_that_a_spreadsheet_rounded_are_refused(source: Path, target: Path) -> None:
    save_picture(source / "0.png")
    save_table(source / "labels.csv", ("file", "label", "patient"), ("0.png", "a", "1.23457E+11"))
    with pytest.raises(InputError, match=r"row 2, has the patient '1.23457E\+11', a number that"):
        import_small(source, target)


def test_a_table_that_tells_spreadsheets_its_separator(source: Path, target: Path) -> None:
    save_picture(source / "0.png")
    rows = "sep=;\r\nfile;Diagnóstico\r\n0.png;a\r\n;;\r\n"
    (source / "labels.csv").write_text(rows, "utf-8")
    assert import_small(source, target).imported == 1
    (source / "labels.csv").write_text(f"{rows}0.png\r\n", "utf-8")
    with pytest.raises(InputError, match="row 5, has 1 values"):
        import_small(source, target.with_name("other"))


def test_a_split_in_which_a_copy_is_in_two_parts_is_refused(source: Path, target: Path) -> None:
    for folder in SPLIT:
        save_picture(source / folder / "0.png")
    copy = source / "test" / "normal" / "copy.png"
    copy.write_bytes((source / "train" / "normal" / "0.png").read_bytes())
    with pytest.raises(InputError, match="or are copies, but are in two parts"):
        import_small(source, target, keep_split=True)


def test_a_split_in_a_column_and_none_at_all(source: Path, target: Path) -> None:
    for number in range(4):
        save_picture(source / f"{number}.png")
    rows = [(f"{i}.png", ("a", "b")[i % 2], ("train", "test")[i // 2]) for i in range(4)]
    save_table(source / "labels.csv", ("file", "label", "split"), *rows)
    notes = import_small(source, target.with_name("anew")).notes
    assert any("--keep-split keeps it" in note for note in notes)
    import_small(source, target, keep_split=True)
    assert sorted(Dataset.open(target).images["official_part"]) == ["test"] * 2 + ["train"] * 2
    save_table(source / "labels.csv", ("file", "label"), *[row[:2] for row in rows])
    with pytest.raises(InputError, match="has no split to keep"):
        import_small(source, target.with_name("other"), keep_split=True)


@pytest.mark.parametrize(
    ("folder", "part"),
    [
        ("train", "train"), ("Training_set", "train"), ("1_test", "test"), ("TestData", "test"),
        ("val", "validation"), ("valid", "validation"), ("graves", None), ("test subjects", None),
        ("latest", None), ("normal", None), ("训练集", "train"), ("测试", "test"),
        ("teste", "test"),
        ("Trainingsdaten", "train"), ("Validierung", "validation"), ("Validação", "validation"),
        ("entraînement", "train"), ("Prueba", "test"), ("imagesTr", "train"), ("imagesTs", "test"),
        ("addestramento", "train"), ("multinodular_goitre", None), ("Testikel", None),
    ],
)  # fmt: skip
def test_folders_that_are_parts(folder: str, part: str | None) -> None:
    assert part_of(folder) == part


def test_the_table_of_kinds_of_ten_thousand_files_fits_on_a_screen(
    source: Path, target: Path
) -> None:
    for number in range(4):
        save_nm(
            source / "normal" / f"{number}.dcm",
            some_counts(),
            PatientID=f"P{number}",
            DetectorInformationSequence=None,
            SeriesDescription=("", "", "LAO", "FLOOD")[number],
        )
    summary = import_small(source, target)
    table = summary.table()
    assert any(line.endswith("0  taken") for line in table)
    assert any("2  taken, view_unnamed: nothing names its view" in line for line in table)
    assert any("1  refused: it shows no anterior view" in line for line in table)
    assert any("1  refused: its header names a source" in line for line in table)
    many = dataclasses.replace(
        summary,
        rejected=tuple(
            Rejection(file="x", reason=f"reason {chr(97 + i % 26)} of {1000 + i:,}; " + "x" * i)
            for i in range(200)
        ) * 50,
        flagged={(flag,): 7 for flag in FLAGS},
        skipped={"@eaDir": 12_345, "hidden files": 3},
        centres=tuple(f"centre-{i}" for i in range(99)),
    )  # fmt: skip
    lines = many.lines()
    assert lines[-len(many.table()) :] == many.table()  # visible without scrolling
    assert len(many.table()) < 22
    assert all(
        len(line) <= 100 for line in lines if not line.startswith(("note", "imported", "not "))
    )
    assert any("centre-7 and 91 more" in line for line in lines)
    assert "refused: 193 kinds more" in lines[-2]


def test_every_flag_fits_into_the_table_of_kinds(source: Path, target: Path) -> None:
    save_picture(source / "normal" / "0.png")
    summary = import_small(source, target)
    for flag in set(FLAGS) - set(UNTOLD):
        row = dataclasses.replace(summary, flagged={(flag,): 1}).table()[2]
        assert row.endswith(f"{flag}: {FLAGS[flag]}")
