"""Stages that sleep, and log when and where each artifact is built.

They replace all stages in processes that have the folder `stubbed` on PYTHONPATH.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from tests.benchmarks import stubs
from thyroid.errors import Diverged

REPOSITORY = Path(__file__).parents[2]
PYTHONPATH = f"{REPOSITORY}:{Path(__file__).parent / 'stubbed'}"
LOG = "built.txt"
"""Name of the log in the store."""
GPU_SECONDS = 0.1
"""Seconds that a stage with a GPU sleeps, long enough that some of these stages overlap."""
PACE = "seconds.txt"
"""File in the store that has another number of seconds for stages with a GPU."""
ENDLESS = 100_000
"""Epochs of a stage that runs until it is interrupted or killed."""
FAILING = ENDLESS + 1
"""Epochs of a stage that diverges."""


@dataclass(frozen=True)
class Built:
    """A line of the log."""

    key: str
    """First 16 digits of the key."""
    node: str
    gpus: str
    """Ids of the GPUs that the stage held on the node, such as `0`."""
    began: float
    ended: float
    process: int
    visible: str
    """The process's CUDA_VISIBLE_DEVICES."""


def fit(config: Any, inputs: Mapping[str, Path], folder: Path) -> Iterator[dict[str, Any]]:
    """Sleep, like the stub of the benchmarks, and log it."""
    began, gpus = time.time(), ",".join(map(str, ray.get_gpu_ids()))
    if getattr(config, "epochs", 0) == FAILING:
        raise Diverged("It was meant to.")
    if getattr(config, "epochs", 0) == ENDLESS:
        (folder.parents[1] / f"{folder.name[:16]}.process").write_text(str(os.getpid()))
        while True:
            time.sleep(0.05)
    yield from stubs.fit(config, inputs, folder)
    pace = folder.parents[1] / PACE
    seconds = float(pace.read_text()) if pace.exists() else GPU_SECONDS
    time.sleep(seconds if gpus else 0.0)
    node = ray.get_runtime_context().get_node_id()
    with (folder.parents[1] / LOG).open("a") as log:
        process = f"{os.getpid()};{os.environ.get('CUDA_VISIBLE_DEVICES', '')}"
        log.write(f"{folder.name[:16]};{node};{gpus};{began};{time.time()};{process}\n")


def built(store: Path) -> list[Built]:
    """All lines of the log."""
    lines = (line.split(";") for line in (store / LOG).read_text().splitlines())
    return [
        Built(key, node, gpus, float(began), float(ended), int(process), visible)
        for key, node, gpus, began, ended, process, visible in lines
    ]
