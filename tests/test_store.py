import json
import multiprocessing
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from thyroid import store as store_module
from thyroid.errors import InputError
from thyroid.files import cannot_write
from thyroid.store import Store

KEY = "ab" + "0" * 62


def put(store: Store, text: str = "content") -> None:
    with store.building(KEY, {"kind": "test"}) as folder:
        if folder is not None:
            (folder / "file.txt").write_text(text)


def test_an_artifact_is_there_after_the_block_and_not_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.building(KEY, {"kind": "test"}) as folder:
        assert folder is not None
        (folder / "file.txt").write_text("content")
        assert KEY not in store
        assert store.open(KEY) is None
    found = store.open(KEY)
    assert found is not None
    assert (found / "file.txt").read_text() == "content"
    assert json.loads((found / "manifest.json").read_text())["kind"] == "test"
    assert not list((tmp_path / "building").iterdir())
    assert not list((tmp_path / "claims").iterdir())


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail() -> None:
        with store.building(KEY, {}) as folder:
            assert folder is not None
            (folder / "half").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert KEY not in store
    assert not list((tmp_path / "building").iterdir())
    assert not list((tmp_path / "claims").iterdir())


def test_what_is_there_is_not_built_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, "first")
    with store.building(KEY, {}) as folder:
        assert folder is None
    put(store, "second")
    found = store.open(KEY)
    assert found is not None
    assert (found / "file.txt").read_text() == "first"


@pytest.mark.parametrize("damage", ["change", "truncate", "remove", "manifest", "renamed"])
def test_a_damaged_artifact_is_set_aside_and_built_again(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    put(store)
    found = store.open(KEY)
    assert found is not None
    if damage == "change":
        (found / "file.txt").write_text("contemt")
    elif damage == "truncate":
        (found / "file.txt").write_text("")
    elif damage == "remove":
        (found / "file.txt").unlink()
    elif damage == "manifest":
        (found / "manifest.json").write_text("{")
    else:  # another artifact under this key
        text = (found / "manifest.json").read_text()
        (found / "manifest.json").write_text(text.replace(KEY, "cd" + KEY[2:]))
    assert store.open(KEY) is None
    assert KEY not in store
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    put(store, "again")
    assert store.open(KEY) is not None


def _build_slowly(root: Path, counter: Path, ready: object) -> None:
    ready.wait()  # type: ignore[attr-defined]
    with Store(root).building(KEY, {}) as folder:
        if folder is not None:
            with counter.open("a") as file:
                file.write("x")
            time.sleep(0.2)
            (folder / "file.txt").write_text("content")


def test_of_many_processes_one_builds_and_the_others_wait(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(6)
    counter = tmp_path / "built"
    jobs = [
        context.Process(target=_build_slowly, args=(tmp_path / "store", counter, ready))
        for _ in range(6)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(30)
        assert job.exitcode == 0
    assert counter.read_text() == "x"
    assert Store(tmp_path / "store").open(KEY) is not None


def test_an_artifact_without_manifest_is_set_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store)
    found = store.open(KEY)
    assert found is not None
    (found / "manifest.json").unlink()
    assert store.open(KEY) is None
    put(store, "again")
    assert store.open(KEY) is not None


@pytest.mark.parametrize(
    ("holder", "least"), [("elsewhere 1 ab", 0.3), (f"{socket.gethostname()} 99999999 ab", 0.0)]
)
def test_a_dead_builders_claim_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: str, least: float
) -> None:
    """After the lease on another machine; at once where the process is known to be dead."""
    monkeypatch.setattr(store_module, "LEASE_SECONDS", 0.5)
    claim = tmp_path / "claims" / KEY
    claim.parent.mkdir(parents=True)
    claim.write_text(holder)
    began = time.monotonic()
    put(Store(tmp_path))
    assert KEY in Store(tmp_path)
    assert least < time.monotonic() - began < 5
    assert not list((tmp_path / "claims").iterdir())


def test_a_claim_taken_over_by_another_is_put_back(tmp_path: Path) -> None:
    """Two saw the same corpse; the slower of them must not bury the quicker one's claim."""
    claim = tmp_path / KEY
    assert store_module._take(claim, "host 1 quicker")
    store_module._bury(claim, "host 1 dead")
    assert claim.read_text() == "host 1 quicker"
    assert not store_module._take(claim, "host 1 slower")
    store_module._bury(claim, "host 1 quicker")
    assert not claim.exists()


def test_a_living_builders_claim_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LEASE_SECONDS", 0.6)
    store, built = Store(tmp_path), []

    def build_for_two_leases(name: str) -> None:
        with store.building(KEY, {}) as folder:
            if folder is not None:
                built.append(name)
                until = time.monotonic() + 1.2
                while time.monotonic() < until:
                    threading.Event().wait(0.05)

    threads = [threading.Thread(target=build_for_two_leases, args=(n,)) for n in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this container may not mount")
    try:
        store = Store(disk / "store")

        def fill() -> None:
            with store.building(KEY, {}) as folder, cannot_write(disk):
                assert folder is not None
                (folder / "large").write_bytes(bytes(10**6))

        with pytest.raises(InputError, match="No space left"):
            fill()
        assert KEY not in store
        assert not list((disk / "store" / "building").iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_artifact_may_hold_folders(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.building(KEY, {}) as folder:
        assert folder is not None
        (folder / "inner").mkdir()
        (folder / "inner" / "file.txt").write_text("content")
    found = store.open(KEY)
    assert found is not None
    (found / "inner" / "file.txt").write_text("contemt")
    assert store.open(KEY) is None


def test_an_address_is_no_folder() -> None:
    with pytest.raises(InputError, match="is no folder"):
        Store.at(Path("s3://bucket/store"))
