"""Pruning while commands read and build removes nothing that a running command needs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import MutableSequence
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from tests.storage.artifacts import (
    DAY,
    KEYS,
    age,
    command_elsewhere,
    left,
    pruned,
    put,
)
from thyroid.errors import InputError
from thyroid.storage import lease
from thyroid.storage.inventory import take_inventory, verify
from thyroid.storage.store import MANIFEST, Busy, Store


def test_what_is_being_built_stays(store: Store) -> None:
    with store.building(KEYS[0], {}) as folder:
        assert folder is not None
        (folder / "file").write_text("half")
        (scrap,) = take_inventory(store).scraps
        assert (scrap.what, scrap.left_over) == ("unfinished", False)
        pruned(store)
        assert (folder / "file").read_text() == "half"
        assert store.watch(KEYS[0]).busy()
    assert store.open(KEYS[0]) is not None


def test_a_living_commands_artifacts_survive_all_criteria_and_a_dead_ones_do_not(
    store: Store,
) -> None:
    put(store, KEYS[0], days=1)
    put(store, KEYS[1], days=1)
    put(store, KEYS[2], days=1)
    with command_elsewhere(store) as process:
        assert store.open(KEYS[0]) is not None
        assert KEYS[1] in store  # a check counts as a use
        put(store, KEYS[3])
        store.fail(KEYS[4], "Training diverged.")
        told = pruned(store, dry_run=True)
        assert [artifact.key for artifact in told.artifacts] == [KEYS[2]]
        done = pruned(store)
        assert done == told
        assert sorted(artifact.key for artifact in done.spared) == [KEYS[0], KEYS[1], KEYS[3]]
        assert left(store) == [KEYS[0], KEYS[1], KEYS[3]]
        assert store.failure(KEYS[4]) is not None
        assert len(take_inventory(store).commands) == 1
        process.kill()
        process.wait()
        assert not take_inventory(store).commands
        pruned(store)
    assert not left(store)
    assert store.failure(KEYS[4]) is None
    assert not list((store.root / "users").iterdir())


def test_a_command_on_another_machine_lives_until_it_was_silent_for_a_lease(store: Store) -> None:
    put(store, KEYS[0])
    users = store.root / "users"
    users.mkdir()
    path = users / f"{store.now() - 10**15}-{'0' * 32}"
    path.write_text("elsewhere 1 0")
    age(path, 0.5 * lease.LEASE_SECONDS / DAY)
    assert not pruned(store).artifacts
    assert path.exists()
    age(path, 2 * lease.LEASE_SECONDS / DAY)
    assert len(pruned(store).artifacts) == 1
    assert not path.exists()


def test_a_command_that_renews_its_lease_while_it_is_removed_keeps_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, KEYS[0], days=1)
    users = store.root / "users"
    users.mkdir()
    path = users / f"{store.now() - 10**15}-{'0' * 32}"
    path.write_text("elsewhere 1 0")
    age(path, 2 * lease.LEASE_SECONDS / DAY)
    rename = os.rename

    def renewed(source: Path, target: Path) -> None:
        if source == path:
            os.utime(path)
        rename(source, target)

    monkeypatch.setattr("thyroid.storage.lease.os.rename", renewed)
    assert not pruned(store).artifacts
    assert path.read_text() == "elsewhere 1 0"
    assert len(take_inventory(store).commands) == 1
    assert left(store) == [KEYS[0]]


def test_clocks_of_machines_are_not_compared(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, KEYS[0])
    with store.in_use():
        assert store.open(KEYS[0]) is not None
        for wrong in (-DAY, DAY):
            now = time.time() + wrong
            monkeypatch.setattr(time, "time_ns", lambda now=now: int(now * 1e9))
            monkeypatch.setattr(time, "time", lambda now=now: now)
            assert not pruned(store).artifacts
            assert len(take_inventory(store).commands) == 1


@pytest.mark.parametrize("leased", [True, False])
@pytest.mark.parametrize("moment", ["claim", "manifest"])
def test_a_command_that_begins_during_a_prune_keeps_what_it_uses(
    store: Store, monkeypatch: pytest.MonkeyPatch, moment: str, leased: bool
) -> None:
    """It begins just before the key is claimed, or just before the manifest is withdrawn."""
    put(store, KEYS[0], days=1)
    with contextlib.ExitStack() as stack:

        def use() -> None:
            if leased:
                stack.enter_context(store.in_use())
            assert store.open(KEYS[0]) is not None

        held, rename = lease.held, os.rename

        def claimed(path: Path, *, retake: bool = False) -> contextlib.AbstractContextManager[bool]:
            if moment == "claim" and path.name == KEYS[0]:
                use()
            return held(path, retake=retake)

        def renamed(source: Path, target: Path) -> None:
            if moment == "manifest" and source.name == MANIFEST:
                use()
            rename(source, target)

        monkeypatch.setattr("thyroid.storage.inventory.lease.held", claimed)
        monkeypatch.setattr("thyroid.storage.pruning.os.rename", renamed)
        done = pruned(store)
        monkeypatch.undo()
        assert [artifact.key for artifact in done.spared] == [KEYS[0]]
        assert not done.artifacts
        assert store.open(KEYS[0]) is not None
        assert not list((store.root / "trash").glob("*"))


def test_an_interrupted_prune_puts_the_manifest_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, KEYS[0], days=1)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("thyroid.storage.pruning.commands", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pruned(store)
    monkeypatch.undo()
    assert store.open(KEYS[0]) is not None
    assert not list((store.root / "claims").iterdir())


def test_a_reader_whose_manifest_was_withdrawn_finds_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, KEYS[0], days=1)
    utime = os.utime

    def too_late(path: Path) -> None:
        monkeypatch.undo()
        assert len(pruned(store).artifacts) == 1
        utime(path)

    monkeypatch.setattr(os, "utime", too_late)
    assert store.open(KEYS[0]) is None


def _work(root: Path, ended: Event, seed: int, counts: MutableSequence[int]) -> None:
    """Open artifacts and build missing ones; an opened artifact stays readable."""
    store, turn = Store(root), seed
    while not ended.is_set():
        key = KEYS[turn % 3]
        turn += 1 + turn % 2
        with store.in_use():
            folder = store.open(key)
            if folder is None:
                counts[1] += 1
                with contextlib.suppress(Busy), store.building(key, {"kind": "test"}) as new:
                    if new is not None:
                        (new / "file").write_bytes(bytes(1000))
                continue
            for _ in range(10):
                assert (folder / "file").read_bytes() == bytes(1000)
                assert key in store
                assert store.read(key, "file") == bytes(1000)
            counts[0] += 1
        time.sleep(0.001 * (turn % 4))  # at times no command may be running


def test_readers_and_builders_are_not_disturbed_by_pruning(store: Store) -> None:
    put(store, KEYS[0])
    context = multiprocessing.get_context("fork")
    ended = context.Event()
    counts = [context.Array("i", 2, lock=False) for _ in range(3)]
    jobs = [
        context.Process(target=_work, args=(store.root, ended, seed, counts[seed]))
        for seed in range(3)
    ]
    for job in jobs:
        job.start()
    removed = read = missed = 0
    until = time.monotonic() + 60
    try:
        while min(removed - 3, read - 30, missed - 3) <= 0 and time.monotonic() < until:
            removed += len(pruned(store).artifacts)
            read, missed = (sum(column) for column in zip(*counts, strict=True))
    finally:
        ended.set()
    for job in jobs:
        job.join(30)
        assert job.exitcode == 0
    assert removed > 3
    assert read > 30
    assert missed > 3
    assert verify(store, lambda *done: None)[1] == []
    assert not (store.root / "damaged").exists()
    assert not list((store.root / "trash").iterdir())
    assert not list((store.root / "building").iterdir())


def test_two_do_not_prune_at_once(store: Store) -> None:
    put(store, KEYS[0], days=1)
    with (
        lease.held(store.claim("prune")),
        pytest.raises(InputError, match="Another command is pruning"),
    ):
        pruned(store)
    assert left(store) == [KEYS[0]]
