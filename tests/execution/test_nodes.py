"""Resources of a stage, and whether the nodes have room for it."""

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
import ray

from thyroid import machine
from thyroid.errors import InputError
from thyroid.execution import nodes
from thyroid.execution.nodes import require_room, task_processors, worker_gpus
from thyroid.recipe import ExecutionConfig


def test_the_task_of_several_workers_requests_nothing_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = [{"CPU": 9.0}, {"CPU": 5.0, "GPU": 1.0}]
    monkeypatch.setattr(nodes, "node_resources", lambda: there)
    cpu = ExecutionConfig(device="cpu", precision="fp32", threads=3)
    gpu = ExecutionConfig(device="cuda", precision="bf16")
    assert task_processors(cpu) == 3
    assert task_processors(cpu, alone=True) == 9
    assert task_processors(gpu, 0.25) == 1
    assert task_processors(gpu, 0.25, alone=True) == 5
    several = ExecutionConfig(device="cpu", precision="fp32", workers=2)
    assert task_processors(several, alone=True) == 0


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


@pytest.mark.parametrize(
    ("device", "listed", "usable", "sentence"),
    [
        ("cuda", 4.0, 4, None),
        ("cpu", 0.0, 0, None),
        ("cpu", 4.0, 2, "The recipe trains on processors, and there are 4 GPUs: give --gpus-per"),
        ("cpu", 4.0, 0, "Ray lists 4 GPUs, but torch on their node can use none"),
    ],
)
def test_gpus_that_a_recipe_does_not_use_are_told(
    monkeypatch: pytest.MonkeyPatch, device: str, listed: float, usable: int, sentence: str | None
) -> None:
    said: list[str] = []
    monkeypatch.setattr(nodes, "node_resources", lambda: [{"CPU": 4.0, "GPU": listed}, {}])
    there = dataclasses.replace(machine.here(), gpus=usable)
    monkeypatch.setattr(nodes, "abilities", lambda gpus: there)
    monkeypatch.setattr(nodes, "say", said.append)
    nodes.tell_unused_gpus(ExecutionConfig(device=device, precision="fp32"))
    assert len(said) == (sentence is not None)
    assert sentence is None or sentence in said[0]


def test_without_a_node_for_stages_this_machine_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    head = {"Alive": True, "NodeID": "head", "Resources": {"CPU": 0.0}}
    cpu = {"Alive": True, "NodeID": "cpu", "Resources": {"CPU": 4.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [head, cpu])
    assert nodes.abilities(0.5) == machine.here()


@pytest.mark.usefixtures("ray_here")
def test_a_node_says_what_it_computes_in() -> None:
    assert nodes.abilities() == machine.here()
