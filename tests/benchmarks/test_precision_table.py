"""thyroid/precision.py's table: images/s of training in each precision and layout, one thread.

`pytest tests/benchmarks/test_precision_table.py -m '' -s -k resnet`; with ONEDNN_MAX_CPU_ISA=AVX2,
AVX512_CORE or AVX512_CORE_BF16 as on a processor without amx_bf16.
"""

from __future__ import annotations

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
"""Least share of the fastest way's speed."""
WAYS = list(itertools.product(("bf16", "fp32"), ("channels_last", "contiguous")))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_table_is_nearly_the_fastest(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if "ONEDNN_MAX_CPU_ISA" in os.environ:
        without = dataclasses.replace(machine.here(), cpu_amx_bf16=False)
        monkeypatch.setattr(machine, "here", lambda: without)
    recipe = override(Recipe(), {"network.name": name, "execution.device": "cpu"})
    recipe = dataclasses.replace(recipe, execution=machine.resolve(recipe.execution))
    by_table = resolve_precision(recipe).network
    network = build(recipe.network, CLASSES).train()
    threads = torch.get_num_threads()
    speeds = benchmark.pedantic(lambda: images_per_second(network, recipe), rounds=1)
    torch.set_num_threads(threads)
    print(f"\n{name}: " + ", ".join(f"{' '.join(way)} {speeds[way]:.0f}" for way in WAYS))
    assert speeds[by_table.precision, by_table.layout] >= ASKED * max(speeds.values())


def images_per_second(network: nn.Module, recipe: Recipe) -> dict[tuple[str, str], float]:
    """Speed of a pass forward and backward: processor time, which other processes add less to."""
    truth, images = torch.arange(BATCH) % CLASSES, torch.rand(BATCH, 1, SIZE, SIZE)
    took = dict.fromkeys(WAYS, float("inf"))
    until = time.monotonic() + SECONDS
    for turn in range(ROUNDS):
        for way in WAYS:
            if turn > 1 and (took[way] > 3 * min(took.values()) or time.monotonic() > until):
                continue
            precision, layout = way
            on = start(dataclasses.replace(recipe.execution, precision=precision, layout=layout))
            placed, x = on.place(network), on.arranged(images)
            network.zero_grad()
            began = time.process_time()
            with on.autocast():
                logits = placed(x)
            torch.autograd.backward(F.cross_entropy(logits.float(), truth))
            took[way] = min(took[way], time.process_time() - began)
    return {way: BATCH / seconds for way, seconds in took.items()}
