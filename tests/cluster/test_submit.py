"""From a laptop to a report: `ray up`, `ray submit` or `ray job submit`, `ray rsync-down`, with
cluster/onprem.yaml and hosts that share only the network and a folder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.cluster.hosts import BIN, HOME, SHARED, Cluster
from tests.cluster.outcomes import SPENT
from tests.toy import toy_generators
from thyroid.configuration import to_json

pytestmark = pytest.mark.cluster

TRIALS = 3
DASHBOARD = 8265
DATASET, SUBMITTED, AS_JOB = f"{HOME}/dataset", f"{HOME}/runs/submitted", f"{HOME}/runs/job"
"""On the head alone."""


def words(run: str) -> list[str]:
    """Arguments of a search that takes seconds."""
    found = [DATASET, run, "--space", "augmentation", "--trials", str(TRIALS)]
    found += ["--recipe", f"{SHARED}/recipe.json", "--store", f"{SHARED}/store"]
    return [*found, "--concurrent", "2", "--max-seeds", "1", "--final-seeds", "1"]


def fetched(cluster: Cluster, run: str, folder: Path) -> Path:
    """The run's folder, fetched by `ray rsync-down` on the laptop."""
    name = Path(run).name
    cluster.ray("rsync-down", cluster.file, f"{run}/", f"{HOME}/{name}/")
    return shutil.copytree(cluster.laptop.home / name, folder / name)


@pytest.fixture(scope="module")
def submitted(
    cluster: Cluster, toy: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """Return the output of `ray submit`, and the folder of the fetched run."""
    shutil.copytree(toy, cluster.laptop.home / "dataset")
    cluster.ray("rsync-up", cluster.file, f"{HOME}/dataset/", f"{DATASET}/")
    (cluster.shared / "recipe.json").write_text(json.dumps(to_json(toy_generators(split__folds=2))))
    printed = cluster.ray("submit", cluster.file, "cluster/search.py", "--", *words(SUBMITTED))
    return printed, fetched(cluster, SUBMITTED, tmp_path_factory.mktemp("submitted"))


def test_submit_searches_and_the_report_is_fetched(submitted: tuple[str, Path]) -> None:
    """The commands of cluster/README.md, from a laptop to a report, over SSH."""
    printed, run = submitted
    assert f"trials: {SUBMITTED}/trials.csv" in printed
    table = pd.read_csv(run / "trials.csv")
    assert list(table["number"]) == list(range(TRIALS))
    assert set(table["state"]) == {"complete"}
    assert table["macro_f1"].between(0, 1).all()
    assert (table["computed_stages"] > 0).any()
    page = (run / "report.html").read_text()
    assert f"{TRIALS} trials" in page
    assert "Not for clinical use" in page


@pytest.mark.usefixtures("submitted")
def test_stages_ran_on_every_worker_and_not_on_the_head(cluster: Cluster) -> None:
    listed = cluster.head.run("ray list tasks --detail --format=json --limit=5000")
    nodes = json.loads(cluster.head.run("ray list nodes --detail --format=json"))
    names = {node["node_id"]: node["node_ip"] for node in nodes}
    stages = [task for task in json.loads(listed) if task["func_or_class_name"] == "_run"]
    stages = [task for task in stages if task["node_id"] is not None]  # cancelled before it ran
    assert {names[task["node_id"]] for task in stages} == {
        worker.address for worker in cluster.workers
    }


def test_a_job_finds_the_stages_of_the_same_search(
    cluster: Cluster, submitted: tuple[str, Path], tmp_path: Path
) -> None:
    cluster.begin("dashboard", cluster.file)
    there = f"(: < /dev/tcp/localhost/{DASHBOARD}) 2> /dev/null"
    cluster.laptop.run(f"until {there}; do sleep 0.1; done")
    entry = ["--working-dir", ".", "--", "thyroid", "search", *words(AS_JOB)]
    printed = cluster.ray("job", "submit", "--address", f"http://localhost:{DASHBOARD}", *entry)
    assert "succeeded" in printed
    run = fetched(cluster, AS_JOB, tmp_path)
    table, first = (pd.read_csv(each / "trials.csv") for each in (run, submitted[1]))
    assert (table["computed_stages"] == 0).all()
    pd.testing.assert_frame_equal(table.drop(columns=SPENT), first.drop(columns=SPENT))
    assert (run / "report.html").stat().st_size > 10_000


def test_nobody_is_let_in_without_the_token(cluster: Cluster) -> None:
    address = f"{cluster.head.address}:6379"
    asked = f"{BIN}/ray status --address {address}"
    assert "Resources" in cluster.laptop.run(f"RAY_AUTH_MODE=token {asked}")
    for stranger in ("RAY_AUTH_MODE=disabled", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=guessed"):
        with pytest.raises(AssertionError, match="InvalidAuthToken"):
            cluster.laptop.run(f"{stranger} {asked}")
    for host in (cluster.head, *cluster.workers):
        assert host.run("stat --format %a ~/.ray/auth_token") == "600\n"


def test_the_dashboard_is_on_loopback_alone(cluster: Cluster) -> None:
    asked = f": < /dev/tcp/{{}}/{DASHBOARD}"
    cluster.head.run(asked.format("127.0.0.1"))
    with pytest.raises(AssertionError, match="Connection refused"):
        cluster.laptop.run(asked.format(cluster.head.address))


def test_the_working_copy_that_was_sent_is_what_runs(cluster: Cluster) -> None:
    for host in (cluster.head, *cluster.workers):
        found = host.run("python -c 'import thyroid; print(thyroid.__file__)'")
        assert found == f"{HOME}/thyroid/thyroid/__init__.py\n"
