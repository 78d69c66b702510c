"""A search is the same when a host loses its network for a while, or dies."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.cluster.hosts import BIN, BUCKETS, HOME, REPOSITORY, SHARED, Cluster, Command, Host
from tests.cluster.outcomes import Outcome, outcome, require_same
from tests.toy import toy_generators, toy_recipe
from thyroid.configuration import to_json

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TRIALS = 3


@pytest.fixture(scope="module")
def hosts(cluster: Cluster, toy: Path) -> Cluster:
    """The cluster, with a data set on its head and recipes that all hosts see."""
    shutil.copytree(toy, cluster.head.home / "toy")
    longer = toy_generators(schedule__constant_epochs=8, split__folds=1)
    one = {"warmup_epochs": 0, "constant_epochs": 1, "decay_epochs": 0}  # segment
    short = {f"schedule__{name}": epochs for name, epochs in one.items()}
    pair = toy_recipe(execution__workers=2, split__folds=1, **short)
    for name, recipe in (("longer", longer), ("pair", pair)):
        (cluster.shared / f"{name}.json").write_text(json.dumps(to_json(recipe)))
    return cluster


def search(hosts: Cluster, name: str) -> Command:
    """Begin a search with its own store, whose trials run one after the other."""
    words = [f"{HOME}/toy", f"{HOME}/runs/{name}", "--space", "augmentation"]
    words += ["--recipe", f"{SHARED}/longer.json", "--store", f"{SHARED}/{name}"]
    words += ["--trials", str(TRIALS), "--concurrent", "1", "--max-seeds", "1"]
    words += ["--final-seeds", "1"]
    return hosts.begin("submit", hosts.file, "cluster/search.py", "--", *words)


@pytest.fixture(scope="module")
def undisturbed(hosts: Cluster) -> Outcome:
    search(hosts, "undisturbed").wait(240)
    return outcome(hosts.head.home / "runs" / "undisturbed")


def at_work(hosts: Cluster, name: str, command: Command) -> Host:
    """A worker that builds something for a search, once the search has reached its second trial."""
    trials = hosts.head.home / "runs" / name / "trials.csv"
    until(trials.exists, command)
    found: list[Host] = []

    def look() -> bool:
        for claim in (hosts.shared / name / "claims").glob("*"):
            try:
                holder = claim.read_text().split("/")[0]
            except FileNotFoundError:
                continue
            found.extend(worker for worker in hosts.workers if worker.name == holder)
        return bool(found)

    until(look, command)
    return found[0]


def until(condition: Callable[[], object], command: Command) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert not command.ended(), "it ended too early"
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def test_two_workers_on_two_hosts_train_one_network_through_a_bucket(hosts: Cluster) -> None:
    """The hosts share only the bucket; the host of the first worker writes the artifact."""
    host, port = BUCKETS.split(":")
    hosts.head.begin(f"cd {REPOSITORY} && {BIN}/python -m tests.buckets {host} {port}")
    hosts.head.run(f"until (: < /dev/tcp/{host}/{port}) 2> /dev/null; do sleep 0.1; done")
    train = f"thyroid train {HOME}/toy s3://scintigrams/pair --recipe {SHARED}/pair.json"
    printed = hosts.head.run(f"{train} --seeds 1 --address auto", 240)
    assert printed.endswith("run: s3://scintigrams/pair\n")
    local = f"thyroid train {HOME}/toy {HOME}/runs/pair --recipe {SHARED}/pair.json --seeds 1"
    hosts.head.run(f"{local} --address auto --store {SHARED}/pair", 240)
    copied = next((hosts.head.home / ".cache/thyroid/runs").glob("pair-*"))
    ours = pd.read_csv(copied / "predictions" / "test-seed0.csv")
    pd.testing.assert_frame_equal(
        ours,
        pd.read_csv(hosts.head.home / "runs" / "pair" / "predictions" / "test-seed0.csv"),
        check_exact=True,
    )
    for worker in hosts.workers:  # each was sent the data set once
        (kept,) = (worker.home / ".cache/thyroid/datasets").glob("[!.]*")
        assert (kept / "counts.npy").read_bytes() == (
            hosts.head.home / "toy/counts.npy"
        ).read_bytes()


def test_a_host_may_be_off_the_network_for_some_seconds(
    hosts: Cluster, undisturbed: Outcome
) -> None:
    """Ray does not give up a host that answers again within its time limits."""
    command = search(hosts, "paused")
    worker = at_work(hosts, "paused", command)
    worker.disconnect()
    time.sleep(8)
    worker.reconnect()
    command.wait(240)
    require_same(outcome(hosts.head.home / "runs" / "paused"), undisturbed)


def test_a_host_may_go_for_ever(hosts: Cluster, undisturbed: Outcome) -> None:
    """The stage of a host that is gone runs again on another one; no trial is lost or changed. Most
    of the time is Ray's, until it believes that the host is gone.
    """
    command = search(hosts, "killed")
    at_work(hosts, "killed", command).kill()
    command.wait(280)
    require_same(outcome(hosts.head.home / "runs" / "killed"), undisturbed)
