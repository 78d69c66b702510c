"""The cluster's nodes: the resources of each, those a stage needs, and whether a stage fits."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from thyroid import machine
from thyroid.errors import InputError
from thyroid.machine import Processor
from thyroid.progress import duration, say
from thyroid.recipe import ExecutionConfig


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """Return the strategy that keeps an actor on this machine."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def share_of_this_node() -> dict[str, float]:
    """Return resources that keep a Tune trial on this machine; trials accept no strategy."""
    return {f"node:{ray.util.get_node_ip_address()}": 0.0001}


def node_resources() -> list[dict[str, float]]:
    """Return the resources of every node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def abilities(gpus: float = 0.0, wait_s: float = 0.0) -> Processor:
    """Ask a node that can run stages about its processor, without reserving its resources.

    Parameters
    ----------
    gpus : GPUs of a worker; 0: a node with GPUs is asked if there is one
    wait_s : seconds that the cluster may take to add such a node; after that, this machine
        is asked
    """
    deadline = time.monotonic() + wait_s
    while not (found := [node for node in _computing() if node["Resources"].get("GPU", 0) >= gpus]):
        if time.monotonic() >= deadline:
            return machine.here()
        time.sleep(1)
    node = max(found, key=lambda node: node["Resources"].get("GPU", 0.0))
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    # A task without GPUs sees all GPUs of its node: Ray does not change CUDA_VISIBLE_DEVICES.
    answer: Processor = ray.get(_abilities.options(scheduling_strategy=there).remote())
    return answer


# `max_calls`: the process ends, because it may have a CUDA context.
@ray.remote(num_cpus=0, max_calls=1)  # type: ignore[untyped-decorator]  # ray ships no types
def _abilities() -> Processor:
    return machine.here()


def _computing() -> list[dict[str, Any]]:
    """Return the nodes that are alive and have a processor for stages."""
    return [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0.0) >= 1]


def tell_unused_gpus(execution: ExecutionConfig) -> None:
    """Tell the user if the cluster has GPUs but the recipe trains on processors."""
    listed = sum(node.get("GPU", 0.0) for node in node_resources())
    if execution.device != "cpu" or not listed:
        return
    if abilities(0.01).gpus:
        say(machine.unused_gpus(listed))
    else:
        say(
            f"Ray lists {listed:g} GPUs, but torch on their node can use none: check the node's "
            "driver and that its torch was built for CUDA. The recipe trains on processors."
        )


def dead_nodes() -> frozenset[str]:
    """Return the ids of the nodes that have died."""
    return frozenset(node["NodeID"] for node in ray.nodes() if not node["Alive"])


def most_processors(gpus: float) -> float:
    """Return the processors of the largest node with at least this many GPUs."""
    nodes = [node for node in node_resources() if node.get("GPU", 0.0) >= gpus]
    return max((node.get("CPU", 1.0) for node in nodes), default=1.0)


def worker_gpus(execution: ExecutionConfig, gpus_per_worker: float) -> float:
    """Return the GPUs of one worker; each of several gets a whole GPU, as NCCL requires."""
    if execution.device != "cuda":
        return 0.0
    return 1.0 if execution.workers > 1 else gpus_per_worker or 1.0


def task_processors(
    execution: ExecutionConfig, gpus_per_worker: float = 0.0, *, alone: bool = False
) -> float:
    """Return the processors that a stage's task requests; Ray Train requests those of several
    workers.

    Parameters
    ----------
    alone : True: all processors of a node
    """
    if execution.workers > 1:
        return 0.0
    gpus = worker_gpus(execution, gpus_per_worker)
    return most_processors(gpus) if alone else float(execution.threads)


def held_resources(execution: ExecutionConfig, gpus_per_worker: float) -> tuple[float, float]:
    """Return the processors and GPUs that all workers of a stage hold together."""
    gpus = worker_gpus(execution, gpus_per_worker)
    return float(execution.threads * execution.workers), gpus * execution.workers


def require_room(execution: ExecutionConfig, gpus_per_worker: float, wait_s: float = 0.0) -> None:
    """Refuse a stage that does not fit on the cluster: its tasks would wait forever.

    Parameters
    ----------
    wait_s : seconds that the cluster may take to grow until there is room

    Raises
    ------
    InputError
        When one worker needs more processors or GPUs than any node has, or all workers together
        need more than the cluster has.
    """
    deadline = time.monotonic() + wait_s
    announced = False
    while (shortage := _shortage(execution, gpus_per_worker)) is not None:
        if time.monotonic() >= deadline:
            raise InputError(f"{shortage}: lower execution.threads, workers or --gpus-per-worker.")
        if not announced:
            say(f"waiting up to {duration(wait_s)} for the cluster to grow. {shortage}")
        announced = True
        time.sleep(1)


def _shortage(execution: ExecutionConfig, gpus_per_worker: float) -> str | None:
    """Return a sentence on the resource that the cluster lacks now; None if there is room."""
    nodes = node_resources()
    gpus = worker_gpus(execution, gpus_per_worker)
    takes = {"CPU": float(execution.threads)} | ({"GPU": gpus} if gpus else {})
    for name, each in takes.items():
        available = [node.get(name, 0.0) for node in nodes]
        largest, needed = max(available, default=0.0), each * execution.workers
        if each > largest:
            return f"A worker takes {each:g} {name}s, and Ray has {largest:g} on its largest node"
        if needed > sum(available):
            return (
                f"A training of {execution.workers} workers takes {needed:g} {name}s, and Ray has "
                f"{sum(available):g}"
            )
    room = sum(
        min(int(node.get(name, 0.0) / each) for name, each in takes.items()) for node in nodes
    )
    if room >= execution.workers:
        return None
    each_takes = " and ".join(f"{each:g} {name}s" for name, each in takes.items())
    return (  # the sum is enough, but the single nodes are too small
        f"A training takes {execution.workers} workers of {each_takes} each, and Ray's nodes "
        f"have room for {room}"
    )
