import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from thyroid.errors import InputError
from thyroid.files import cannot_write
from thyroid.storage import lease
from thyroid.storage.store import Busy, Store

KEY = "ab" + "0" * 62
FILE = "inner/file.txt"


@contextlib.contextmanager
def patiently(store: Store) -> Iterator[Path | None]:
    """Yield a folder to fill, as soon as no other process fills it."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                folder = stack.enter_context(store.building(KEY, {"kind": "test"}))
                break
            except Busy:
                store.wait(KEY)
        yield folder


def put(store: Store, text: str = "content") -> None:
    with patiently(store) as folder:
        if folder is not None:
            (folder / "inner").mkdir()
            (folder / FILE).write_text(text)


def test_an_artifact_is_there_after_the_block_and_not_before(store: Store) -> None:
    with store.building(KEY, {"kind": "test"}) as folder:
        assert folder is not None
        (folder / "file.txt").write_text("content")
        assert KEY not in store
        assert store.open(KEY) is None
    found = store.open(KEY)
    assert found is not None
    assert (found / "file.txt").read_text() == "content"
    assert json.loads((found / "manifest.json").read_text())["kind"] == "test"
    assert not list((store.root / "building").iterdir())
    assert not list((store.root / "claims").iterdir())


def test_a_block_that_raises_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        with store.building(KEY, {}) as folder:
            assert folder is not None
            (folder / "half").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert KEY not in store
    assert not list((store.root / "building").iterdir())
    assert not list((store.root / "claims").iterdir())


def test_what_is_there_is_not_built_again(store: Store) -> None:
    put(store, "first")
    with store.building(KEY, {}) as folder:
        assert folder is None
    put(store, "second")
    found = store.open(KEY)
    assert found is not None
    assert (found / FILE).read_text() == "first"


@pytest.mark.parametrize(
    "damage", ["change", "truncate", "remove", "manifest", "no manifest", "renamed"]
)
def test_a_damaged_artifact_is_set_aside_and_built_again(store: Store, damage: str) -> None:
    put(store)
    found = store.open(KEY)
    assert found is not None
    if damage == "change":
        (found / FILE).write_text("contemt")
    elif damage == "truncate":
        (found / FILE).write_text("")
    elif damage == "remove":
        (found / FILE).unlink()
    elif damage == "manifest":
        (found / "manifest.json").write_text("{")
    elif damage == "no manifest":
        (found / "manifest.json").unlink()
    else:  # another artifact under this key
        text = (found / "manifest.json").read_text()
        (found / "manifest.json").write_text(text.replace(KEY, "cd" + KEY[2:]))
    assert store.open(KEY) is None
    assert KEY not in store
    put(store, "again")
    assert store.open(KEY) is not None
    assert len(list((store.root / "damaged").iterdir())) == 1


def _build_slowly(root: Path, counter: Path, ready: object) -> None:
    ready.wait()  # type: ignore[attr-defined]
    with patiently(Store(root)) as folder:
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


@pytest.mark.parametrize(
    ("holder", "least"), [("elsewhere 1 ab", 0.3), (f"{lease.here()} 99999999 ab", 0.0)]
)
def test_a_dead_builders_claim_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: str, least: float
) -> None:
    """A dead claim ends with its lease on another machine, or at once if its process is known to be
    dead.
    """
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.5)
    claim = tmp_path / "claims" / KEY
    claim.parent.mkdir(parents=True)
    claim.write_text(holder)
    began = time.monotonic()
    put(Store(tmp_path))
    assert KEY in Store(tmp_path)
    assert least < time.monotonic() - began < 5
    assert not list((tmp_path / "claims").iterdir())


def test_a_claim_taken_over_by_another_is_put_back(tmp_path: Path) -> None:
    """Two processes saw the same dead lease; the slower one must keep the claim of the other."""
    claim = tmp_path / KEY
    assert lease._take(claim, "host 1 quicker")
    lease.remove_dead(claim, ("host 1 dead", claim.stat().st_mtime_ns))
    assert claim.read_text() == "host 1 quicker"
    assert not lease._take(claim, "host 1 slower")
    lease.remove_dead(claim, ("host 1 quicker", claim.stat().st_mtime_ns))
    assert not claim.exists()


def test_a_lease_renewed_after_the_look_is_put_back(tmp_path: Path) -> None:
    path = tmp_path / KEY
    assert lease._take(path, "host 1 alive")
    seen = lease.look(path)
    assert seen is not None
    os.utime(path, ns=(seen[1] + 10**9,) * 2)
    lease.remove_dead(path, seen)
    assert lease.look(path) == ("host 1 alive", seen[1] + 10**9)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has namespaces")
@pytest.mark.parametrize("elsewhere", ["another boot", "another namespace"])
def test_of_a_machine_of_the_same_name_nobody_is_known_to_be_dead(elsewhere: str) -> None:
    name, boot, namespace = lease.here().split("/")
    assert lease.died_here(f"{name}/{boot}/{namespace} 99999999 ab")
    assert not lease.died_here(f"{name}/{boot}/{namespace} {os.getpid()} ab")
    boot, namespace = ("0", namespace) if elsewhere == "another boot" else (boot, "0")
    assert not lease.died_here(f"{name}/{boot}/{namespace} 99999999 ab")
    assert not lease.died_here(f"{name} 99999999 ab")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has namespaces")
def test_a_process_of_another_pid_namespace_is_not_here() -> None:
    code = "from thyroid.storage import lease; print(lease.here())"
    said = subprocess.run(
        ["unshare", "--fork", "--pid", sys.executable, "-c", code], capture_output=True, text=True
    )
    if "unshare" in said.stderr:
        pytest.skip("this process may make no namespace")
    (there,) = said.stdout.split()
    assert there.split("/")[:2] == lease.here().split("/")[:2]
    assert there != lease.here()


def test_an_interrupt_as_the_heartbeat_starts_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = threading.Thread.start, []

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        started.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), lease.held(tmp_path / KEY):
        pytest.fail("the interrupt was lost")
    (heartbeat,) = started
    assert not heartbeat.is_alive()
    assert not list(tmp_path.iterdir())


def test_a_link_that_nfs_repeats_has_taken_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    with lease.held(tmp_path / KEY) as mine:
        assert mine
        with lease.held(tmp_path / KEY) as too:
            assert not too
        assert list(tmp_path.iterdir()) == [tmp_path / KEY]
    assert not list(tmp_path.iterdir())


class Beats(threading.Event):
    """Lets a lease be renewed twice."""

    left = 2

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_living_command_retakes_its_removed_lease_and_a_builder_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / KEY
    lease._renew(path, "host 1 builder", Beats(), False)
    assert not path.exists()
    lease._renew(path, "host 1 command", Beats(), True)
    assert path.read_text() == "host 1 command"
    assert list(tmp_path.iterdir()) == [path]

    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.3)
    with Store(tmp_path / "store").in_use():
        (user,) = (tmp_path / "store" / "users").iterdir()
        holder = user.read_text()
        user.unlink()
        until = time.monotonic() + 30
        while not user.exists() and time.monotonic() < until:
            threading.Event().wait(0.01)
        assert user.read_text() == holder
    assert not list((tmp_path / "store" / "users").iterdir())


def test_a_living_builders_claim_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.6)
    store, built = Store(tmp_path), []

    def build_for_two_leases(name: str) -> None:
        with patiently(store) as folder:
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


def test_who_finds_a_claim_is_told_at_once(store: Store) -> None:
    with store.building(KEY, {}) as folder:
        assert folder is not None
        watch = store.watch(KEY)
        with pytest.raises(Busy), store.building(KEY, {}):
            pytest.fail("two would build")
        assert watch.busy()
    assert not watch.busy()
    assert KEY in store


def test_a_manifest_says_who_made_it_and_how_long_it_took(tmp_path: Path) -> None:
    store = Store(tmp_path, "a-run")
    put(store)
    manifest = store.manifest(KEY)
    assert manifest is not None
    assert manifest["run"] == "a-run"
    assert 0 <= manifest["seconds"] < 60


def test_use_is_seen_by_the_manifests_time(store: Store) -> None:
    put(store)
    manifest = store.artifact(KEY) / "manifest.json"
    for use in (lambda: store.open(KEY), lambda: store.read(KEY, FILE)):
        os.utime(manifest, (0, 0))
        assert use() is not None
        assert manifest.stat().st_mtime > time.time() - 60


def test_one_file_is_verified_when_it_is_read(store: Store) -> None:
    assert store.read(KEY, FILE) is None
    put(store)
    assert store.read(KEY, FILE) == b"content"
    (store.artifact(KEY) / FILE).write_text("contemt")
    assert store.read(KEY, FILE) is None
    assert KEY not in store
    put(store)
    assert store.read(KEY, "other.txt") is None


def test_a_failure_is_remembered(store: Store) -> None:
    assert store.failure(KEY) is None
    store.fail(KEY, "Training diverged.")
    assert store.failure(KEY) == "Training diverged."
    assert KEY not in store


def test_a_store_in_use_says_so_until_the_end(tmp_path: Path) -> None:
    with Store(tmp_path).in_use(), Store(tmp_path).in_use():
        assert len(list((tmp_path / "users").iterdir())) == 2
    assert not list((tmp_path / "users").iterdir())
