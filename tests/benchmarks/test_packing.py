"""Many small trainings on one machine: one at a time, side by side, or stacked into one batch.

Throughput counts all images of all trainings; the ratio is to one training at a time on one thread.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.synchronize import Barrier

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from thyroid import machine
from thyroid.networks.build import build
from thyroid.recipe import ExecutionConfig, NetworkConfig
from thyroid.stages.compute import start

BATCH, SIZE, CLASSES = 32, 64, 7
SECONDS = 6.0
STACKED = (2, 4)


class _Training:
    """Steps of the small network on a fixed batch."""

    def __init__(self, threads: int) -> None:
        self.on = start(machine.resolve(ExecutionConfig(threads=threads)))
        self.network = self.on.place(build(NetworkConfig(), CLASSES)).train()
        self.x = self.on.arranged(torch.rand(BATCH, 1, SIZE, SIZE))
        self.truth = torch.arange(BATCH) % CLASSES
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=1e-4, fused=True)

    def step(self) -> None:
        with self.on.autocast():
            logits = self.network(self.x)
        self.optimiser.zero_grad()
        torch.autograd.backward(F.cross_entropy(logits.float(), self.truth))
        self.optimiser.step()


def _steps_per_second(step: object) -> float:
    assert callable(step)
    step()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        step()
        steps += 1
    return steps / (time.perf_counter() - began)


def _worker(threads: int, barrier: Barrier, rates: multiprocessing.Queue[float]) -> None:
    training = _Training(threads)
    training.step()
    barrier.wait()
    rates.put(_steps_per_second(training.step))


def _side_by_side(processes: int, threads: int) -> float:
    """Images/s of some processes that train at once."""
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=_worker, args=(threads, barrier, rates)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    total = sum(rates.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
    return BATCH * total


def _stacked(count: int, threads: int) -> float:
    """Images/s of some trainings whose weights lie in one tensor, by torch.func.vmap.

    Batch normalisation keeps no running statistics: vmap allows no change in place.
    """
    on = start(machine.resolve(ExecutionConfig(threads=threads)))
    networks = [on.place(build(NetworkConfig(), CLASSES)).train() for _ in range(count)]
    for module in (m for network in networks for m in network.modules()):
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    weights, _ = torch.func.stack_module_state(networks)  # type: ignore[no-untyped-call]
    weights = {name: value.detach().requires_grad_() for name, value in weights.items()}
    optimiser = torch.optim.AdamW(weights.values(), lr=1e-4, fused=True)
    x = torch.rand(count, BATCH, 1, SIZE, SIZE)
    truth = (torch.arange(BATCH) % CLASSES).expand(count, -1)

    def loss_of(own: dict[str, Tensor], x: Tensor, truth: Tensor) -> Tensor:
        with on.autocast():
            logits = torch.func.functional_call(networks[0], own, (x,))
        return F.cross_entropy(logits.float(), truth)

    def step() -> None:
        losses = torch.func.vmap(loss_of, randomness="different")(weights, x, truth)
        optimiser.zero_grad()
        torch.autograd.backward(losses.sum())
        optimiser.step()

    return BATCH * count * _steps_per_second(step)


def test_small_trainings_side_by_side_use_the_machine_best(benchmark: BenchmarkFixture) -> None:
    """One thread per stage and as many stages as processors, as the platform does, is fastest."""
    cores = machine.cores()
    if cores < 2:
        pytest.skip("one processor")

    def measure() -> dict[str, float]:
        found = {
            "one at a time, one thread": _side_by_side(1, 1),
            "one at a time, a thread per processor": _side_by_side(1, cores),
            "a one-thread process per processor": _side_by_side(cores, 1),
            "a process per processor, each with a thread per processor": _side_by_side(
                cores, cores
            ),
        }
        for count in STACKED:
            found[f"{count} stacked, one thread"] = _stacked(count, 1)
            found[f"{count} stacked, a thread per processor"] = _stacked(count, cores)
        return found

    threads = torch.get_num_threads()
    found = benchmark.pedantic(measure, rounds=1)
    torch.set_num_threads(threads)
    alone = found["one at a time, one thread"]
    print(f"\nload {os.getloadavg()[0]:.1f}")
    for way, rate in found.items():
        print(f"{way}: {rate:.0f} images/s, {rate / alone:.2f}")
    benchmark.extra_info |= found
    assert max(found, key=lambda way: found[way]) == "a one-thread process per processor"
