"""Files get their labels, patients and centres from class folders or labels.csv."""

import csv

import pytest

from tests.data.make import import_small, save_picture, save_table, some_counts
from tests.data.make_dicom import save_nm
from thyroid.data.dataset import Dataset
from thyroid.data.importer import Rejection
from thyroid.errors import InputError


def test_table_of_labels(source, target):
    for number in range(4):
        save_nm(source / "a b" / f"{number}.dcm", some_counts(), PatientID=f"id{number // 2}")
    save_picture(source / "extra.png")
    save_table(
        source / "labels.csv",
        ("Findings", "file", "LABEL ", "patient", "centre", "age"),
        ("graves; cold_nodule", "a b/0.dcm", "graves", "P8", "N", "44"),
        ("", "a b\\1.dcm", "cold_nodule", "P8", "site-2", "45"),
        ("", "./a b/2.dcm", "graves", "P9", "", "46"),
        ("", "", "", "", "", ""),
    )
    summary = import_small(source, target)
    assert summary.rejected == (
        Rejection(file="a b/3.dcm", reason="it has no row in labels.csv"),
        Rejection(file="extra.png", reason="it has no row in labels.csv"),
    )
    dataset = Dataset.open(target)
    assert sorted(dataset.images["findings"]) == ["cold_nodule", "graves", "graves;cold_nodule"]
    assert summary.centres == ("N", "site-2", "unknown")
    assert summary.patients == 2
    with summary.rejected_list.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["file", "reason"],
            ["a b/3.dcm", "it has no row in labels.csv"],
            ["extra.png", "it has no row in labels.csv"],
        ]


def _six_images_of_three_patients(source, *patients: str, shape=(32, 32)) -> None:
    """Files of PatientID 0, 0, 1, 1, 2, 2, and the patients that labels.csv names."""
    for number in range(6):
        save_nm(source / f"{number}.dcm", some_counts(shape=shape), PatientID=f"{number // 2}")
    rows = [(f"{i}.dcm", ("normal", "graves")[i % 2], patients[i]) for i in range(6)]
    save_table(source / "labels.csv", ("file", "label", "patient"), *rows)


def test_patients_named_in_some_rows_only(source, target):
    """Otherwise patients named in labels.csv and patients named in headers would count as different
    people.
    """
    _six_images_of_three_patients(source, "Anna", "", "Bert", "Bert", " ", "Carl")
    with pytest.raises(
        InputError, match=r"labels.csv, row 3, has no patient \(2 of 6 rows have none\); name"
    ):
        import_small(source, target)
    assert not target.parent.exists()


@pytest.mark.parametrize("patients", [("",) * 6, ("A", "A", "B", "B", "C", "C")])
def test_patients_named_in_no_row_or_in_all(source, target, patients):
    _six_images_of_three_patients(source, *patients)
    assert import_small(source, target).patients == 3


def test_table_elsewhere_with_semicolons_and_a_byte_order_mark(source, target, tmp_path):
    save_picture(source / "甲状腺,1.png")
    save_picture(source / "2.png")
    labels = tmp_path / "mine.csv"
    text = 'file;label;findings\r\n甲状腺,1.png;graves;"graves;normal"\r\n2.png;normal;\r\n'
    labels.write_text(text, encoding="utf-8-sig", newline="")
    assert import_small(source, target, labels=labels).images_per_class == {
        "normal": 1,
        "graves": 1,
    }


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([("file", "label"), ("gone.png", "a")], r"row 2, names 'gone.png', and there is no such"),
        ([("file", "label"), ("../1.png", "a")], r"row 2, names '../1.png', which lies outside"),
        ([("file", "label"), ("/etc/passwd", "a")], "row 2, names '/etc/passwd', which lies"),
        ([("file", "label"), ("sub", "a")], "row 2, names 'sub', and there is no such file"),
        ([("file", "label"), ("1.png", "")], "row 2, has no label"),
        ([("file", "label"), ("", "a")], "row 2, names no file"),
        ([("file", "label"), ("1.png", "a"), ("./1.png", "b")], "row 3, .* again, after row 2"),
        ([("file", "label", "findings"), ("1.png", "a", "b;a")], "row 2, .* start with the label"),
        (
            [("file", "label", "findings"), ("1.png", "a", "a;z")],
            "shows 'z', but no image has this label",
        ),
        ([("file", "label", "findings"), ("1.png", "a", "a;a")], "row 2, names a finding twice"),
        ([("file", "label", "findings"), ("1.png", "a", "a;")], "row 2, has an empty finding"),
        ([("file", "label"), ("1.png", "a", "more")], "row 2, has 3 values for 2 columns"),
        ([("file", "label"), ("1.png", "a\x07")], "row 2, .* control character"),
        ([("file", "kind"), ("1.png", "a")], "one column 'label' and has the columns 'file', "),
        ([("file", "label"), ("1.png", "NaN")], "row 2, has the label 'NaN', which"),
        (
            [("file", "label", "findings"), ("1.png", "a", "a;none")],
            "which means that the class is unknown",
        ),
        ([("file", "label")], "has no rows"),
        ([], "one column 'file'.*empty file"),
    ],
)
def test_wrong_tables(source, target, rows, sentence):
    save_picture(source / "1.png")
    save_picture(source.parent / "1.png")
    (source / "sub").mkdir()
    save_table(source / "labels.csv", *rows)
    with pytest.raises(InputError, match=sentence):
        import_small(source, target)
    assert not target.parent.exists()


def test_tables_that_are_no_tables(source, target, tmp_path):
    save_picture(source / "1.png")
    labels = tmp_path / "labels.csv"
    with pytest.raises(InputError, match=r"cannot read the labels file .*labels.csv: No such file"):
        import_small(source, target, labels=labels)
    labels.write_bytes("file,label\n1.png,Å\n".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8"):
        import_small(source, target, labels=labels)
    labels.write_text('file,label\n1.png,"a"b\n')
    with pytest.raises(InputError, match="line 2, is not CSV"):
        import_small(source, target, labels=labels)


def test_sources_without_labels(source, target, tmp_path):
    with pytest.raises(InputError, match=r"neither a labels.csv nor class folders"):
        import_small(source, target)
    save_picture(source / "1.png")
    with pytest.raises(InputError, match=r"neither a labels.csv nor class folders"):
        import_small(source, target)
    (source / "diagnoses.csv").write_text("file,diagnosis\n1.png,normal\n")
    with pytest.raises(InputError, match=r"add --labels .*/source/diagnoses\.csv$"):
        import_small(source, target)
    with pytest.raises(InputError, match="is not a folder"):
        import_small(tmp_path / "gone", target)
    save_picture(source / "graves+normal" / "1.png")
    with pytest.raises(InputError, match="shows 'normal', but no image has this label"):
        import_small(source, target)


def test_labels_that_differ_in_spelling_only(source, target):
    for name in ("Cold nodule", "cold_nodule", "normal"):
        save_picture(source / name / "image.png")
    with pytest.raises(InputError, match="'Cold nodule' and 'cold_nodule' differ only in"):
        import_small(source, target)
    assert not target.exists()
