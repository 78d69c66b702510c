"""A folder becomes a data set with a complete list of refused files."""

import shutil
import subprocess

import pytest

from tests.data.make import import_small, save_picture, some_counts
from tests.data.make_dicom import nm_header, save_nm
from thyroid.data import importer
from thyroid.data.dataset import Dataset
from thyroid.data.importer import import_folder
from thyroid.data.rebin import rebin_counts, rng_for
from thyroid.errors import InputError


def test_class_folders_of_pictures(source, target):
    for number in range(3):
        save_picture(source / "graves" / f"{number}.png")
        save_picture(source / "normal" / f"{number}.jpg")
    save_picture(source / "graves+cold_nodule" / "x.tif")
    save_picture(source / "cold_nodule" / "y.PNG")
    for junk in (".DS_Store", "normal/Thumbs.db", "__MACOSX/normal/._0.jpg"):
        (source / junk).parent.mkdir(parents=True, exist_ok=True)
        (source / junk).write_bytes(b"x")
    calls = []
    summary = import_small(source, target, progress=lambda done, total: calls.append((done, total)))
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
    assert any("burnt into pictures" in note for note in summary.notes)
    assert "imported 8 pictures of 8 patients" in summary.lines()[0]

    dataset = Dataset.open(target)
    assert dataset.info.classes == ("normal", "graves", "cold_nodule")
    assert dataset.info.pixel_mm is None
    assert dataset.info.name == "set"
    assert set(dataset.images["total_counts"]) == {0}
    assert dataset.images["flags"].str.contains("patient_unnamed").all()
    assert dataset.images["image_id"].is_monotonic_increasing
    assert [path.name for path in target.parent.iterdir()] == ["set"]


def test_counts_are_rebinned_as_everywhere(source, target):
    kept = {}
    for label in ("graves", "normal"):
        for number in range(2):
            counts = some_counts(shape=(40, 36))
            path = source / label / f"{number}"
            save_nm(path, counts, PixelSpacing=[3.0, 2.5], PatientID=f"{label}{number}")
            kept[label, number] = rebin_counts(
                counts, pixel_mm=(3.0, 2.5), target_mm=4.0, size=16, rng=rng_for(counts)
            )
    summary = import_small(source, target)
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


def test_a_list_of_an_earlier_import_does_not_stay(source, target):
    for label in ("normal", "graves"):
        save_picture(source / label / "good.png")
    (source / "normal" / "empty.png").write_bytes(b"")
    assert import_small(source, target).rejected_list.is_file()
    shutil.rmtree(target)
    (source / "normal" / "empty.png").unlink()
    assert import_small(source, target).rejected_list is None
    assert [path.name for path in target.parent.iterdir()] == ["set"]


def test_unusable_files_are_listed(source, target):
    save_picture(source / "normal" / "good.png")
    (source / "normal" / "empty.png").write_bytes(b"")
    (source / "normal" / "notes.txt").write_text("no image")
    (source / "normal" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    save_picture(source / "stray.png")
    without = nm_header(some_counts())
    del without.PixelData
    without.save_as(source / "normal" / "header.dcm", enforce_file_format=True)
    summary = import_small(source, target)
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
        InputError,
        match=r"no file of .*; 3 of 4 files, such as 'normal/0.dcm', for this reason: it is",
    ):
        import_small(source, target)
    assert [path.name for path in target.parent.iterdir()] == ["set.rejected.csv"]


def test_the_same_folder_gives_the_same_data_set(source, target, tmp_path):
    for number in range(6):
        save_nm(
            source / ("normal" if number % 2 else "graves") / f"{number}.dcm",
            some_counts(),
            PatientID=f"{number}",
            InstitutionName=f"clinic {number % 3}",
            SOPInstanceUID="1.2.3",
        )
    import_small(source, target)
    renamed = tmp_path / "renamed"
    for number, path in enumerate(sorted(source.rglob("*.dcm"))):
        new = renamed / path.parent.name / f"x{9 - number}"
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(path.read_bytes())
    import_small(renamed, tmp_path / "again" / "set")
    for name in ("dataset.json", "images.csv", "counts.npy"):
        assert (target / name).read_bytes() == (tmp_path / "again" / "set" / name).read_bytes()

    save_nm(source / "normal" / "more.dcm", some_counts(), PatientID="7")
    import_small(source, tmp_path / "more")
    before = set(Dataset.open(target).patients)
    assert before.isdisjoint(Dataset.open(tmp_path / "more").patients)  # not linkable


def test_existing_target_is_refused_before_any_work(source, target, monkeypatch):
    target.mkdir(parents=True)
    monkeypatch.setattr(importer, "read_images", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(InputError, match="exists already"):
        import_small(source, target)


def test_full_disk(source, tmp_path):
    for number in range(40):
        save_nm(source / "normal" / f"{number}", some_counts(shape=(64, 64)), PatientID=f"{number}")
    mount = tmp_path / "disk"
    mount.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    if subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        # one fails while other images wait, and one fails while the data set is written
        for size in (64, 48):
            with pytest.raises(InputError, match=r"Cannot write .*: No space left .*; free space"):
                import_folder(source, mount / "set", size=size)
            assert list(mount.iterdir()) == []
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
        with pytest.raises(InputError, match=r"Cannot write .*: Read-only file system; choose"):
            import_folder(source, mount / "set", size=16)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.parametrize("size", [8, 100_000])
def test_sizes_that_make_no_image(source, target, size):
    save_picture(source / "a" / "image.png")
    with pytest.raises(InputError, match=r"--size is .* but must be from 16 to 1024"):
        import_folder(source, target, size=size)


def test_a_data_set_within_its_source(source):
    save_picture(source / "a" / "image.png")
    with pytest.raises(InputError, match="lies within"):
        import_small(source, source / "a" / "set")
