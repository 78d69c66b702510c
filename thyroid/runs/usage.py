"""Counts the node-hours and stage-hours of a run while a command works on it.

RUN/usage.json keeps them, and counting continues from there when the same command is run again. A
command that finds everything in the store adds nothing. The last seconds before a SIGKILL are not
counted. Imports no ray and no torch.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from thyroid.execution.meter import Meter, UsedHours
from thyroid.run_files.usage_json import (
    HOURS,
    Hours,
    Purpose,
    SearchBudget,
    Usage,
    read_usage,
    write_usage,
)

LOOK_EVERY_S = 2.0
"""Seconds between two readings of nodes and meters; the file is written after each."""

Resources = Mapping[str, float]
"""Such as {"CPU": 8, "GPU": 1}."""


class UsageRecord:
    """The hours of one run, by purpose.

    Parameters
    ----------
    run : the run's folder
    nodes : returns the nodes that are alive now

    Raises
    ------
    InputError
        When usage.json is damaged.
    """

    def __init__(self, run: Path, nodes: Callable[[], Sequence[Resources]]) -> None:
        self._run, self._nodes = run, nodes
        known = read_usage(run)
        self._before: dict[str, Hours] = {h.purpose: h for h in known.purposes} if known else {}
        self._lock = threading.Lock()
        self._purpose: Purpose | None = None
        self._now: defaultdict[str, float] = defaultdict(float)
        """Hours of the present `counting` block."""
        self._there: Sequence[Resources] = ()
        self._last = 0.0
        self._meters: list[Callable[[], UsedHours]] = []
        self._seen: dict[str, UsedHours] = {}
        self.budget: SearchBudget | None = None

    def used(self, purpose: str, name: str = "gpu_hours") -> float:
        """Return the hours of a purpose so far, including those of earlier commands."""
        before = getattr(self._before.get(purpose), name, 0.0)
        return before + (self._now[name] if purpose == self._purpose else 0.0)

    @contextlib.contextmanager
    def counting(self, purpose: Purpose) -> Iterator[Meter]:
        """Count hours for a purpose within the block; yield the meter that counts stages.

        Raises
        ------
        StorageError
            When usage.json cannot be written.
        """
        meter, over = Meter(), threading.Event()
        self._purpose, self._now = purpose, defaultdict(float)
        self._last = time.monotonic()
        self._there = self._nodes()
        looking = threading.Thread(target=self._look, args=(over,), daemon=True)
        looking.start()
        try:
            with self.reading(meter.used):
                yield meter
        except BaseException:
            with contextlib.suppress(Exception):  # the block's own error matters more
                self._finish(looking, over)
            raise
        self._finish(looking, over)

    @contextlib.contextmanager
    def reading(self, used: Callable[[], UsedHours]) -> Iterator[None]:
        """Also read another meter within the block, which must be inside a `counting` block."""
        self._meters.append(used)
        try:
            yield
        finally:
            self._add()
            self._meters.remove(used)

    def write(self) -> None:
        """Write usage.json in its present state."""
        with self._lock:
            purposes = tuple(self._so_far().values())
            write_usage(self._run, Usage(budget=self.budget, purposes=purposes))

    def _look(self, over: threading.Event) -> None:
        """Read the nodes and the meters at intervals, until `over` is set."""
        while not over.wait(LOOK_EVERY_S):
            with contextlib.suppress(Exception):  # the command itself reports such errors
                self._there = self._nodes()
                self._add()
                self.write()

    def _finish(self, looking: threading.Thread, over: threading.Event) -> None:
        over.set()
        looking.join(2 * LOOK_EVERY_S)  # the thread may wait for a cluster that is gone
        self._add()
        self._before, self._purpose = self._so_far(), None
        self.write()

    def _so_far(self) -> dict[str, Hours]:
        if self._purpose is None or not self._now["stage_hours"]:  # nothing was computed
            return self._before
        summed = {name: self.used(self._purpose, name) for name in HOURS}
        return self._before | {self._purpose: Hours(purpose=self._purpose, **summed)}

    def _add(self) -> None:
        """Add the hours since the last reading."""
        with self._lock:
            now = time.monotonic()
            hours, self._last = (now - self._last) / 3600, now
            for there in ({"hours": 1.0}, *map(_there, self._there)):
                for name, number in there.items():
                    self._now[name] += number * hours
            for meter in list(self._meters):
                with contextlib.suppress(Exception):  # the meter's process may be restarting
                    self._read(meter())

    def _read(self, shown: UsedHours) -> None:
        before = self._seen.get(shown.meter, UsedHours(meter=shown.meter))
        self._seen[shown.meter] = shown
        for name in ("stage_hours", "processor_hours", "gpu_hours"):
            self._now[name] += getattr(shown, name) - getattr(before, name)


def _there(node: Resources) -> dict[str, float]:
    gpus = node.get("GPU", 0.0)
    return {
        "node_hours": 1.0,
        "gpu_node_hours": float(gpus > 0),
        "there_processor_hours": node.get("CPU", 0.0),
        "there_gpu_hours": gpus,
    }
