"""A store in a bucket behaves like a store in a folder; each machine has its own cache."""

import json
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import boto3
import pytest

from tests.buckets import NAME, Stumbling, bucket_server, contents
from tests.toy import toy_recipe, where, without_times
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError, StorageError
from thyroid.execution.in_process import in_process
from thyroid.storage import bucket, lease
from thyroid.storage.bucket import Bucket, bucket_url
from thyroid.storage.bucket_store import BucketStore
from thyroid.storage.open_store import open_store
from thyroid.storage.store import Busy, Store

URL = f"s3://{NAME}/lab"
KEY = sha256(b"key").hexdigest()
OBJECT = f"lab/artifacts/{KEY[:2]}/{KEY}"


@pytest.fixture
def server() -> Iterator[Stumbling]:
    with bucket_server() as server:
        yield server


Machine = Callable[[str], BucketStore]
"""The store as a machine of this name sees it, which caches no manifest."""


@pytest.fixture
def machine(server: Stumbling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr("thyroid.storage.bucket_store.MANIFEST_CACHE_SECONDS", 0.0)

    def see(name: str) -> BucketStore:
        monkeypatch.setenv("THYROID_CACHE", str(tmp_path / name))
        store = open_store(URL, run=name)
        assert isinstance(store, BucketStore)
        return store

    return see


def build(store: Store, text: str = "made") -> None:
    with store.building(KEY, {"kind": "test"}) as folder:
        assert folder is not None
        (folder / "deep").mkdir()
        (folder / "deep" / "made.txt").write_text(text)


def test_what_one_machine_builds_another_reads(machine: Machine, tmp_path: Path) -> None:
    one, other = machine("one"), machine("other")
    assert KEY not in other
    assert other.open(KEY) is None
    build(one)
    assert KEY in other
    assert other.read(KEY, "deep/made.txt") == b"made"
    folder = other.open(KEY)
    assert folder is not None
    assert folder.is_relative_to(tmp_path / "other")
    assert (folder / "deep" / "made.txt").read_text() == "made"
    manifest = other.manifest(KEY)
    assert manifest is not None
    assert (manifest["run"], manifest["kind"]) == ("one", "test")
    with other.building(KEY, {}) as again:
        assert again is None
    assert not contents("lab/claims")


def test_a_second_look_fetches_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    build(machine("one"))
    other = machine("other")
    other.open(KEY)
    monkeypatch.setattr(Bucket, "fetch", lambda *_: pytest.fail("fetched twice"))
    assert other.open(KEY) is not None
    assert machine("one").open(KEY) is not None


def test_a_store_that_is_sent_to_another_machine_uses_its_cache(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(machine("one"))
    sent = pickle.dumps(machine("one"))
    monkeypatch.setenv("THYROID_CACHE", str(tmp_path / "other"))
    folder = pickle.loads(sent).open(KEY)  # noqa: S301
    assert folder.is_relative_to(tmp_path / "other")


def test_one_builds_and_the_others_are_told(machine: Machine) -> None:
    one, other = machine("one"), machine("other")
    watch = other.watch(KEY)
    assert not watch.busy()
    with one.building(KEY, {}) as folder:
        assert folder is not None
        with pytest.raises(Busy), other.building(KEY, {}):
            pass
        assert watch.busy()
    assert not watch.busy()


def test_of_many_at_once_one_builds(machine: Machine) -> None:
    stores = [machine(f"machine-{i}") for i in range(6)]
    together = threading.Barrier(len(stores))

    def attempt(store: Store) -> str:
        together.wait()
        try:
            with store.building(KEY, {}) as folder:
                if folder is None:
                    return "found"
                (folder / "made.txt").write_text("made")
                return "built"
        except Busy:
            store.wait(KEY)
            return "waited"

    with ThreadPoolExecutor(len(stores)) as pool:
        outcomes = list(pool.map(attempt, stores))
    assert outcomes.count("built") == 1
    assert all(store.read(KEY, "made.txt") == b"made" for store in stores)


def test_a_dead_builder_on_this_machine_is_not_waited_for(machine: Machine) -> None:
    store = machine("one")
    Bucket(URL).put(f"claims/{KEY}", f"{lease.here()} 999999999 0 3".encode())
    with pytest.raises(Busy), store.building(KEY, {}):
        pass
    assert not store.watch(KEY).busy()
    build(store)
    assert KEY in store


def test_a_silent_builder_elsewhere_is_taken_over_after_its_lease(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = machine("one")
    Bucket(URL).put(f"claims/{KEY}", b"elsewhere 1 0 3")
    watch = store.watch(KEY)
    assert watch.busy()
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)
    assert not watch.busy()
    build(store)


def test_a_builder_that_lives_keeps_its_claim(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(lease, "died_here", lambda holder: False)
    one, watch = machine("one"), bucket.Watch(Bucket(URL), f"claims/{KEY}")
    with one.building(KEY, {}) as folder:
        assert folder is not None
        waited = threading.Event()
        for _ in range(15):
            assert watch.alive()
            waited.wait(0.1)


def test_of_two_that_build_one_key_the_first_is_believed(machine: Machine) -> None:
    one, other = machine("one"), machine("other")
    with one.building(KEY, {}) as folder:
        assert folder is not None
        (folder / "made.txt").write_text("late")
        Bucket(URL).delete(f"claims/{KEY}")  # as if it were dead
        with other.building(KEY, {}) as second:
            assert second is not None
            (second / "made.txt").write_text("first")
    for store in (one, other):
        found = store.open(KEY)
        assert found is not None
        assert (found / "made.txt").read_text() == "first"
    assert len(contents("lab/files")) == 1


@pytest.mark.parametrize("damage", ["change", "remove"])
@pytest.mark.parametrize("read", [Store.open, lambda store, key: store.read(key, "deep/made.txt")])
def test_what_was_damaged_in_the_bucket_is_set_aside_and_built_again(
    machine: Machine, read: object, damage: str
) -> None:
    build(machine("one"))
    (name,) = contents("lab/files")
    client = boto3.client("s3")
    if damage == "change":
        client.put_object(Bucket=NAME, Key=name, Body=b"mad")
    else:
        client.delete_object(Bucket=NAME, Key=name)
    other = machine("other")
    assert (other.open(KEY) if read is Store.open else other.read(KEY, "deep/made.txt")) is None
    assert KEY not in other
    assert len(contents("lab/damaged")) == 1
    build(other, "again")
    one = machine("one")
    assert one.read(KEY, "deep/made.txt") == b"again"  # not the content of its cache
    folder = one.open(KEY)
    assert folder is not None
    assert (folder / "deep" / "made.txt").read_text() == "again"


def test_what_was_damaged_in_the_cache_is_fetched_again(machine: Machine) -> None:
    store = machine("one")
    build(store)
    (store.artifact(KEY) / "deep" / "made.txt").write_text("mad")
    folder = store.open(KEY)
    assert folder is not None
    assert (folder / "deep" / "made.txt").read_text() == "made"
    assert not contents("lab/damaged")


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": {"../../../stolen.txt": sha256(b"x").hexdigest()}},
        {"files": {"/tmp/stolen.txt": sha256(b"x").hexdigest()}},
        {"place": "../elsewhere"},
        {"place": None},
        {"key": "another"},
        "no json",
    ],
)
def test_a_manifest_that_points_elsewhere_is_damaged(machine: Machine, wrong: object) -> None:
    store = machine("one")
    build(store)
    manifest = store.manifest(KEY)
    assert manifest is not None
    changed = {**manifest, **wrong} if isinstance(wrong, dict) else wrong
    boto3.client("s3").put_object(Bucket=NAME, Key=OBJECT, Body=json.dumps(changed).encode())
    assert store.open(KEY) is None
    assert KEY not in store


def test_a_failure_is_kept(machine: Machine) -> None:
    machine("one").fail(KEY, "It diverged.")
    other = machine("other")
    assert other.failure(KEY) == "It diverged."
    assert other.failure(KEY[::-1]) is None


def test_a_training_is_the_same_through_a_bucket_that_fails_one_request_in_ten(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = pipeline.classifier(toy_recipe(), Dataset.open(toy).digest, 0)
    here = without_times(list(in_process(Store(tmp_path / "here"), where(toy))(stages)))
    with bucket_server(every=10) as server:
        monkeypatch.setenv("THYROID_CACHE", str(tmp_path / "one"))
        there = list(in_process(open_store(URL), where(toy))(stages))
        monkeypatch.setenv("THYROID_CACHE", str(tmp_path / "other"))
        again = list(in_process(open_store(URL), where(toy))(stages))
        assert server.failed > 5
        assert not contents("lab/damaged")
        assert not contents("lab/claims")
    assert without_times(there) == here
    assert not any(metrics["reused"] for metrics in there)
    assert without_times(again) == here
    assert all(metrics["reused"] for metrics in again)


def test_a_bucket_that_does_not_answer_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THYROID_CACHE", str(tmp_path))
    monkeypatch.setattr(bucket, "RETRY_SECONDS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-word")
    with pytest.raises(StorageError, match=f"Cannot use {URL}: .*network") as refusal:
        open_store(URL).open(KEY)
    assert "secret-word" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_bucket_that_is_not_there_is_said_so(
    server: Stumbling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THYROID_CACHE", str(tmp_path))
    store = open_store("s3://nobodys/lab")
    with pytest.raises(StorageError, match="Cannot use s3://nobodys/lab"):
        build(store)


@pytest.mark.parametrize(
    ("place", "url"),
    [
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        (Path("s3://bucket/a"), "s3://bucket/a"),
        (Path("gs://bucket") / "run" / "store", "gs://bucket/run/store"),
        ("runs/first", None),
        (Path("/s3:/x"), None),
    ],
)
def test_urls_are_told_from_paths(place: Path | str, url: str | None) -> None:
    assert bucket_url(place) == url


@pytest.mark.parametrize("place", ["http://host/store", "s3://", "s3://key:secret@bucket/a"])
def test_other_urls_are_refused(place: str) -> None:
    with pytest.raises(InputError) as refusal:
        bucket_url(place)
    assert "secret" not in str(refusal.value)
