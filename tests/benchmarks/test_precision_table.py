"""thyroid/precision.py's table: images/s of training in each precision and layout, one thread.

`pytest tests/benchmarks/test_precision_table.py -m '' -s -k resnet`; with ONEDNN_MAX_CPU_ISA=AVX2,
AVX512_CORE or AVX512_CORE_BF16 as on a processor without amx_bf16. Where torch can use a GPU it is
measured, too, and what torch.compile gains there is printed. That has not been run yet.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import os
import time

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

from thyroid import machine
from thyroid.networks.build import build
from thyroid.networks.registry import NETWORKS
from thyroid.precision import resolve_precision
from thyroid.recipe import Recipe, override
from thyroid.stages.compute import start

BATCH, SIZE, CLASSES = 32, 64, 7
ROUNDS, SECONDS = 8, 20.0
ASKED = 0.9
"""Lowest allowed share of the highest speed."""
Way = tuple[str, str, str]
"""Precision, layout, and whether compiled."""
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def ways(device: str) -> list[Way]:
    """All combinations that are tried; torch.compile, a choice of the user, only on GPUs."""
    compiled = ("off", "on") if device == "cuda" else ("off",)
    return list(itertools.product(("bf16", "fp32"), ("channels_last", "contiguous"), compiled))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_table_is_nearly_the_fastest(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, name: str, device: str
) -> None:
    if "ONEDNN_MAX_CPU_ISA" in os.environ:
        without = dataclasses.replace(machine.here(), cpu_amx_bf16=False)
        monkeypatch.setattr(machine, "here", lambda: without)
    recipe = override(Recipe(), {"network.name": name, "execution.device": device})
    recipe = dataclasses.replace(recipe, execution=machine.resolve(recipe.execution))
    by_table = resolve_precision(recipe).network
    network = build(recipe.network, CLASSES).train()
    threads = torch.get_num_threads()
    speeds = benchmark.pedantic(lambda: images_per_second(network, recipe), rounds=1)
    torch.set_num_threads(threads)
    print(f"\n{name}: " + ", ".join(f"{' '.join(way)} {each:.0f}" for way, each in speeds.items()))
    plain = {way: speed for way, speed in speeds.items() if way[-1] == "off"}
    assert plain[by_table.precision, by_table.layout, "off"] >= ASKED * max(plain.values())


def images_per_second(network: nn.Module, recipe: Recipe) -> dict[Way, float]:
    """Speed of a forward and a backward pass: by processor time, which depends less on other
    processes; on a GPU by the time until it has finished.
    """
    truth, images = torch.arange(BATCH) % CLASSES, torch.rand(BATCH, 1, SIZE, SIZE)
    took = dict.fromkeys(ways(recipe.execution.device), float("inf"))
    compiled: dict[Way, nn.Module] = {}
    until = time.monotonic() + SECONDS
    for turn in range(ROUNDS):
        for way in took:
            if turn > 1 and (took[way] > 3 * min(took.values()) or time.monotonic() > until):
                continue
            precision, layout, how = way
            on = start(dataclasses.replace(recipe.execution, precision=precision, layout=layout))
            if how == "off":
                placed = on.place(network)
            elif way not in compiled:
                own = on.place(copy.deepcopy(network))
                placed = compiled[way] = on.parallel(own, compiled=True)
            else:
                placed = compiled[way]
            x, y = on.arranged(images.to(on.device)), truth.to(on.device)
            placed.zero_grad()
            began = _now(on.device)
            with on.autocast():
                logits = placed(x)
            torch.autograd.backward(F.cross_entropy(logits.float(), y))
            took[way] = min(took[way], _now(on.device) - began)
    return {way: BATCH / seconds for way, seconds in took.items()}


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
