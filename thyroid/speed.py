"""In what a classifier trains fastest on this machine: precision, and layout of pictures in memory.

A wrong choice costs more than anything else that could be tuned, and which is wrong depends on the
network: bf16 doubles the speed of a ResNet on a processor that has it, and there makes an
EfficientNet, whose depthwise convolutions have no such kernels, four times slower. So it is
measured, for each network once per machine, and kept in the user's cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thyroid import machine
from thyroid.cache import cache_folder
from thyroid.errors import StorageError
from thyroid.files import replace_text
from thyroid.networks.registry import build, require_size
from thyroid.recipe import ExecutionConfig, Layout, NetworkConfig, Precision, Recipe
from thyroid.stages.compute import Compute, start

FILE = "speed.json"
BATCH, CLASSES = 8, 7
HOPELESS = 1.5
"""Times slower than another at first sight: not looked at again."""
PATIENCE_S = 5.0
"""After which no more is tried: large networks."""
CLEARLY = 1.15
"""Times faster than the usual way that another must be: what computes a result is part of its
name, and a busy moment must not make it another."""


class Way(NamedTuple):
    """Of computing."""

    precision: Precision
    layout: Layout

    def __str__(self) -> str:
        return " ".join(self)


def fastest(recipe: Recipe, asked: ExecutionConfig) -> Recipe:
    """The recipe with what its classifier's `auto` comes to on this machine.

    Parameters
    ----------
    recipe : its execution is resolved
    asked : the execution as the user gave it; a precision that is named there holds

    Raises
    ------
    InputError
        When there is no such network, or pictures are too small for it.
    """
    network, execution = recipe.network, recipe.execution
    precision = asked.precision if network.precision == "auto" else network.precision
    precisions: tuple[Precision, ...] = ("bf16", "fp32") if precision == "auto" else (precision,)
    layouts: tuple[Layout, ...] = ("channels_last", "contiguous")
    if network.layout != "auto":
        layouts = (network.layout,)
    ways = [Way(precision, layout) for layout in layouts for precision in precisions]
    way = ([way for way in ways if way.precision == execution.precision] or ways)[0]
    if len(ways) > 1 and (execution.device == "cpu" or torch.cuda.is_available()):
        speeds = _known(network, recipe.input.size, execution, ways)
        best = max(speeds, key=lambda way: speeds[way])
        if speeds[best] > CLEARLY * speeds.get(way, 0.0):
            way = best
    chosen = dataclasses.replace(network, precision=way.precision, layout=way.layout)
    return dataclasses.replace(recipe, network=chosen)


def _known(
    network: NetworkConfig, size: int, execution: ExecutionConfig, ways: list[Way]
) -> dict[Way, float]:
    """Images/s of each way that is worth it: from the cache, or measured now."""
    # x_i and the weights that training starts from make no difference worth a measurement
    plain = NetworkConfig(name=network.name, width=network.width)
    gpu = execution.device == "cuda"
    about = {
        "device": torch.cuda.get_device_name() if gpu else machine.cpu_name(),
        "threads": execution.threads,
        "torch": torch.__version__,
        "network": [plain.name, plain.width],
        "size": size,
        "ways": list(map(str, ways)),
    }
    name = json.dumps(about)
    known = _cached()
    if name not in known:
        speeds = measure(plain, size, execution, ways)
        known = _cached() | {name: {str(way): round(speed, 1) for way, speed in speeds.items()}}
        with contextlib.suppress(StorageError):  # then it is measured again
            replace_text(cache_folder("speed") / FILE, json.dumps(known, indent=1) + "\n")
    return {way: known[name][str(way)] for way in ways if str(way) in known[name]}


def _cached() -> dict[str, dict[str, float]]:
    """What was measured before; nothing, where that cannot be read."""
    try:
        known: dict[str, dict[str, float]] = json.loads((cache_folder("speed") / FILE).read_text())
    except (StorageError, OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def measure(
    network: NetworkConfig, size: int, execution: ExecutionConfig, ways: list[Way]
) -> dict[Way, float]:
    """Images/s of passes forward and backward, in each way that there was time to try."""
    require_size(network, size)
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = build(network, CLASSES).train()
        x = torch.rand(BATCH, 1, size, size)
    took: dict[Way, float] = {}
    began = time.monotonic()
    try:
        for way in ways:
            if not took or time.monotonic() - began < PATIENCE_S:
                _seconds(built, x, execution, way)  # what is loaded and chosen once
                took[way] = _seconds(built, x, execution, way)
        best = min(took.values())
        for way in [way for way in took if took[way] <= HOPELESS * best]:
            if time.monotonic() - began < PATIENCE_S:
                took[way] = min(took[way], _seconds(built, x, execution, way))
    finally:
        torch.set_num_threads(threads)
    return {way: BATCH / seconds for way, seconds in took.items()}


def _seconds(network: nn.Module, x: Tensor, execution: ExecutionConfig, way: Way) -> float:
    """Of one pass forward and backward."""
    on = start(dataclasses.replace(execution, workers=1, **way._asdict()))
    network, x = on.place(network), on.arranged(x.to(on.device))
    truth = torch.arange(len(x), device=on.device) % CLASSES
    network.zero_grad()
    _wait(on)
    began = time.perf_counter()
    with on.autocast():
        logits = network(x)
    torch.autograd.backward(F.cross_entropy(logits.float(), truth))
    _wait(on)
    return time.perf_counter() - began


def _wait(on: Compute) -> None:
    if on.device.type == "cuda":
        torch.cuda.synchronize()
