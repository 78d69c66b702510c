"""Searches on a Ray of many nodes, all on this machine, whose stages are stubs of 10 ms.

`python -m tests.cluster.load ADDRESS FOLDER NAME TRIALS AT_ONCE SHARE` runs one search, on a Ray
that `nodes` has started.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import ray
from ray.cluster_utils import Cluster

from tests.cluster.stubs import PYTHONPATH
from tests.toy import toy_generators
from thyroid.data.dataset import Dataset
from thyroid.runs.stage_sharing import keep_stages
from thyroid.space import load_space
from thyroid.storage.store import Store
from thyroid.tuning.search_config import SearchConfig
from thyroid.tuning.tune_search import Search

EARLY = 100
"""Number of trials after which memory is measured for the first time."""


@contextmanager
def nodes(count: int, gpus: int = 0) -> Iterator[str]:
    """Start a Ray with a head that computes nothing, and with nodes of one processor or, if GPUs
    are declared, of four or more; give its address.
    """
    calm = {"idle_worker_killing_time_threshold_ms": 600_000}
    quiet = {"PYTHONPATH": PYTHONPATH, "RAY_enable_metrics_collection": "0"}
    with patch.dict(os.environ, quiet):
        head = {"num_cpus": 0, "_system_config": calm, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(count):
            cluster.add_node(
                wait=False,
                num_cpus=max(4, gpus) if gpus else 1,
                num_gpus=gpus,
                object_store_memory=80 * 2**20,
            )
    try:
        cluster.wait_for_nodes(timeout=240)
        yield cluster.address
    finally:
        cluster.shutdown()


def search(folder: Path, name: str, trials: int, at_once: int, share: float) -> None:
    """Search in FOLDER/NAME with the data set FOLDER/toy and the store FOLDER/store, on processors
    or with a share of a GPU for each stage; with 0 at once, the search chooses how many run at the
    same time.
    """
    device = "cuda" if share else "cpu"
    data = Dataset.open(folder / "toy")
    config = SearchConfig(
        max_seeds=1,
        trials=trials,
        seed=len(name),
        concurrent=at_once or None,
        grace_epochs=2,
        gpus_per_worker=share,
    )
    made = Search(
        run=folder / name,
        dataset=data,
        base=toy_generators(schedule__constant_epochs=8, execution__device=device),
        space=load_space("joint"),
        config=config,
        store=Store(folder / "store", name),
        datasets={data.digest: data.folder},
    )
    early: list[float] = []
    looking = threading.Thread(target=look, args=(made.run, early), daemon=True)
    looking.start()
    made.best()
    keep_stages(made.run, made.needs(), made.store, {})
    print(json.dumps({"early_mb": (early or [0.0])[0], "late_mb": memory_mb()}))


def look(run: Path, early: list[float]) -> None:
    """Record the memory of this process when that many trials have ended."""
    while not early:
        time.sleep(1)
        with suppress(FileNotFoundError):
            if (run / "trials.csv").read_bytes().count(b"\n") > EARLY:
                early.append(memory_mb())


def memory_mb() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def main(address: str, folder: str, name: str, trials: str, at_once: str, share: str) -> None:
    ray.init(address, log_to_driver=False, logging_level="error")
    search(Path(folder), name, int(trials), int(at_once), float(share))
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
