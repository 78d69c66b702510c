"""A phantom is written to disk and imported again."""

import csv
import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import NuclearMedicineImageStorage

from thyroid.data.dataset import Dataset
from thyroid.data.importer import import_folder
from thyroid.errors import InputError
from thyroid.phantom.presets import PRESETS
from thyroid.phantom.simulator import addresses, simulate
from thyroid.phantom.write_files import write_phantom

PER_CLASS, PER_CROSS, SEED = 10, 2, 6
COMPARED = ["image_id", "centre", "label", "findings", "total_counts", "pixel_mm", "flags"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same phantom in all three formats, and what import makes of the DICOM files."""
    folder = tmp_path_factory.mktemp("phantom")
    for format in ("dataset", "dicom", "png"):
        write(folder / format, format=format)
    import_folder(folder / "dicom", folder / "imported")
    return folder


def write(target: Path, **changes: object) -> None:
    arguments = {
        "preset": "thyroid7",
        "images_per_class": PER_CLASS,
        "images_per_cross": PER_CROSS,
        "format": "dataset",
        "seed": SEED,
    }
    write_phantom(target, **(arguments | changes))  # type: ignore[arg-type]


def objects(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted((folder / "dicom").glob("*.dcm"))]


def test_a_data_set_is_what_import_makes_of_the_files(folder: Path) -> None:
    direct, imported = Dataset.open(folder / "dataset"), Dataset.open(folder / "imported")
    np.testing.assert_array_equal(direct.counts, imported.counts)
    assert direct.info.classes == imported.info.classes == PRESETS["thyroid7"].classes
    assert direct.images[COMPARED].equals(imported.images[COMPARED])
    # patients bear other names, but are the same
    pairs = set(zip(direct.patients, imported.patients, strict=True))
    assert len(pairs) == len(set(direct.patients)) == len(set(imported.patients))
    assert len(pairs) == 7 * 9 + 6 * 2


def test_the_data_set_says_what_it_is(folder: Path) -> None:
    dataset = Dataset.open(folder / "dataset")
    assert len(dataset) == 7 * PER_CLASS + 6 * PER_CROSS
    assert set(dataset.images["source"]) == {"phantom"}
    assert dataset.info.kind == "counts"
    assert dataset.info.pixel_mm == 2.0
    assert dataset.is_cross.sum() == 6 * PER_CROSS


def test_dicom_objects_are_planar_static_nm_images(folder: Path) -> None:
    for nm in objects(folder):
        assert nm.file_meta.MediaStorageSOPClassUID == nm.SOPClassUID == NuclearMedicineImageStorage
        assert nm.file_meta.MediaStorageSOPInstanceUID == nm.SOPInstanceUID
        assert nm.Modality == "NM"
        assert list(nm.ImageType) == ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"]
        frames = nm.pixel_array
        assert frames.shape == (2, nm.Rows, nm.Columns)
        assert frames.dtype == np.uint16
        assert int(frames.sum(dtype=np.int64)) == nm.CountsAccumulated
        assert nm.PixelSpacing[0] == nm.PixelSpacing[1] > 0
        assert nm.ActualFrameDuration > 0
        assert [nm[tag].keyword for tag in nm.FrameIncrementPointer] == [
            "EnergyWindowVector",
            "DetectorVector",
        ]
        assert len(nm.EnergyWindowVector) == len(nm.DetectorVector) == nm.NumberOfFrames
        assert len(nm.DetectorInformationSequence) == nm.NumberOfDetectors == 2
        assert len(nm.EnergyWindowInformationSequence) == nm.NumberOfEnergyWindows == 1
        limits = nm.EnergyWindowInformationSequence[0].EnergyWindowRangeSequence[0]
        assert limits.EnergyWindowLowerLimit < 140.5 < limits.EnergyWindowUpperLimit
        assert "CollimatorType" in nm.DetectorInformationSequence[0]
        assert nm.RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence


def test_every_value_is_of_its_type(folder: Path) -> None:
    """Pydicom's own validation of each value against its value representation."""
    for nm in objects(folder)[::9]:
        for element in nm.iterall():
            if element.VR not in ("SQ", "OW"):
                pydicom.dataelem.DataElement(
                    element.tag, element.VR, element.value, validation_mode=pydicom.config.RAISE
                )


def test_objects_are_unique_and_dates_make_sense(folder: Path) -> None:
    files = objects(folder)
    assert len({nm.SOPInstanceUID for nm in files}) == len(files)
    for nm in files:
        assert 10 < (
            datetime.datetime.strptime(nm.StudyDate, "%Y%m%d")
            - datetime.datetime.strptime(nm.PatientBirthDate, "%Y%m%d")
        ).days / 365 < 95  # fmt: skip


def test_views_are_named_and_not_always_in_the_same_order(folder: Path) -> None:
    preset = PRESETS["thyroid7"]
    images = addresses(preset, images_per_class=PER_CLASS, images_per_cross=PER_CROSS)
    first = []
    for scintigram in simulate(preset, images[:20], seed=SEED, posterior=True):
        name = f"{'+'.join(scintigram.address.findings)}-{scintigram.address.number:04d}.dcm"
        nm = pydicom.dcmread(folder / "dicom" / name)
        views = {
            nm.DetectorInformationSequence[detector - 1].ViewCodeSequence[0].CodeValue: frame
            for detector, frame in zip(nm.DetectorVector, nm.pixel_array, strict=True)
        }
        anterior = views.get("399321004", views.get("G-5215"))
        posterior = views.get("399001007", views.get("G-5216"))
        np.testing.assert_array_equal(anterior, scintigram.anterior)
        np.testing.assert_array_equal(posterior, scintigram.posterior)
        first.append(np.array_equal(nm.pixel_array[0], scintigram.anterior))
    assert any(first)
    assert not all(first)


def test_nothing_of_the_planted_identities_survives_import(folder: Path) -> None:
    planted = set()
    for nm in objects(folder):
        planted |= set(str(nm.PatientName).split("^")) | {
            nm.PatientID, nm.PatientBirthDate, nm.InstitutionName, nm.StudyDate,
        }  # fmt: skip
    assert len(planted) > 200
    for path in (folder / "imported").iterdir():
        content = path.read_bytes().lower()
        for text in planted:
            assert text.lower().encode() not in content, (path.name, text)


def test_labels_csv_lists_every_file(folder: Path) -> None:
    for format, ending in (("dicom", ".dcm"), ("png", ".png")):
        with (folder / format / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [*rows[0]] == ["file", "label", "patient", "centre", "findings"]
        assert len(rows) == 7 * PER_CLASS + 6 * PER_CROSS
        on_disk = {
            path.relative_to(folder / format).as_posix()
            for path in (folder / format).rglob(f"*{ending}")
        }
        assert {row["file"] for row in rows} == on_disk
        for row in rows:
            assert row["findings"].split(";")[0] == row["label"]
            if format == "png":  # as an import without the table reads them
                assert row["file"].startswith(f"{row['findings'].replace(';', '+')}/")


def test_pictures_are_8_bit_with_the_hottest_pixel_white(folder: Path) -> None:
    for path in list((folder / "png").rglob("*.png"))[::7]:
        with Image.open(path) as picture:
            assert picture.mode == "L"
            assert picture.size in ((128, 128), (256, 256))
            assert np.asarray(picture).max() == 255


def test_writing_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for format in ("dataset", "dicom", "png"):
        write(tmp_path / format, format=format, images_per_class=2, images_per_cross=0)
        write(tmp_path / "again" / format, format=format, images_per_class=2, images_per_cross=0)
    files = [p for p in tmp_path.rglob("*.*") if p.is_file() and "again" not in p.parts]
    assert len(files) > 30
    for path in files:
        again = tmp_path / "again" / path.relative_to(tmp_path)
        assert path.read_bytes() == again.read_bytes()
    small = {p.name: p.read_bytes() for p in (tmp_path / "dicom").glob("*.dcm")}
    for name, content in small.items():  # and the larger phantom holds the smaller one
        assert (folder / "dicom" / name).read_bytes() == content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "thyroid8"}, "thyroid8.*thyroid7"),
        ({"format": "nifti"}, "nifti"),
        ({"images_per_class": 0}, "--images-per-class is 0 but"),
        ({"images_per_cross": -1}, "--images-per-cross is -1 but"),
        ({"pixel_mm": 0.0}, "--pixel-mm is 0.0 but"),
        ({"size": 0}, "--size is 0 but"),
    ],
)
def test_bad_arguments_are_sentences(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        write(tmp_path / "new", **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["dataset", "dicom", "png"])
def test_an_existing_folder_is_left_alone(format: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(InputError, match="mine exists"):
        write(tmp_path / "mine", format=format)
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("format", ["dataset", "dicom", "png"])
def test_an_interrupted_export_leaves_nothing(format: str, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "new", format=format, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["dataset", "dicom", "png"])
def test_a_full_disk_is_a_sentence(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("thyroid.phantom.write_files.nm_object", full)
    monkeypatch.setattr("PIL.Image.Image.save", full)
    monkeypatch.setattr("thyroid.data.dataset._write_counts", full)
    with pytest.raises(InputError, match="No space left"):
        write(tmp_path / "new", format=format, images_per_class=1, images_per_cross=0)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_up(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write(
        tmp_path / "new",
        images_per_class=1,
        images_per_cross=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 13) for done in range(1, 14)]


@pytest.mark.parametrize("format", ["dicom", "png", "dataset"])
def test_simulated_files_say_so_after_import(tmp_path, format):
    made, data = tmp_path / "made", tmp_path / "data"
    write_phantom(
        made, preset="thyroid7", images_per_class=1, images_per_cross=0, format=format, seed=0
    )
    if format == "dataset":
        data = made
    else:
        import_folder(made, data)
    assert Dataset.open(data).images["flags"].str.contains("simulated").all()
