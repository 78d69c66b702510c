"""Counts how many hours stages run, and the processors and GPUs that they hold in this time."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from thyroid.execution.in_process import Datasets, Runner, in_process
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class UsedHours:
    """A meter's reading, in hours."""

    meter: str
    """The meter's name; a restarted meter begins at zero under another name."""
    stage_hours: float = 0.0
    processor_hours: float = 0.0
    gpu_hours: float = 0.0


class Meter:
    """Counts how long stages run, and the processors and GPUs that they hold in this time."""

    def __init__(self) -> None:
        self._name = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._past = (0.0, 0.0, 0.0)
        self._running: dict[str, tuple[float, float, float]] = {}

    def begin(self, stage: str, processors: float, gpus: float) -> None:
        """Start to count a stage, with the processors and GPUs that it holds."""
        with self._lock:
            self._running[stage] = (time.monotonic(), processors, gpus)

    def end(self, stage: str, *, counts: bool = True) -> None:
        """Stop counting a stage, however it ended; a stage that never began counts nothing."""
        with self._lock:
            began = self._running.pop(stage, None)
            if began is not None and counts:
                self._past = _added(self._past, began)

    def used(self) -> UsedHours:
        """Return the hours so far, running stages included."""
        with self._lock:
            total = self._past
            for began in self._running.values():
                total = _added(total, began)
        stages, processors, gpus = (seconds / 3600 for seconds in total)
        return UsedHours(
            meter=self._name, stage_hours=stages, processor_hours=processors, gpu_hours=gpus
        )


def _added(
    total: tuple[float, float, float], began: tuple[float, float, float]
) -> tuple[float, float, float]:
    since, processors, gpus = began
    seconds = time.monotonic() - since
    return total[0] + seconds, total[1] + seconds * processors, total[2] + seconds * gpus


def in_process_metered(store: Store, datasets: Datasets, meter: Meter) -> Runner:
    """Return `in_process` with its stages counted by a meter."""

    def run(wanted: Sequence[Stage]) -> Iterator[EpochMetrics]:
        executions = [stage.execution for final in wanted for stage in final.lineage()]
        gpu = any(execution.device == "cuda" for execution in executions)
        threads = max(execution.threads for execution in executions)
        try:
            meter.begin("", threads, float(gpu))
            for metrics in in_process(store, datasets)(wanted):
                meter.end("", counts=not metrics["reused"])
                yield metrics
                meter.begin("", threads, float(gpu))
            meter.end("", counts=False)
        finally:
            meter.end("")

    return run
