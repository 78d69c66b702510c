"""Two hundred trials on 32 nodes, then eight searches at once on one store: nothing is lost,
nothing is computed twice, and the search's process does not grow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

from tests.cluster.load import EARLY, nodes
from tests.cluster.stubs import PYTHONPATH, built
from tests.toy import write_toy
from thyroid.run_files.stages_json import read_stages
from thyroid.storage.store import Store
from thyroid.tuning.study import finished, open_study
from thyroid.tuning.trial_result import stored_result

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

NODES, AT_ONCE = 32, 16
"""Number of nodes, and of trials that run at the same time."""
TRIALS = int(os.environ.get("LOAD_TRIALS", "200"))
"""Number of trials of the large search; a thousand take six minutes."""


def begin(
    address: str, folder: Path, name: str, trials: int, at_once: int, share: float = 0.0
) -> subprocess.Popen[str]:
    words = [address, str(folder), name, str(trials), str(at_once), str(share)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.load", *words],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        stdout=subprocess.PIPE,
        stderr=(folder / f"{name}.txt").open("w"),
        text=True,
    )


def ended(process: subprocess.Popen[str], folder: Path, name: str) -> dict[str, float]:
    printed, _ = process.communicate()
    assert process.returncode == 0, (folder / f"{name}.txt").read_text()[-3000:]
    # Ray writes its warnings to the same output, before and after
    (line,) = [line for line in printed.splitlines() if line.startswith("{")]
    figures: dict[str, float] = json.loads(line)
    return figures


def require_whole(folder: Path, name: str, trials: int) -> set[str]:
    """Require that all trials ended and that the store has all artifacts that they and the race
    needed; return the keys.
    """
    table = pd.read_csv(folder / name / "trials.csv")
    assert list(table["number"]) == list(range(trials))
    assert set(table["state"]) <= {"complete", "pruned"}
    study = open_study(folder / name / "study.journal")
    assert len(study.get_trials(deepcopy=False)) == trials
    store = Store(folder / "store")
    of_trials = {key for trial in finished(study) for key in stored_result(trial).stages.split()}
    keys = {stage.key for stage in read_stages(folder / name) or ()}
    assert keys >= of_trials > set()
    assert table["macro_f1"].nunique() > 2
    assert all(key in store for key in keys)
    return keys


def require_built_once(folder: Path, keys: set[str]) -> Counter[str]:
    """Require that each key, and no other, was built once; return the number of builds by node."""
    lines = built(folder / "store")
    times = Counter(line.key for line in lines)
    assert set(times) == {key[:16] for key in keys}
    assert set(times.values()) == {1}
    return Counter(line.node for line in lines)


def test_stages_share_gpus_by_fraction(tmp_path: Path) -> None:
    """A whole search on two nodes with two GPUs each runs two stages at once on every GPU, never
    three. The GPUs do not exist; they are only declared to Ray. Whole GPUs are in
    `tests/execution/test_gpu_workers.py`.
    """
    share, most = 0.5, 2
    write_toy(tmp_path / "toy", crosses=20)
    with nodes(2, gpus=2) as address:
        ended(begin(address, tmp_path, "gpus", 24, 16, share), tmp_path, "gpus")
    lines = [line for line in built(tmp_path / "store") if line.gpus]
    at_once: Counter[tuple[str, str]] = Counter()
    seen: dict[int, set[str]] = {}
    for line in lines:
        assert line.visible == line.gpus
        seen.setdefault(line.process, set()).add(line.visible)
        gpu = (line.node, line.gpus)
        others = [other for other in lines if (other.node, other.gpus) == gpu]
        meeting = sum(other.began <= line.began < other.ended for other in others)
        at_once[gpu] = max(at_once[gpu], meeting)
    assert {len(gpus) for gpus in seen.values()} == {1}
    assert len(at_once) == 4, "both GPUs of both nodes"
    assert max(at_once.values()) == most


def test_hundreds_of_trials_on_many_nodes(tmp_path: Path) -> None:
    """No trial is lost and no stage computed twice, and memory does not grow with the trials."""
    write_toy(tmp_path / "toy", crosses=20)
    with nodes(NODES) as address:
        figures = ended(begin(address, tmp_path, "one", TRIALS, AT_ONCE), tmp_path, "one")
    on_node = require_built_once(tmp_path, require_whole(tmp_path, "one", TRIALS))
    assert len(on_node) >= AT_ONCE // 2  # Ray fills a node before it takes the next
    grown = figures["late_mb"] - figures["early_mb"]
    assert grown < 0.25 * (TRIALS - EARLY)  # a quarter of a megabyte a trial


def test_many_searches_at_once_on_one_store(tmp_path: Path) -> None:
    """Pairs of searches make the same proposals, so one waits for what the other builds. There are
    few nodes, because each search has its own workers on every node.
    """
    write_toy(tmp_path / "toy", crosses=20)
    names = ["a", "b", "aa", "bb", "aaa", "bbb", "aaaa", "bbbb"]
    with nodes(2) as address, ExitStack() as stack:
        at_work = {n: stack.enter_context(begin(address, tmp_path, n, 15, 2)) for n in names}
        for name, process in at_work.items():
            ended(process, tmp_path, name)
    keys = set().union(*(require_whole(tmp_path, name, 15) for name in names))
    require_built_once(tmp_path, keys)
    assert not list((tmp_path / "store" / "claims").iterdir())
    assert not list((tmp_path / "store" / "building").iterdir())
