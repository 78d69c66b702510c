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
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thyroid import machine
from thyroid.errors import StorageError
from thyroid.files import replace_text
from thyroid.networks.build import build, require_fit, require_size
from thyroid.recipe import ExecutionConfig, Layout, NetworkConfig, Precision, Recipe
from thyroid.stages.compute import start
from thyroid.storage.cache import cache_folder

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


def fastest(recipe: Recipe, before: Recipe | None = None) -> Recipe:
    """The recipe with what its classifier's `auto` comes to: as before, else measured.

    A precision in `execution` that is not this machine's own choice is the user's, and holds for
    the classifier, too. On a GPU nothing is measured: bf16, channels last.

    Parameters
    ----------
    recipe : its execution is resolved
    before : what the run began with, where it goes on: that is not measured again

    Raises
    ------
    InputError
        When there is no such network, or pictures are too small for it.
    """
    network, execution = recipe.network, recipe.execution
    if before is not None:
        network = _as_before(network, before.network)
    own = machine.resolve(dataclasses.replace(execution, precision="auto")).precision
    precisions: tuple[Precision, ...] = ("bf16", "fp32")
    if network.precision != "auto":
        precisions = (network.precision,)
    elif execution.precision != own:
        precisions = ("fp32",) if execution.precision == "fp32" else ("bf16",)
    layouts: tuple[Layout, ...] = ("channels_last", "contiguous")
    if network.layout != "auto":
        layouts = (network.layout,)
    ways = [Way(precision, layout) for layout in layouts for precision in precisions]
    way = next((way for way in ways if way.precision == own), ways[0])
    ways.sort(key=lambda other: other != way)  # what is usual is always measured
    if len(ways) > 1 and execution.device == "cpu":
        speeds = _known(network, recipe.input.size, execution, ways)
        best = max(speeds, key=lambda way: speeds[way])
        if speeds[best] > CLEARLY * speeds[way]:
            way = best
    chosen = dataclasses.replace(network, precision=way.precision, layout=way.layout)
    return dataclasses.replace(recipe, network=chosen)


def _as_before(network: NetworkConfig, before: NetworkConfig) -> NetworkConfig:
    """The network in the way that a run began with, where none is asked for."""
    if before.name != network.name:
        return network
    return dataclasses.replace(
        network,
        precision=before.precision if network.precision == "auto" else network.precision,
        layout=before.layout if network.layout == "auto" else network.layout,
    )


def _known(
    network: NetworkConfig, size: int, execution: ExecutionConfig, ways: list[Way]
) -> dict[Way, float]:
    """Images/s of each way that is worth it: from the cache, or measured now."""
    # x_i and the weights that training starts from make no difference worth a measurement
    plain = NetworkConfig(name=network.name, width=network.width)
    about = {
        "processor": machine.cpu_name(),
        "threads": execution.threads,
        "torch": torch.__version__,
        "network": [plain.name, plain.width],
        "size": size,
        "ways": list(map(str, ways)),
    }
    name = json.dumps(about)
    try:
        before = _cached()[name]
        speeds = {way: float(before[str(way)]) for way in ways if str(way) in before}
    except (KeyError, TypeError, ValueError):  # not known, or not as it was written
        speeds = {}
    if ways[0] not in speeds:
        speeds = measure(plain, size, execution, ways)
        known = _cached() | {name: {str(way): round(speed, 1) for way, speed in speeds.items()}}
        with contextlib.suppress(StorageError):  # then it is measured again
            replace_text(cache_folder("speed") / FILE, json.dumps(known, indent=1) + "\n")
    return speeds


def _cached() -> dict[str, Any]:
    """What was measured before; nothing, where that cannot be read."""
    try:
        known = json.loads((cache_folder("speed") / FILE).read_text())
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
    require_fit(built, network, size, CLASSES)
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
    network, x = on.place(network), on.arranged(x)
    truth = torch.arange(len(x)) % CLASSES
    network.zero_grad()
    began = time.perf_counter()
    with on.autocast():
        logits = network(x)
    torch.autograd.backward(F.cross_entropy(logits.float(), truth))
    return time.perf_counter() - began
