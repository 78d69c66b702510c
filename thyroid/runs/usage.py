"""What a run has used: node-hours and stage-hours, counted while a command works on it.

RUN/usage.json keeps them, and counting goes on from there when the same command is run again. A
command that finds everything in the store adds nothing. What was used in the last seconds before a
SIGKILL is not in it. No ray, no torch.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from thyroid.errors import InputError
from thyroid.execution.meter import Meter, UsedHours
from thyroid.files import replace_text

FILE = "usage.json"

LOOK_EVERY_S = 2.0
"""Between two looks at nodes and meters, after which the file is written."""

GPU_HOURS = "gpu_hours"
HOURS = (
    "hours",
    "node_hours",
    "gpu_node_hours",
    "there_processor_hours",
    "there_gpu_hours",
    "stage_hours",
    "processor_hours",
    GPU_HOURS,
)
"""Of a part of a run: how long commands worked on it; nodes, and those of them with GPUs, times the
hours that they lived meanwhile; their processors and GPUs, times these hours; stages, and the
processors and GPUs that they held, times the hours that they ran."""

PARTS = ("search", "final")
"""The trying of recipes, seed race included; the trainings of what was chosen."""

LIMITS = ("time_hours", GPU_HOURS)
"""Of a search's budget: of one command, and of the search with all its interruptions."""

Resources = Mapping[str, float]
"""Such as {"CPU": 8, "GPU": 1}."""


class UsageRecord:
    """The costs of one run, by part (see `PARTS`).

    Parameters
    ----------
    run : its folder
    nodes : the machines that live now

    Raises
    ------
    InputError
        When usage.json is damaged.
    """

    def __init__(self, run: Path, nodes: Callable[[], Sequence[Resources]]) -> None:
        self._path, self._nodes = run / FILE, nodes
        known = read_usage(self._path) or {"parts": []}
        self._parts: dict[str, dict[str, float]] = {
            row["part"]: {n: row[n] for n in HOURS} for row in known["parts"]
        }
        self._lock = threading.Lock()
        self._part, self._row = "", dict.fromkeys(HOURS, 0.0)
        self._there: Sequence[Resources] = ()
        self._last = 0.0
        self._meters: list[Callable[[], UsedHours]] = []
        self._seen: dict[str, UsedHours] = {}
        self.budget: dict[str, Any] | None = None
        """What a search may use, and what of it ended the search."""

    def used(self, part: str, name: str = GPU_HOURS) -> float:
        """Hours of a part so far, those of earlier commands included."""
        now = self._row[name] if part == self._part else 0.0
        return self._parts.get(part, {}).get(name, 0.0) + now

    @contextlib.contextmanager
    def counting(self, part: str) -> Iterator[Meter]:
        """Count within the block, for a part, with the meter that this gives.

        Raises
        ------
        StorageError
            When usage.json cannot be written.
        """
        meter, over = Meter(), threading.Event()
        self._part, self._row = part, dict.fromkeys(HOURS, 0.0)
        self._last = time.monotonic()
        self._there = self._nodes()
        looking = threading.Thread(target=self._look, args=(over,), daemon=True)
        looking.start()
        try:
            with self.reading(meter.used):
                yield meter
        except BaseException:
            with contextlib.suppress(Exception):  # what ended the block is to be told
                self._finish(looking, over)
            raise
        self._finish(looking, over)

    @contextlib.contextmanager
    def reading(self, used: Callable[[], UsedHours]) -> Iterator[None]:
        """Read another meter, too, within the block, which lies within that of `counting`."""
        self._meters.append(used)
        try:
            yield
        finally:
            self._add()
            self._meters.remove(used)

    def write(self) -> None:
        """Write usage.json as of now."""
        with self._lock:
            parts = [{"part": name, **row} for name, row in self._so_far().items()]
            content = {"format_version": 1, "budget": self.budget, "parts": parts}
            replace_text(self._path, json.dumps(content, indent=1) + "\n")

    def _look(self, over: threading.Event) -> None:
        """Look at the nodes and the meters now and then, until it is over."""
        while not over.wait(LOOK_EVERY_S):
            with contextlib.suppress(Exception):  # the command itself will tell
                self._there = self._nodes()
                self._add()
                self.write()

    def _finish(self, looking: threading.Thread, over: threading.Event) -> None:
        over.set()
        looking.join(2 * LOOK_EVERY_S)  # it may wait for a cluster that is gone
        self._add()
        self._parts, self._part = self._so_far(), ""
        self.write()

    def _so_far(self) -> dict[str, dict[str, float]]:
        if not (self._part and self._row["stage_hours"]):  # nothing has been computed
            return self._parts
        before = self._parts.get(self._part, dict.fromkeys(HOURS, 0.0))
        return self._parts | {self._part: {n: before[n] + self._row[n] for n in HOURS}}

    def _add(self) -> None:
        """Add what was used since the last time."""
        with self._lock:
            now = time.monotonic()
            hours, self._last = (now - self._last) / 3600, now
            for there in ({"hours": 1.0}, *map(_there, self._there)):
                for name, number in there.items():
                    self._row[name] += number * hours
            for meter in list(self._meters):
                with contextlib.suppress(Exception):  # its process may be starting again
                    self._read(meter())

    def _read(self, shown: UsedHours) -> None:
        before = self._seen.get(shown.meter, UsedHours(meter=shown.meter))
        self._seen[shown.meter] = shown
        for name in ("stage_hours", "processor_hours", GPU_HOURS):
            self._row[name] += getattr(shown, name) - getattr(before, name)


def _there(node: Resources) -> dict[str, float]:
    gpus = node.get("GPU", 0.0)
    return {
        "node_hours": 1.0,
        "gpu_node_hours": float(gpus > 0),
        "there_processor_hours": node.get("CPU", 0.0),
        "there_gpu_hours": gpus,
    }


def read_usage(path: Path) -> dict[str, Any] | None:
    """What usage.json says: `budget`, and `parts`, each with `HOURS`; None where a run has none.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        costs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        budget = costs["budget"]
        numbers = [row[name] for row in costs["parts"] for name in HOURS]
        numbers += [budget[name] or 0.0 for name in LIMITS] if budget else []
        sound = all(math.isfinite(number) and number >= 0 for number in numbers)
        sound = sound and all(row["part"] in PARTS for row in costs["parts"])
        sound = sound and (not budget or budget["ended"] in (None, *LIMITS))
    except (OSError, ValueError, TypeError, KeyError):
        sound = False
    if not sound:
        raise InputError(f"{path} is damaged: delete it, and what was used before counts no more.")
    return costs
