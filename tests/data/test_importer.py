"""A folder becomes a data set: labelled, complete about what was refused, and nameless."""

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.data.make_dicom import detectors, nm_header, save_nm
from thyroid.data import importer
from thyroid.data.dataset import Dataset
from thyroid.data.importer import Rejection, import_folder
from thyroid.data.rebin import rebin_counts, rng_for
from thyroid.data.record import CENTRE_CODE
from thyroid.errors import InputError

# pydicom warns of the odd headers that these tests write
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")

RNG = np.random.default_rng(11)


def _counts(mean: float = 20.0, shape=(32, 32)) -> np.ndarray:
    return RNG.poisson(mean, shape).astype(np.uint16)


def _picture(path: Path, pixels: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 255, (24, 24)).astype(np.uint8) if pixels is None else pixels
    Image.fromarray(pixels).save(path)
    return path


def _table(path: Path, *rows: tuple[str, ...]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def source(tmp_path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "out" / "set"


def _import(source, target, **options):
    return import_folder(source, target, size=16, pixel_mm=4.0, **options)


def test_class_folders_of_pictures(source, target):
    for number in range(3):
        _picture(source / "graves" / f"{number}.png")
        _picture(source / "normal" / f"{number}.jpg")
    _picture(source / "graves+cold_nodule" / "x.tif")
    _picture(source / "cold_nodule" / "y.PNG")
    for junk in (".DS_Store", "normal/Thumbs.db", "__MACOSX/normal/._0.jpg"):
        (source / junk).parent.mkdir(parents=True, exist_ok=True)
        (source / junk).write_bytes(b"x")
    calls = []
    summary = _import(source, target, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(n, 8) for n in range(1, 9)]
    assert summary.imported == 8
    assert summary.rejected == ()
    assert summary.rejected_list is None
    assert summary.kind == "display"
    assert summary.images_per_class == {"normal": 3, "graves": 4, "cold_nodule": 1}
    assert summary.crosses == 1
    assert summary.patients == 8
    assert summary.centres == ("unknown",)
    assert any("8 images name no patient" in note for note in summary.notes)
    assert "imported 8 pictures of 8 patients" in summary.lines()[0]

    dataset = Dataset.open(target)
    assert dataset.info.classes == ("normal", "graves", "cold_nodule")
    assert dataset.info.pixel_mm is None
    assert dataset.info.name == "set"
    assert set(dataset.images["total_counts"]) == {0}
    assert dataset.images["image_id"].is_monotonic_increasing
    assert [path.name for path in target.parent.iterdir()] == ["set"]


def test_counts_are_rebinned_as_everywhere(source, target):
    kept = {}
    for label in ("graves", "normal"):
        for number in range(2):
            counts = _counts(shape=(40, 36))
            path = source / label / f"{number}"
            save_nm(path, counts, PixelSpacing=[3.0, 2.5], PatientID=f"{label}{number}")
            kept[label, number] = rebin_counts(
                counts, pixel_mm=(3.0, 2.5), target_mm=4.0, size=16, rng=rng_for(counts)
            )
    summary = _import(source, target)
    dataset = Dataset.open(target)
    assert summary.patients == 4
    assert dataset.info.pixel_mm == 4.0
    stored = {matrix.tobytes() for matrix in dataset.counts}
    assert stored == {matrix.tobytes() for matrix, _ in kept.values()}
    outside = {matrix.tobytes(): outside for matrix, outside in kept.values()}
    for row, matrix in zip(dataset.images.itertuples(), dataset.counts, strict=True):
        assert row.total_counts == matrix.sum()
        assert row.flags == f"counts_outside={outside[matrix.tobytes()]}"
    everything = sum(m.sum() + o for m, o in kept.values())
    assert summary.outside_share == pytest.approx(sum(outside.values()) / everything)


def test_table_of_labels(source, target):
    for number in range(4):
        save_nm(source / "a b" / f"{number}.dcm", _counts(), PatientID=f"id{number // 2}")
    _picture(source / "extra.png")
    _table(
        source / "labels.csv",
        ("Findings", "file", "LABEL ", "patient", "centre", "age"),
        ("graves; cold_nodule", "a b/0.dcm", "graves", "P8", "N", "44"),
        ("", "a b\\1.dcm", "cold_nodule", "P8", "site-2", "45"),
        ("", "./a b/2.dcm", "graves", "P9", "", "46"),
        ("", "", "", "", "", ""),
    )
    summary = _import(source, target)
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
        save_nm(source / f"{number}.dcm", _counts(shape=shape), PatientID=f"{number // 2}")
    rows = [(f"{i}.dcm", ("normal", "graves")[i % 2], patients[i]) for i in range(6)]
    _table(source / "labels.csv", ("file", "label", "patient"), *rows)


def test_patients_named_in_some_rows_only(source, target):
    """Those named and those of the headers would be taken for different people."""
    _six_images_of_three_patients(source, "Anna", "", "Bert", "Bert", " ", "Carl")
    with pytest.raises(
        InputError, match=r"labels.csv, row 3, leaves the patient empty, as 2 of 6 rows do; name"
    ):
        _import(source, target)
    assert not target.parent.exists()


@pytest.mark.parametrize("patients", [("",) * 6, ("A", "A", "B", "B", "C", "C")])
def test_patients_named_in_no_row_or_in_all(source, target, patients):
    _six_images_of_three_patients(source, *patients)
    assert _import(source, target).patients == 3


def test_centres_keep_codes_and_lose_names(source, target):
    given = ("A", "site-3", "Mercy  General", "mercy general", "Charite", "", "centre-1", "unknown")
    for number in range(len(given)):
        save_nm(source / f"{number}.dcm", _counts(), InstitutionName="Saint", PatientID=f"{number}")
    rows = [(f"{i}.dcm", ("normal", "graves")[i % 2], given[i]) for i in range(len(given))]
    _table(source / "labels.csv", ("file", "label", "centre"), *rows)
    summary = _import(source, target)
    assert summary.centres == ("A", "centre-1", "centre-2", "centre-3", "site-3", "unknown")
    of_centre = Dataset.open(target).images["centre"].value_counts()
    assert of_centre["unknown"] == 2  # no institution of a header where labels.csv has centres
    assert of_centre["centre-1"] == 1  # a code, which no number may repeat
    assert sorted(of_centre[["centre-2", "centre-3"]]) == [1, 2]
    assert any("Centres that labels.csv names are numbered" in n for n in summary.notes)
    said = "\n".join([repr(summary), *summary.lines()])
    written = b"".join(path.read_bytes() for path in target.rglob("*"))
    for name in ("mercy", "charite", "saint"):
        assert name not in said.lower()
        assert name.encode() not in written.lower()


@pytest.mark.parametrize(
    ("centre", "kept"),
    [("A", True), ("UKB", True), ("07", True), ("site-3", True), ("hospital_12", True),
     ("Mayo", False), ("Charite", False), ("St. Mary 2", False), ("A\n", False),
     ("Sankt-Elisabeth-Hospital-1", False), ("甲1", False), ("", False)],
)  # fmt: skip
def test_which_centres_are_codes(centre, kept):
    assert (CENTRE_CODE.fullmatch(centre) is not None) is kept


def test_copies_under_two_patients_are_named_at_once(source, target):
    counts = _counts()
    for patient in ("P1", "P2"):
        save_nm(source / "normal" / f"{patient}.dcm", counts, PatientID=patient)
    save_nm(source / "graves" / "other.dcm", _counts(), PatientID="P1")
    notes = _import(source, target).notes
    assert len(notes) == 1
    assert "such as 'normal/P1.dcm' and 'normal/P2.dcm'; training will refuse" in notes[0]


def test_a_list_of_an_earlier_import_does_not_stay(source, target):
    for label in ("normal", "graves"):
        _picture(source / label / "good.png")
    (source / "normal" / "empty.png").write_bytes(b"")
    assert _import(source, target).rejected_list.is_file()
    shutil.rmtree(target)
    (source / "normal" / "empty.png").unlink()
    assert _import(source, target).rejected_list is None
    assert [path.name for path in target.parent.iterdir()] == ["set"]


def test_table_elsewhere_with_semicolons_and_a_byte_order_mark(source, target, tmp_path):
    _picture(source / "甲状腺,1.png")
    _picture(source / "2.png")
    labels = tmp_path / "mine.csv"
    text = 'file;label;findings\r\n甲状腺,1.png;graves;"graves;normal"\r\n2.png;normal;\r\n'
    labels.write_text(text, encoding="utf-8-sig", newline="")
    assert _import(source, target, labels=labels).images_per_class == {"normal": 1, "graves": 1}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([("file", "label"), ("gone.png", "a")], r"row 2, names 'gone.png', and there is no such"),
        ([("file", "label"), ("../1.png", "a")], r"row 2, names '../1.png', which lies outside"),
        ([("file", "label"), ("/etc/passwd", "a")], "row 2, names '/etc/passwd', which lies"),
        ([("file", "label"), ("sub", "a")], "row 2, names 'sub', and there is no such file"),
        ([("file", "label"), ("1.png", "")], "row 2, has no label"),
        ([("file", "label"), ("", "a")], "row 2, names no file"),
        ([("file", "label"), ("1.png", "a"), ("./1.png", "b")], "row 3, .* as row 2 does"),
        ([("file", "label", "findings"), ("1.png", "a", "b;a")], "row 2, .* start with the label"),
        ([("file", "label", "findings"), ("1.png", "a", "a;z")], "shows 'z', which is the label"),
        ([("file", "label", "findings"), ("1.png", "a", "a;a")], "row 2, names a finding twice"),
        ([("file", "label", "findings"), ("1.png", "a", "a;")], "row 2, has an empty finding"),
        ([("file", "label"), ("1.png", "a", "more")], "row 2, has 3 values for 2 columns"),
        ([("file", "label"), ("1.png", "a\x07")], "row 2, .* control character"),
        ([("file", "class"), ("1.png", "a")], "one column 'label' and has the columns 'file', "),
        ([("file", "label")], "has no rows"),
        ([], "one column 'file'.*empty file"),
    ],
)
def test_wrong_tables(source, target, rows, sentence):
    _picture(source / "1.png")
    _picture(source.parent / "1.png")
    (source / "sub").mkdir()
    _table(source / "labels.csv", *rows)
    with pytest.raises(InputError, match=sentence):
        _import(source, target)
    assert not target.parent.exists()


def test_tables_that_are_no_tables(source, target, tmp_path):
    _picture(source / "1.png")
    labels = tmp_path / "labels.csv"
    with pytest.raises(InputError, match=r"cannot read the labels file .*labels.csv: No such file"):
        _import(source, target, labels=labels)
    labels.write_bytes("file,label\n1.png,Å\n".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8"):
        _import(source, target, labels=labels)
    labels.write_text('file,label\n1.png,"a"b\n')
    with pytest.raises(InputError, match="line 2, is no CSV"):
        _import(source, target, labels=labels)


def test_sources_without_labels(source, target, tmp_path):
    with pytest.raises(InputError, match=r"neither a labels.csv nor class folders"):
        _import(source, target)
    _picture(source / "1.png")
    with pytest.raises(InputError, match=r"neither a labels.csv nor class folders"):
        _import(source, target)
    with pytest.raises(InputError, match="is no folder"):
        _import(tmp_path / "gone", target)
    with pytest.raises(InputError, match="make no image"):
        import_folder(source, target, size=0)
    _picture(source / "graves+normal" / "1.png")
    with pytest.raises(InputError, match="shows 'normal', which is the label of no image"):
        _import(source, target)


def test_unusable_files_are_listed(source, target):
    _picture(source / "normal" / "good.png")
    (source / "normal" / "empty.png").write_bytes(b"")
    (source / "normal" / "notes.txt").write_text("no image")
    (source / "normal" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    _picture(source / "stray.png")
    without = nm_header(_counts())
    del without.PixelData
    without.save_as(source / "normal" / "header.dcm", enforce_file_format=True)
    summary = _import(source, target)
    assert summary.imported == 1
    assert {rejection.file: rejection.reason.split(" (")[0] for rejection in summary.rejected} == {
        "stray.png": "it lies in no class folder, and there is no labels.csv",
        "normal/broken.png": "the picture is damaged",
        "normal/empty.png": "it is empty",
        "normal/header.dcm": "it has no pixels",
        "normal/notes.txt": "it is neither DICOM nor a PNG, JPEG or TIFF picture",
    }
    assert summary.rejected_list == target.with_name("set.rejected.csv")
    assert len(summary.rejected_list.read_text().splitlines()) == 6
    assert any("not imported: 5 files" in line for line in summary.lines())


def test_nothing_usable(source, target):
    for number in range(3):
        (source / "normal").mkdir(exist_ok=True)
        (source / "normal" / f"{number}.dcm").write_bytes(b"")
    (source / "normal" / "9.txt").write_text("x")
    with pytest.raises(
        InputError, match=r"no file of .*; for 3 of 4, such as 'normal/0.dcm', the reason is: it is"
    ):
        _import(source, target)
    assert [path.name for path in target.parent.iterdir()] == ["set.rejected.csv"]


def test_counts_and_pictures_do_not_mix(source, target):
    save_nm(source / "normal" / "a.dcm", _counts())
    _picture(source / "normal" / "b.png")
    with pytest.raises(InputError, match=r"'normal/a.dcm' holds photon counts and 'normal/b.png'"):
        _import(source, target)
    assert list(target.parent.iterdir()) == []


def test_the_same_folder_gives_the_same_data_set(source, target, tmp_path):
    for number in range(6):
        save_nm(
            source / ("normal" if number % 2 else "graves") / f"{number}.dcm",
            _counts(),
            PatientID=f"{number}",
            InstitutionName=f"clinic {number % 3}",
            SOPInstanceUID="1.2.3",
        )
    _import(source, target)
    renamed = tmp_path / "renamed"
    for number, path in enumerate(sorted(source.rglob("*.dcm"))):
        new = renamed / path.parent.name / f"x{9 - number}"
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(path.read_bytes())
    _import(renamed, tmp_path / "again" / "set")
    for name in ("dataset.json", "images.csv", "counts.npy"):
        assert (target / name).read_bytes() == (tmp_path / "again" / "set" / name).read_bytes()

    save_nm(source / "normal" / "more.dcm", _counts(), PatientID="7")
    _import(source, tmp_path / "more")
    before = set(Dataset.open(target).patients)
    assert before.isdisjoint(Dataset.open(tmp_path / "more").patients)  # not linkable


def test_patients_and_copies(source, target):
    pixels = RNG.integers(0, 255, (24, 24)).astype(np.uint8)
    _picture(source / "a" / "1.png", pixels)
    _picture(source / "a" / "copy.png", pixels)
    _picture(source / "a" / "2.png")
    _picture(source / "b" / "P1" / "1.png")
    _picture(source / "b" / "P1" / "2.png")
    _picture(source / "a" / "P1" / "3.png")
    _picture(source / "b" / "P2" / "1.png")
    summary = _import(source, target)
    images = Dataset.open(target).images
    assert summary.patients == 4  # the copies, 2.png, P1, P2
    assert sorted(images.groupby("patient_id").size()) == [1, 1, 2, 3]
    assert images["image_id"].str.endswith("-2").sum() == 1


def test_one_patient_identifier_for_all_is_pointed_out(source, target):
    for number in range(3):
        save_nm(source / "normal" / f"{number}", _counts(), PatientID="ANON")
    assert any("All images carry the same patient" in n for n in _import(source, target).notes)


SECRETS = (
    "Przybylski", "Jane", "HOSP-774213", "19610317", "20240509", "Mercy", "cam-basement",
    "Ottoway", "1.2.826.0.1.3680043.9.7777", "ACC55512",
)  # fmt: skip


def test_nothing_of_an_identity_is_written(source, target):
    for number, label in enumerate(("normal", "graves", "normal", "graves")):
        path = source / label / ("Przybylski_Jane" if number > 1 else "p") / f"{number}.dcm"
        header = nm_header(
            np.stack([_counts(), _counts()]),
            DetectorVector=[1, 2],
            DetectorInformationSequence=detectors("anterior", "posterior"),
            PatientID=f"HOSP-774213-{number}",
            PatientName="Przybylski^Jane",
            PatientBirthDate="19610317",
            StudyDate="20240509",
            AcquisitionDateTime="20240509101112",
            InstitutionName="Mercy General",
            InstitutionAddress="1 Mercy Road",
            StationName="cam-basement",
            ReferringPhysicianName="Ottoway^R",
            AccessionNumber="ACC55512",
            StudyInstanceUID=f"1.2.826.0.1.3680043.9.7777.{number}",
            SeriesDescription="Przybylski Jane ANT",
            ImageID="Jane ANT",
            ImageComments="Jane Przybylski, Mercy",
        )
        block = header.private_block(0x0009, "Przybylski", create=True)
        block.add_new(0x10, "LO", "Jane Przybylski HOSP-774213")
        block.add_new(0x11, "DA", "19610317")
        path.parent.mkdir(parents=True, exist_ok=True)
        header.save_as(path, enforce_file_format=True)
    broken = nm_header(_counts(), PatientName="Przybylski^Jane", Modality="Jane")
    broken.save_as(source / "normal" / "broken.dcm", enforce_file_format=True)
    for secret in SECRETS:  # the test would find them
        assert any(secret.encode() in path.read_bytes() for path in source.rglob("*.dcm"))

    summary = _import(source, target)
    assert summary.patients == 4
    assert summary.centres == ("centre-1",)
    produced = [path for path in target.parent.rglob("*") if path.is_file()]
    assert len(produced) == 4
    said = "\n".join([str(summary), *summary.lines()])
    for secret in SECRETS:
        assert secret not in said
        for path in produced:
            content = path.read_bytes().lower()
            assert secret.lower().encode() not in content
            assert secret.lower().encode("utf-16-le") not in content


def test_patients_named_in_labels_are_hashed_too(source, target):
    for number in range(3):
        _picture(source / f"Przybylski_{number}.png")
    rows = [(f"Przybylski_{i}.png", "normal", f"Jane Przybylski {i}") for i in range(3)]
    _table(source / "labels.csv", ("file", "label", "patient"), *rows)
    assert _import(source, target).patients == 3
    for path in target.rglob("*"):
        assert b"Przybylski" not in path.read_bytes()


def test_centres_are_institutions(source, target):
    for number, (institution, station) in enumerate(
        [("Mercy  General", "a"), ("mercy general", "b"), ("Saint", "a"), ("", "a"), ("", "")]
    ):
        save_nm(
            source / "normal" / f"{number}.dcm",
            _counts(),
            PatientID=f"{number}",
            InstitutionName=institution,
            StationName=station,
        )
    summary = _import(source, target)
    assert summary.centres == ("centre-1", "centre-2", "centre-3", "unknown")
    assert sorted(Dataset.open(target).images["centre"].value_counts()) == [1, 1, 1, 2]


def test_interrupted_in_the_middle(source, target):
    for number in range(3):
        _picture(source / "normal" / f"{number}.png")

    def interrupt(done, _total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _import(source, target, progress=interrupt)
    assert [path.name for path in target.parent.iterdir()] == [".set.importing"]
    assert _import(source, target).read_before == 2
    assert [path.name for path in target.parent.iterdir()] == ["set"]


def test_existing_target_is_refused_before_any_work(source, target, monkeypatch):
    target.mkdir(parents=True)
    monkeypatch.setattr(importer, "read_images", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(InputError, match="exists already"):
        _import(source, target)


def test_full_disk(source, tmp_path):
    for number in range(40):
        save_nm(source / "normal" / f"{number}", _counts(shape=(64, 64)), PatientID=f"{number}")
    mount = tmp_path / "disk"
    mount.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    if subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        # fails while images wait, and fails while the data set is written
        for size in (64, 48):
            with pytest.raises(InputError, match=r"Cannot write .*: No space left .*; free space"):
                import_folder(source, mount / "set", size=size)
            assert list(mount.iterdir()) == []
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
        with pytest.raises(InputError, match=r"Cannot write .*: Read-only file system; free"):
            import_folder(source, mount / "set", size=16)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_the_real_bone_scan_needs_a_label_as_any_file(source, target):
    real = Path(pydicom.data.get_testdata_file("JPEG-LL.dcm"))
    (source / "other").mkdir()
    (source / "other" / "scan").write_bytes(real.read_bytes())
    summary = import_folder(source, target)
    dataset = Dataset.open(target)
    outside = 3_596_452 - int(dataset.counts[0].sum())
    assert dataset.images["flags"][0] == f"whole_body;counts_outside={outside}"
    assert any("91% of all counts lie outside" in note for note in summary.notes)
    for path in target.rglob("*"):
        for secret in (b"8NM1", b"BERRA", b"John", b"1997", b"genieacq"):
            assert secret not in path.read_bytes()


def test_patients_that_nothing_names_are_flagged(source, target):
    for name in ("a", "b"):
        for number in range(2):
            _picture(source / name / f"{number}.png")
    summary = _import(source, target)
    flags = Dataset.open(target).images["flags"]
    assert flags.str.contains("patient_unnamed").all()
    assert any("burnt into pictures" in note for note in summary.notes)


def test_labels_that_differ_in_spelling_only(source, target):
    for name in ("Cold nodule", "cold_nodule", "normal"):
        _picture(source / name / "image.png")
    with pytest.raises(InputError, match="'Cold nodule' and 'cold_nodule' differ only in"):
        _import(source, target)
    assert not target.exists()


@pytest.mark.parametrize("size", [8, 100_000])
def test_sizes_that_make_no_image(source, target, size):
    _picture(source / "a" / "image.png")
    with pytest.raises(InputError, match="use 16 to 1024 pixels"):
        import_folder(source, target, size=size)


def test_a_data_set_within_its_source(source):
    _picture(source / "a" / "image.png")
    with pytest.raises(InputError, match="lies within"):
        _import(source, source / "a" / "set")
