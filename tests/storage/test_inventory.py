"""Inventory and verification of a store, as functions and as `thyroid store`."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time

import pytest

from tests.storage.artifacts import (
    DAY,
    KEYS,
    command_elsewhere,
    left,
    put,
    snapshot,
)
from thyroid.cli import main
from thyroid.storage.inventory import take_inventory, verify
from thyroid.storage.store import MANIFEST, Store


def test_an_inventory_has_all_and_uses_nothing(store: Store) -> None:
    put(store, KEYS[0], kind="split", days=3)
    put(store, KEYS[1], days=2)
    put(store, KEYS[2])
    store.fail(KEYS[3], "Training diverged.")
    before = snapshot(store.root)
    with store.in_use():
        found = take_inventory(store)
    assert snapshot(store.root) == before
    assert [(a.key, a.kind) for a in found.artifacts] == [
        (KEYS[0], "split"),
        (KEYS[1], "classifier"),
        (KEYS[2], "classifier"),
    ]
    unused = [(found.now - artifact.used) / 1e9 / DAY for artifact in found.artifacts]
    assert unused == pytest.approx([3, 2, 0], abs=0.1)
    assert all(1000 < artifact.size < 1500 for artifact in found.artifacts)
    assert [failure.reason for failure in found.failures] == ["Training diverged."]
    (command,) = found.commands
    assert (command.machine, command.process) == (socket.gethostname(), str(os.getpid()))
    assert not found.scraps


def test_a_damaged_artifact_is_found_and_set_aside_and_checking_is_no_use(store: Store) -> None:
    for key in KEYS[:4]:
        put(store, key, days=5)
    (store.artifact(KEYS[0]) / "file").write_text("changed")
    (store.artifact(KEYS[1]) / MANIFEST).unlink()
    (store.artifact(KEYS[2]) / MANIFEST).write_text("{")
    advanced: list[tuple[int, int]] = []
    count, damaged = verify(store, lambda *done: advanced.append(done))
    assert count == 4
    assert damaged == [
        f"{k} {KEYS[n][:12]}" for n, k in enumerate(["classifier", *["unknown"] * 2])
    ]
    assert advanced[-1] == (4, 4)
    assert left(store) == [KEYS[3]]
    (kept,) = take_inventory(store).artifacts
    assert (time.time() - kept.used / 1e9) / DAY == pytest.approx(5, abs=0.1)
    assert len(list((store.root / "damaged").iterdir())) == 3
    assert verify(store, lambda *done: None) == (1, [])


def test_an_artifact_pruned_while_it_is_verified_is_not_damaged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not count as damaged even if one with the same key was set aside earlier."""
    put(store, KEYS[0], days=5)
    (store.artifact(KEYS[0]) / "file").write_text("changed")
    assert len(verify(store, lambda *done: None)[1]) == 1
    put(store, KEYS[0], days=5)
    intact = Store.intact

    def pruned_before(store: Store, key: str) -> bool:
        shutil.rmtree(store.artifact(key))
        return intact(store, key)

    monkeypatch.setattr(Store, "intact", pruned_before)
    assert verify(store, lambda *done: None) == (1, [])
    assert len(list((store.root / "damaged").iterdir())) == 1


def test_the_command_tells_what_there_is(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, KEYS[0], kind="split", days=3)
    put(store, KEYS[1])
    manifest = store.artifact(KEYS[1]) / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"seconds": 1234.56}))
    store.fail(KEYS[2], "Training diverged.")
    with command_elsewhere(store) as process:
        assert main(["store", str(store.root)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert f"running: process {process.pid} on {socket.gethostname()}, for " in "\n".join(lines)
    cells = [line.split() for line in lines]
    assert cells[0] == ["stage", "artifacts", "size", "stage-seconds", "last", "use"]
    assert (cells[1][:2], cells[1][-4]) == (["classifier", "1"], "1,234.6")
    assert (cells[2][:2], cells[2][-3:]) == (["split", "1"], ["3", "d", "ago"])
    assert cells[3][:2] == ["all", "2"]
    assert "commands at work            1" in lines
    assert "failures                    1" in lines
    told = rf"failed: {KEYS[2][:12]} \d+ s ago: Training diverged\."
    assert any(re.fullmatch(told, line) for line in lines)


def test_verify_ends_with_status_1_where_something_is_damaged(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, KEYS[0])
    put(store, KEYS[1])
    assert main(["store", str(store.root), "--verify"]) == 0
    assert capsys.readouterr().out == "2 artifacts, all intact\n"
    (store.artifact(KEYS[1]) / "file").write_text("changed")
    assert main(["store", str(store.root), "--verify"]) == 1
    told = capsys.readouterr()
    assert told.out == f"damaged: classifier {KEYS[1][:12]}\n"
    assert "1 of 2 artifacts were damaged: they are set aside in" in told.err
    assert main(["store", str(store.root), "--verify"]) == 0
