"""A stopped import continues where it was, and has the same bits as one that was not stopped."""

import base64
import csv
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.make_dicom import save_nm
from thyroid.data import importer, processes, unfinished
from thyroid.data.dataset import Dataset
from thyroid.data.importer import import_folder
from thyroid.errors import InputError, ProcessLost

FILES = 40
SECRETS = ("Przybylski", "HOSP-774213", "mercy general", "gravesende")
FILES_OF_A_SET = ("dataset.json", "images.csv", "counts.npy")

IMPORT = """
import sys
from pathlib import Path
from thyroid.data.importer import import_folder
source, target, processes = sys.argv[1:]
import_folder(Path(source), Path(target), size=16, pixel_mm=4.0, processes=int(processes))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Scintigrams of named patients, and other files."""
    rng = np.random.default_rng(5)
    for number in range(FILES):
        path = (
            tmp_path / "source" / ("normal", "gravesende")[number % 2] / f"Przybylski-{number:02}"
        )
        if number % 7 == 3:
            path.write_bytes(b"no image")
        else:
            save_nm(
                path,
                rng.poisson(20, (32, 32)).astype(np.uint16),
                PixelSpacing=[3.0, 3.0],
                PatientID=f"HOSP-774213-{number // 3}",
                InstitutionName=f"Mercy General {number % 2}",
            )
    return tmp_path / "source"


@pytest.fixture
def whole(source: Path, tmp_path: Path) -> Path:
    """The data set of an uninterrupted import by one process."""
    _import(source, tmp_path / "whole" / "set", processes=1)
    return tmp_path / "whole" / "set"


def _import(source: Path, target: Path, **options):
    settings = {"size": 16, "pixel_mm": 4.0, "name": "set", "processes": 1}
    return import_folder(source, target, **(settings | options))


def _interrupted(source: Path, target: Path, after: int, **options) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _import(source, target, progress=interrupt, **options)


def _require_same(whole: Path, target: Path) -> None:
    for name in FILES_OF_A_SET:
        assert (whole / name).read_bytes() == (target / name).read_bytes()
    rejected = [path.with_name("set.rejected.csv").read_bytes() for path in (whole, target)]
    assert rejected[0] == rejected[1]
    assert sorted(p.name for p in target.parent.iterdir()) == ["set", "set.rejected.csv"]


def _children() -> set[int]:
    """Living processes that this one started."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.add(int(status.parent.name))
    return found


@pytest.mark.parametrize("processes", [2, 3])
def test_any_number_of_processes(source, whole, tmp_path, processes):
    before, calls = _children(), []
    target = tmp_path / "out" / "set"
    summary = _import(
        source, target, processes=processes, progress=lambda done, all_: calls.append((done, all_))
    )
    assert calls == [(number, FILES) for number in range(1, FILES + 1)]
    assert summary.read_before == 0
    assert _children() == before
    _require_same(whole, target)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_only_what_is_left_is_read(source, whole, tmp_path, calls_of, first, second):
    target, before = tmp_path / "out" / "set", _children()
    _interrupted(source, target, 11, processes=first)
    assert _children() == before
    _interrupted(source, target, 5, processes=second)
    calls = calls_of(importer, "read_images")
    summary = _import(source, target, processes=second)
    assert summary.read_before == 16
    assert "continued: 16 files had been read before" in summary.lines()
    ((files, _),) = calls
    assert len(files) == FILES - 16
    _require_same(whole, target)


@pytest.mark.parametrize("damage", ["cut", "zeros", "ones", "changed", "gone", "longer"])
def test_what_a_power_cut_left_is_read_again(source, whole, tmp_path, damage):
    target = tmp_path / "out" / "set"
    _interrupted(source, target, 20)
    path = unfinished.working_folder(target) / "readings"
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "cut": content[:middle],
            "zeros": content[:middle] + bytes(len(content) - middle),
            "ones": content[:middle] + b"\xff" * (len(content) - middle),
            "changed": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "gone": b"",
            "longer": content + b"x" * 99,
        }[damage]
    )
    summary = _import(source, target)
    assert summary.read_before <= 20
    assert (summary.read_before == 20) == (damage == "longer")
    _require_same(whole, target)


@pytest.mark.parametrize("change", ["touched", "added", "gone", "labels", "size", "version"])
def test_another_source_or_setting_begins_anew(source, tmp_path, monkeypatch, change):
    target, options = tmp_path / "out" / "set", {}
    _interrupted(source, target, 20)
    last = source / "normal" / "Przybylski-38"
    if change == "touched":
        os.utime(last, ns=(1, 1))
    elif change == "added":
        (source / "normal" / "new").write_bytes(last.read_bytes())
    elif change == "gone":
        last.unlink()
    elif change == "labels":
        with (source / "labels.csv").open("w", newline="") as file:
            names = [p.relative_to(source) for p in source.rglob("Przy*")]
            csv.writer(file).writerows([("file", "label"), *((name, "normal") for name in names)])
    elif change == "size":
        options = {"size": 24}
    else:
        monkeypatch.setattr(unfinished, "READING_VERSION", 99)
    assert _import(source, target, **options).read_before == 0
    _import(source, tmp_path / "again" / "set", **options)
    _require_same(tmp_path / "again" / "set", target)


def test_name_and_licence_may_change(source, tmp_path):
    _interrupted(source, tmp_path / "set", 20)
    assert _import(source, tmp_path / "set", name="other", licence="CC0").read_before == 20
    assert Dataset.open(tmp_path / "set").info.name == "other"


def _holds(folder: Path, secret: bytes) -> bool:
    """Return True if a file contains the secret, plain, in hexadecimal digits or in base64."""
    coded = [secret, secret.hex().encode()]
    for shift in range(3):  # at any position within a group of base64
        coded.append(base64.b64encode(b"x" * shift + secret)[4:-4])
        assert len(coded[-1]) > 5
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    return any(form in content for form in coded)


def test_nothing_of_an_identity_can_be_read(source, tmp_path, monkeypatch):
    files = [path for path in source.rglob("*") if path.is_file()]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    target = tmp_path / "out" / "set"
    _interrupted(source, target, 30)
    folder = unfinished.working_folder(target)
    assert folder.stat().st_mode & 0o777 == 0o700
    for secret in (*SECRETS, *digests):
        assert not _holds(folder, secret.encode())
        assert not _holds(folder, secret.casefold().encode())
        assert not _holds(folder, hashlib.sha256(secret.encode()).digest())
    for digest in digests:
        assert not _holds(folder, bytes.fromhex(digest))

    # the test would find them
    monkeypatch.setattr(
        unfinished.AESGCM, "encrypt", lambda _cipher, _nonce, content, _with: content
    )
    _interrupted(source, tmp_path / "open" / "set", 30)
    for secret in (*SECRETS, digests[1]):
        open_folder = unfinished.working_folder(tmp_path / "open" / "set")
        assert any(_holds(open_folder, s.encode()) for s in (secret, secret.casefold()))


def test_the_key_needs_what_the_files_hold(source, tmp_path):
    """The key depends on more than names, sizes and times, because these can be guessed."""
    target = tmp_path / "set"
    _interrupted(source, target, 30)
    first = source / "gravesende" / "Przybylski-01"
    status, content = first.stat(), bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert _import(source, target).read_before == 0


def test_it_is_no_data_set(source, tmp_path):
    _interrupted(source, tmp_path / "set", 30)
    with pytest.raises(InputError, match="is not a data set"):
        Dataset.open(unfinished.working_folder(tmp_path / "set"))


def test_a_second_import_at_the_same_time(source, tmp_path):
    target, refused = tmp_path / "set", []

    def other(done: int, _total: int) -> None:
        if done == 3:
            with pytest.raises(InputError, match=r"another import into .*set is at work") as caught:
                _import(source, target)
            refused.append(caught.value)

    summary = _import(source, target, progress=other)
    assert refused
    assert summary.imported + len(summary.rejected) == FILES
    assert not unfinished.working_folder(target).exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_kinds_that_mix_are_named_alike_by_any_number_of_processes(source, tmp_path, processes):
    for name in ("normal/Przybylski-30", "gravesende/Przybylski-21"):
        picture = np.random.default_rng(0).integers(0, 255, (24, 24)).astype(np.uint8)
        Image.fromarray(picture).save(source / name, "PNG")
    with pytest.raises(InputError) as caught:
        _import(source, tmp_path / "out" / "set", processes=processes)
    assert str(caught.value).startswith(
        "'gravesende/Przybylski-01' holds photon counts and 'gravesende/Przybylski-21' is a picture"
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_a_process_that_is_killed(source, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "AT_ONCE", 1)  # so that it has more to read
    target, before = tmp_path / "out" / "set", _children()

    def kill(done: int, _total: int) -> None:
        if done == 1:
            os.kill(min(_children() - before), signal.SIGKILL)

    with pytest.raises(
        ProcessLost,
        match=r"The process that read '.*Przybylski-\d\d' was killed \(SIGKILL\), .* continues; if",
    ):
        _import(source, target, processes=2, progress=kill)
    assert _children() == before
    assert _import(source, target, processes=2).read_before > 0
    _require_same(whole, target)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_any_moment(source, whole, tmp_path, processes):
    """After SIGKILL during reading, the processes end by themselves, and the next import is
    complete.
    """
    target = tmp_path / "out" / "set"
    readings = unfinished.working_folder(target) / "readings"
    command = [sys.executable, "-c", IMPORT, source, target, str(processes)]
    for images in (1, 12, 30):
        victim = subprocess.Popen(command)
        while not (readings.exists() and readings.stat().st_size > images * 800):
            if victim.poll() is not None:
                break  # it was too fast
            time.sleep(0.001)
        readers = _readers_of(victim.pid)
        victim.kill()
        victim.wait()
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in readers):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if target.exists():
            break
    else:
        assert _import(source, target).read_before > 0
    _require_same(whole, target)


def _readers_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in children.read_text().split()]


def test_killed_while_the_data_set_was_written_or_just_after(source, whole, tmp_path):
    target = tmp_path / "out" / "set"
    _interrupted(source, target, FILES)
    left = unfinished.working_folder(target) / ".dataset.0123" / "counts.npy"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert _import(source, target).read_before == FILES
    _require_same(whole, target)

    unfinished.working_folder(target).mkdir()
    (unfinished.working_folder(target) / "readings").write_bytes(b"all")
    with pytest.raises(InputError, match="exists already"):
        _import(source, target)
    _require_same(whole, target)


def test_no_module_of_the_working_folder_is_run(source, tmp_path, monkeypatch):
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    for name in ("numpy", "json", "thyroid", "pydicom"):
        (stranger / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(stranger)
    assert _import(source, tmp_path / "set", processes=2).imported > 30
    assert not (tmp_path / "ran").exists()


def test_a_file_whose_disk_was_away_is_read_again(source, whole, tmp_path, monkeypatch):
    """A file that could not be read for a moment is read again, and a foreign file in the folder
    does no harm.
    """
    target = tmp_path / "target" / "set"
    sound = Path.read_bytes

    def away(path: Path) -> bytes:
        if path.name == "Przybylski-05":
            raise OSError(5, "Input/output error")
        return sound(path)

    with monkeypatch.context() as broken:
        broken.setattr(unfinished, "OPENED", 0)
        broken.setattr(Path, "read_bytes", away)
        _interrupted(source, target, after=20)
    (unfinished.working_folder(target) / ".DS_Store").touch()
    with monkeypatch.context() as mended:
        mended.setattr(unfinished, "OPENED", 0)
        _import(source, target)
    _require_same(whole, target)
