"""Resources of a stage, and whether the nodes have room for it."""

from dataclasses import replace
from typing import Any

import pytest
import ray

from thyroid.errors import InputError
from thyroid.execution.nodes import require_room, task_resources, worker_gpus
from thyroid.recipe import ExecutionConfig


def test_the_task_of_several_workers_requests_nothing_itself() -> None:
    cpu = ExecutionConfig(device="cpu", precision="fp32", threads=3)
    gpu = ExecutionConfig(device="cuda", precision="bf16")
    assert task_resources(cpu, 0) == {"num_cpus": 3, "num_gpus": 0}
    assert task_resources(gpu, 0) == {"num_cpus": 1, "num_gpus": 1}
    assert task_resources(gpu, 0.25) == {"num_cpus": 1, "num_gpus": 0.25}
    several = ExecutionConfig(device="cpu", precision="fp32", workers=2)
    assert task_resources(several, 0) == {"num_cpus": 0}


def test_each_of_several_workers_takes_a_whole_gpu() -> None:
    gpu = ExecutionConfig(device="cuda", precision="bf16")
    assert worker_gpus(gpu, 0.25) == 0.25
    assert worker_gpus(replace(gpu, workers=2), 0.25) == 1
    assert worker_gpus(ExecutionConfig(device="cpu", precision="fp32", workers=2), 0.25) == 0


@pytest.mark.parametrize(
    ("nodes", "execution", "gpus_per_worker", "sentence"),
    [
        ([{"CPU": 4.0}, {"CPU": 4.0}], {"threads": 4, "workers": 2}, 0.0, None),
        ([{"CPU": 4.0}, {"CPU": 4.0}], {"threads": 5}, 0.0, "A worker takes 5 CPUs, .* has 4 on"),
        ([{"CPU": 4.0}], {"threads": 4, "workers": 2}, 0.0, "2 workers takes 8 CPUs, .* has 4:"),
        ([{"CPU": 3.0}, {"CPU": 3.0}], {"threads": 2, "workers": 3}, 0.0, "nodes have room for 2:"),
        ([], {}, 0.0, "A worker takes 1 CPUs, and Ray has 0 on"),
        ([{"CPU": 8.0, "GPU": 1.0}], {"device": "cuda"}, 0.25, None),
        (
            [{"CPU": 8.0, "GPU": 1.0}],
            {"device": "cuda", "workers": 2},
            0.25,
            "2 workers takes 2 GPUs, and Ray has 1:",
        ),
        ([{"CPU": 2.0, "GPU": 2.0}], {"device": "cuda", "workers": 2}, 0.25, None),
        (
            [{"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0}],
            {"device": "cuda", "threads": 2},
            0.0,
            "1 workers of 2 CPUs and 1 GPUs each, and Ray's nodes have room for 0:",
        ),
    ],
)
def test_a_stage_that_no_node_has_room_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, float]],
    execution: dict[str, Any],
    gpus_per_worker: float,
    sentence: str | None,
) -> None:
    listed = [{"Alive": True, "Resources": node} for node in nodes]
    listed.append({"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}})
    monkeypatch.setattr(ray, "nodes", lambda: listed)
    config = ExecutionConfig(**{"device": "cpu", "precision": "fp32"} | execution)
    if sentence is None:
        require_room(config, gpus_per_worker)
    else:
        with pytest.raises(InputError, match=sentence):
            require_room(config, gpus_per_worker)
