"""A process of a stage on a GPU has one GPU for its whole life, and Ray knows which.

The GPUs are not there: Ray is told that there are two.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections import Counter, defaultdict
from typing import Any

import pytest

from tests.cluster.stubs import PYTHONPATH
from tests.execution.made_up_gpus import GPUS
from thyroid.execution import gpu_workers

Line = dict[str, Any]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Output of `made_up_gpus`."""
    folder = tmp_path_factory.mktemp("gpus")
    with (folder / "errors.txt").open("w") as errors:
        done = subprocess.run(
            [sys.executable, "-m", "tests.execution.made_up_gpus", str(folder)],
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert done.returncode == 0, (folder / "errors.txt").read_text()[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def at_once(lines: list[Line]) -> int:
    """Maximum number of stages that ran at the same time."""
    return max(sum(o["began"] <= line["began"] < o["ended"] for o in lines) for line in lines)


@pytest.mark.ray
@pytest.mark.parametrize(("shares", "most"), [("whole", 1), ("halves", 2)])
def test_a_process_has_one_gpu_and_the_one_that_is_booked(
    told: dict[str, Any], shares: str, most: int
) -> None:
    lines: list[Line] = told[shares]
    gpus = defaultdict[int, set[str]](set)
    on_gpu = defaultdict[str, list[Line]](list)
    for line in lines:
        assert line["visible"] == line["gpus"]
        gpus[line["process"]].add(line["visible"])
        on_gpu[line["gpus"]].append(line)
    assert {len(seen) for seen in gpus.values()} == {1}
    assert len(on_gpu) == GPUS, "all are used"
    assert all(at_once(together) <= most for together in on_gpu.values())
    assert sum(at_once(together) for together in on_gpu.values()) == most * GPUS
    # two trainings of four segments for each process: they stay warm
    assert len(gpus) == most * GPUS
    assert len(lines) == 2 * 4 * len(gpus)
    assert min(Counter(line["process"] for line in lines).values()) > 1


@pytest.mark.ray
def test_a_stage_whose_process_is_killed_runs_again_in_another(told: dict[str, Any]) -> None:
    found = told["interrupted"]
    assert found["first"] != found["second"]


@pytest.mark.ray
def test_a_cancelled_stage_leaves_nothing_and_frees_its_gpu(told: dict[str, Any]) -> None:
    found = told["interrupted"]
    assert found["held"] == 1
    assert found["claims"] == []
    assert len(found["unfinished"]) == 1  # of the process that was killed
    assert len(found["next"]) == 1


@pytest.mark.ray
def test_a_worker_without_stages_gives_its_gpu_back(told: dict[str, Any]) -> None:
    found = told["interrupted"]
    assert found["held_idle"] == 1
    assert 0.5 < found["idle_seconds"] < 10


@pytest.mark.ray
def test_a_stage_that_failed_frees_its_gpu(told: dict[str, Any]) -> None:
    assert told["interrupted"]["failed"] == "It was meant to."


def test_what_a_stage_leaves_on_a_gpu_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    initialised = True
    cuda = types.SimpleNamespace(
        is_initialized=lambda: initialised, empty_cache=lambda: done.append("cache")
    )
    compiler = types.SimpleNamespace(reset=lambda: done.append("graphs"))
    monkeypatch.setattr(gpu_workers.gc, "collect", lambda: done.append("cycles"))
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda, compiler=compiler))
    monkeypatch.setitem(sys.modules, "torch._dynamo", types.SimpleNamespace())
    gpu_workers.release_memory()
    assert done == ["graphs", "cycles", "cache"]
    initialised = False
    gpu_workers.release_memory()
    assert len(done) == 3
