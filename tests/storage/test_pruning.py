"""Pruning removes what it should and nothing that a running command may need."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.storage.artifacts import (
    DAY,
    KEYS,
    age,
    left,
    pruned,
    put,
    snapshot,
)
from thyroid.cli import main
from thyroid.storage import lease
from thyroid.storage.inventory import take_inventory
from thyroid.storage.pruning import Criteria
from thyroid.storage.store import MANIFEST, Store


def test_the_longest_unused_go_until_the_others_fit(store: Store) -> None:
    for key, days in zip(KEYS, (1, 4, 2, 3), strict=False):
        put(store, key, days=days)
    room = sum(take_inventory(store).artifacts[number].size for number in (0, 2))
    told = pruned(store, Criteria(max_size=room), dry_run=True)
    assert [artifact.key for artifact in told.artifacts] == [KEYS[1], KEYS[3]]
    assert left(store) == KEYS[:4]
    done = pruned(store, Criteria(max_size=room))
    assert done == told
    assert (done.left, done.left_size) == (2, room)
    assert left(store) == [KEYS[0], KEYS[2]]
    assert store.open(KEYS[1]) is None
    assert store.open(KEYS[0]) is not None
    assert not list((store.root / "trash").iterdir())
    put(store, KEYS[1])
    assert store.open(KEYS[1]) is not None


def test_what_was_not_used_for_long_goes_with_failures_as_old(store: Store) -> None:
    put(store, KEYS[0], days=40)
    put(store, KEYS[1], days=20)
    for key, days in ((KEYS[2], 40), (KEYS[3], 20)):
        store.fail(key, "Training diverged.")
        age(store._failure(key), days)
    done = pruned(store, Criteria(older_than=30 * DAY))
    assert [artifact.key for artifact in done.artifacts] == [KEYS[0]]
    assert left(store) == [KEYS[1]]
    assert store.failure(KEYS[2]) is None
    assert store.failure(KEYS[3]) == "Training diverged."
    assert len(done.failures) == 1


def test_what_runs_need_stays_and_alone_all_else_goes(store: Store) -> None:
    for key in KEYS[:4]:
        put(store, key, days=40)
    put(store, KEYS[4])
    kept = frozenset(KEYS[:2])
    pruned(store, Criteria(keep=kept, older_than=50 * DAY))
    assert left(store) == KEYS[:5]
    pruned(store, Criteria(keep=kept, older_than=DAY))
    assert left(store) == [*KEYS[:2], KEYS[4]]
    pruned(store, Criteria(keep=kept))
    assert left(store) == KEYS[:2]
    pruned(store, Criteria(keep=kept, max_size=1))
    assert left(store) == KEYS[:2]


def test_without_criteria_only_leftovers_go(store: Store) -> None:
    put(store, KEYS[0], days=400)
    store.fail(KEYS[1], "Training diverged.")
    put(store, KEYS[2])
    (store.artifact(KEYS[2]) / MANIFEST).unlink()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    holder = f"{lease.here()} {dead.pid} {'0' * 32}"
    name = f"{KEYS[3][:16]}-{'a' * 8}"
    for folder in ("building", "damaged", "trash"):
        (store.root / folder / name).mkdir(parents=True)
        (store.root / folder / name / "half").write_text("half")
    (store.root / "users").mkdir()
    leases = [store.claim(KEYS[3]), store.root / "users" / f"{time.time_ns()}-{'0' * 32}"]
    leases.append(store.claim("prune"))
    for path in leases:
        path.write_text(holder)
    found = take_inventory(store)
    assert sorted(scrap.what for scrap in found.scraps if scrap.left_over) == [
        *["damaged"] * 2, "half removed", *["lease"] * 3, "unfinished",
    ]  # fmt: skip
    assert not found.commands
    told = pruned(store, Criteria(), dry_run=True)
    assert len(told.scraps) == 7
    assert all(path.exists() for path in leases)
    pruned(store, Criteria())
    for folder in ("building", "damaged", "trash", "claims", "users"):
        assert not list((store.root / folder).iterdir())
    assert left(store) == [KEYS[0]]
    assert not store.artifact(KEYS[2]).exists()
    assert store.failure(KEYS[1]) == "Training diverged."


@pytest.mark.parametrize("part", ["artifacts", "building", "trash", "users"])
def test_a_store_with_a_part_behind_a_link_is_refused(
    store: Store, tmp_path: Path, part: str
) -> None:
    put(store, KEYS[0], days=1)
    outside = tmp_path / "outside"
    if (store.root / part).exists():
        (store.root / part).rename(outside)
    else:
        outside.mkdir()
    (store.root / part).symlink_to(outside)
    before = snapshot(outside)
    assert main(["store", str(store.root), "--prune", "--older-than", "1s"]) == 2
    assert snapshot(outside) == before


def test_nothing_behind_a_link_and_no_strange_thing_is_touched(
    store: Store, tmp_path: Path
) -> None:
    put(store, KEYS[0], days=9)
    outside = tmp_path / "outside"
    elsewhere = Store(outside / "store")
    put(elsewhere, KEYS[1], days=9)
    (outside / "precious").write_text("precious")
    age(outside / "precious", 9)
    links = [
        store.root / "artifacts" / KEYS[1][:2],
        store.root / "artifacts" / KEYS[0][:2] / (KEYS[0][:2] + KEYS[1][2:]),
        store.root / "building" / f"{KEYS[2][:16]}-{'a' * 8}",
        store.root / "damaged" / f"{KEYS[2][:16]}-{'a' * 8}",
        store.root / "users" / f"1-{'0' * 32}",
        store.artifact(KEYS[0]) / "link",
    ]
    targets = [elsewhere.root / "artifacts" / KEYS[1][:2], elsewhere.artifact(KEYS[1])]
    targets += [outside, outside, outside / "precious", outside]
    for link, target in zip(links, targets, strict=True):
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(target)
    strange = [
        store.root / "building" / "plans" / "house",
        store.root / "users" / "me",
        store.root / "own" / "notes",
        store.root / "artifacts" / "notes",
    ]
    for path in strange:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    before = snapshot(outside)
    assert main(["store", str(store.root), "--verify"]) == 0
    assert main(["store", str(store.root), "--prune", "--older-than", "1s"]) == 0
    assert not store.artifact(KEYS[0]).exists()
    assert snapshot(outside) == before
    assert all(path.read_text() == "mine" for path in strange)


def test_the_command_prunes_and_a_dry_run_only_says_so(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in KEYS[:4]:
        put(store, key, days=40)
    run = tmp_path / "run"
    run.mkdir()
    row = {"kind": "classifier", "seconds": 1.0, "inputs": [], "users": ["seed 0"], "found": False}
    row |= dict.fromkeys(("seed", "first_epoch", "epochs", "phase"))
    stages = {"format_version": 1, "stages": [row | {"key": key} for key in KEYS[:2]]}
    (run / "stages.json").write_text(json.dumps(stages))
    command = ["store", str(store.root), "--prune", "--keep-runs", str(run)]
    before = snapshot(store.root)
    assert main([*command, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("would be removed  artifacts")
    assert snapshot(store.root) == before
    assert main(command) == 0
    done = capsys.readouterr().out
    assert done.split() == told.replace("would be removed", "removed").split()
    assert left(store) == KEYS[:2]
    with store.in_use():
        assert store.open(KEYS[1]) is not None
        assert main(["store", str(store.root), "--prune", "--max-size", "0.001kB"]) == 0
    told = capsys.readouterr().out
    assert "1 of them stay because a running command may need them" in told
    assert "that is more than --max-size, 1 B" in told
    assert left(store) == [KEYS[1]]
    assert main(["store", str(store.root), "--prune"]) == 0
    assert capsys.readouterr().out.startswith("no artifact removed\n1 artifact left, 1.")


def test_what_cannot_be_is_one_sentence_and_removes_nothing(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, KEYS[0], days=9)
    run = tmp_path / "run"
    shutil.copytree(store.root, run / "store")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "stages.json").write_text("[]")
    at = ["store", str(store.root)]
    before = snapshot(store.root)
    for command, sentence in [
        (["store", str(tmp_path / "none")], "is not a store of artifacts"),
        (["store", str(tmp_path), "--prune", "--older-than", "1s"], "is not a store of artifacts"),
        (["store", str(run)], f"is not a store of artifacts: name {run / 'store'}"),
        (["store", "s3://bucket/store"], "is in a bucket"),
        ([*at, "--prune", "--max-size", "20"], "--max-size '20' is not a size: write 500MB"),
        ([*at, "--prune", "--max-size", "0GB"], "--max-size is 0GB but must be from 1"),
        ([*at, "--prune", "--max-size", f"{'9' * 400}GB"], "is not a size"),
        ([*at, "--prune", "--older-than", "month"], "--older-than 'month' is not a duration"),
        ([*at, "--prune", "--older-than", "-1d"], "--older-than"),
        ([*at, "--max-size", "1GB"], "need --prune"),
        ([*at, "--dry-run"], "need --prune"),
        ([*at, "--verify", "--prune"], "verify the store first"),
        ([*at, "--prune", "--keep-runs", str(run)], "stages.json is missing"),
        ([*at, "--prune", "--keep-runs", str(damaged)], "stages.json is damaged"),
    ]:
        with contextlib.suppress(SystemExit):  # an option's value that looks like an option
            assert main(command) == 2, command
        told = capsys.readouterr().err
        assert sentence in told, told
    assert snapshot(store.root) == before
