"""A data set tells patients and centres apart and names none of them."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.data.make import RNG, import_small, save_picture, save_table, some_counts
from tests.data.make_dicom import detectors, nm_header, save_nm
from thyroid.data.dataset import Dataset
from thyroid.data.importer import import_folder
from thyroid.data.record import CENTRE_CODE

# pydicom warns of the odd headers that these tests write
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")


SECRETS = (
    "Przybylski", "Jane", "HOSP-774213", "19610317", "20240509", "Mercy", "cam-basement",
    "Ottoway", "1.2.826.0.1.3680043.9.7777", "ACC55512",
)  # fmt: skip


def test_nothing_of_an_identity_is_written(source, target):
    for number, label in enumerate(("normal", "graves", "normal", "graves")):
        path = source / label / ("Przybylski_Jane" if number > 1 else "p") / f"{number}.dcm"
        header = nm_header(
            np.stack([some_counts(), some_counts()]),
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
    broken = nm_header(some_counts(), PatientName="Przybylski^Jane", Modality="Jane")
    broken.save_as(source / "normal" / "broken.dcm", enforce_file_format=True)
    for secret in SECRETS:  # the test would find them
        assert any(secret.encode() in path.read_bytes() for path in source.rglob("*.dcm"))

    summary = import_small(source, target)
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
        save_picture(source / f"Przybylski_{number}.png")
    rows = [(f"Przybylski_{i}.png", "normal", f"Jane Przybylski {i}") for i in range(3)]
    save_table(source / "labels.csv", ("file", "label", "patient"), *rows)
    assert import_small(source, target).patients == 3
    for path in target.rglob("*"):
        assert b"Przybylski" not in path.read_bytes()


def test_the_real_bone_scan_needs_a_label_as_any_file(source, target):
    real = Path(pydicom.data.get_testdata_file("JPEG-LL.dcm"))
    (source / "other").mkdir()
    (source / "other" / "scan").write_bytes(real.read_bytes())
    summary = import_folder(source, target)
    dataset = Dataset.open(target)
    outside = 3_596_452 - int(dataset.counts[0].sum())
    assert dataset.images["flags"][0].startswith("whole_body;")
    assert dataset.images["flags"][0].endswith(f";counts_outside={outside}")
    assert any("91% of all counts lie outside" in note for note in summary.notes)
    for path in target.rglob("*"):
        for secret in (b"8NM1", b"BERRA", b"John", b"1997", b"genieacq"):
            assert secret not in path.read_bytes()


def test_patients_and_copies(source, target):
    pixels = RNG.integers(0, 255, (24, 24)).astype(np.uint8)
    save_picture(source / "a" / "1.png", pixels)
    save_picture(source / "a" / "copy.png", pixels)
    save_picture(source / "a" / "2.png")
    save_picture(source / "b" / "P1" / "1.png")
    save_picture(source / "b" / "P1" / "2.png")
    save_picture(source / "a" / "P1" / "3.png")
    save_picture(source / "b" / "P2" / "1.png")
    summary = import_small(source, target)
    images = Dataset.open(target).images
    assert summary.patients == 4  # the copies, 2.png, P1, P2
    assert sorted(images.groupby("patient_id").size()) == [1, 1, 2, 3]
    assert images["image_id"].str.endswith("-2").sum() == 1


def test_copies_under_two_patients_are_named_at_once(source, target):
    counts = some_counts()
    for patient in ("P1", "P2"):
        save_nm(source / "normal" / f"{patient}.dcm", counts, PatientID=patient)
    save_nm(source / "graves" / "other.dcm", some_counts(), PatientID="P1")
    notes = import_small(source, target).notes
    assert len(notes) == 1
    assert "such as 'normal/P1.dcm' and 'normal/P2.dcm'; training will refuse" in notes[0]


def test_one_patient_identifier_for_all_is_pointed_out(source, target):
    for number in range(3):
        save_nm(source / "normal" / f"{number}", some_counts(), PatientID="ANON")
    assert any("All images name the same patient" in n for n in import_small(source, target).notes)


def test_centres_keep_codes_and_lose_names(source, target):
    given = ("A", "site-3", "Mercy  General", "mercy general", "Charite", "", "centre-1", "unknown")
    for number in range(len(given)):
        save_nm(
            source / f"{number}.dcm", some_counts(), InstitutionName="Saint", PatientID=f"{number}"
        )
    rows = [(f"{i}.dcm", ("normal", "graves")[i % 2], given[i]) for i in range(len(given))]
    save_table(source / "labels.csv", ("file", "label", "centre"), *rows)
    summary = import_small(source, target)
    assert summary.centres == ("A", "centre-1", "centre-2", "centre-3", "site-3", "unknown")
    of_centre = Dataset.open(target).images["centre"].value_counts()
    assert of_centre["unknown"] == 2  # no institution of a header where labels.csv has centres
    assert of_centre["centre-1"] == 1  # a code, which no number may repeat
    assert sorted(of_centre[["centre-2", "centre-3"]]) == [1, 2]
    assert any("Centres with names in labels.csv get numbers" in n for n in summary.notes)
    assert any("as for --split.leave-out-centre, write codes" in n for n in summary.notes)
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


def test_centres_are_institutions(source, target):
    for number, (institution, station) in enumerate(
        [("Mercy  General", "a"), ("mercy general", "b"), ("Saint", "a"), ("", "a"), ("", "")]
    ):
        save_nm(
            source / "normal" / f"{number}.dcm",
            some_counts(),
            PatientID=f"{number}",
            InstitutionName=institution,
            StationName=station,
        )
    summary = import_small(source, target)
    assert summary.centres == ("centre-1", "centre-2", "centre-3", "unknown")
    assert sorted(Dataset.open(target).images["centre"].value_counts()) == [1, 1, 1, 2]
