"""The progress of a search: a table at the bottom of a terminal; elsewhere a line at intervals.

It imports no ray: `tune_callback.py` updates it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from thyroid import progress
from thyroid.progress import duration
from thyroid.tuning.trial_result import State, TrialResult

MOST_ROWS = 8
"""Most running trials that the table lists, which leaves room for the lines above it."""
WORDS = {"complete": "complete", "pruned": "stopped", "failed": "failed"}


@dataclass(kw_only=True)
class RunningTrial:
    """A running trial."""

    number: int
    epochs: int
    """Epochs of its whole schedule."""
    epoch: int = 0
    macro_f1: float | None = None
    """Mean over the trial's networks at its last rung, or a later value of one network."""
    at: str = ""
    """The stage that is computed for it, such as `dcgan 3`."""
    reused: int = 0
    """Stages reused up to its last report."""
    computed: int = 0
    """Stages computed up to its last report."""


class ProgressTable:
    """Counts a search's trials, and draws the table.

    Parameters
    ----------
    total : trials that the search runs in all
    budget_s : seconds after which it ends; None: no limit
    """

    def __init__(self, total: int, budget_s: float | None = None) -> None:
        self._total, self._budget_s = total, budget_s
        self._began = time.monotonic()
        self._before: int | None = None
        self._states: Counter[str] = Counter()
        self._reused = self._computed = 0
        self._best: tuple[float, int] | None = None
        self.running: dict[str, RunningTrial] = {}
        """Running trials by Tune's ids."""
        self.tick: progress.Tick = lambda: None
        """Redraws the table when it is due; call it often."""
        self.spent = ""
        """Used part of a budget of GPU-hours, such as `0.42 of 2 GPU-hours`."""

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the table within the block; its last state stays as a line."""
        try:
            with progress.live(self, self.line) as self.tick:
                yield
        finally:
            self.running.clear()
            if self.done > (self._before or 0):
                progress.say(self.line())

    def begin(
        self, ended: Iterable[tuple[TrialResult, State]], known: Iterable[TrialResult] = ()
    ) -> None:
        """Begin a round, in which no trial runs yet.

        Parameters
        ----------
        ended : trials of this search that have ended
        known : complete trials of other runs, which count only for the best value
        """
        self._states, self._best, self._reused, self._computed = Counter(), None, 0, 0
        self.running.clear()
        for result, state in ended:
            self._count(result, state)
        for result in known:
            self._compare(result)
        if self._before is None:
            self._before = self.done

    def end(self, name: str, result: TrialResult, state: State) -> None:
        """Count a running trial that has ended."""
        self.running.pop(name, None)
        self._count(result, state)

    def _count(self, result: TrialResult, state: State) -> None:
        self._states[state] += 1
        self._reused += result.reused_stages
        self._computed += result.computed_stages
        if state == "complete":
            self._compare(result)

    def _compare(self, result: TrialResult) -> None:
        if result.macro_f1 is not None:
            mine = (result.macro_f1, -result.number)
            self._best = mine if self._best is None else max(self._best, mine)

    @property
    def done(self) -> int:
        """The number of trials that have ended."""
        return self._states.total()

    @property
    def standing(self) -> str:
        """The best value and the trials so far, such as `best 0.843, 12/16`."""
        found = self._best
        best = "none complete yet" if found is None else f"best {found[0]:.3f}"
        return f"{best}, {self.done}/{self._total}"

    def line(self) -> str:
        """Return the progress in one line, with the stages at which two running trials are."""
        trials, states, *others = self._facts()
        running = [f"{len(self.running)} running"] if self.running else []
        at = sorted({trial.at for trial in self.running.values()} - {""})
        if at:
            running[0] += f" ({', '.join(at[:2])}{', ...' if len(at) > 2 else ''})"
        return f"search: {', '.join([trials, *running, states, *others])}"

    def _facts(self) -> list[str]:
        best, found = "", self._best  # another thread draws
        if found is not None:
            best = f", best {found[0]:.3f} (trial {-found[1]})"
        running = list(self.running.values())
        reused = self._reused + sum(trial.reused for trial in running)
        computed = self._computed + sum(trial.computed for trial in running)
        taken, left = duration(time.monotonic() - self._began), self._left_s()
        return [
            f"{self.done}/{self._total} trials{best}",
            ", ".join(f"{self._states[state]} {word}" for state, word in WORDS.items()),
            f"{computed} stages computed, {reused} reused",
            taken if left is None else f"{taken}, about {duration(left)} left",
            *([self.spent] if self.spent else []),
        ]

    def _left_s(self) -> float | None:
        """Return the seconds left at the present pace, or the budget's if fewer; None: unknown."""
        if self.done >= self._total:
            return None
        taken = time.monotonic() - self._began
        left = math.inf if self._budget_s is None else max(0.0, self._budget_s - taken)
        here = self.done - (self._before or 0)
        if here:
            left = min(left, taken / here * (self._total - self.done))
        return left if math.isfinite(left) else None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, in as few lines as the terminal's width allows."""
        yield Rule("search", align="left", style="dim")
        for line in _filled(self._facts(), options.max_width):
            yield Text(line, no_wrap=True, overflow="ellipsis")
        running = sorted(self.running.values(), key=lambda trial: trial.number)
        if not running:
            return
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("trial", "epoch", "macro-F1"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("at", no_wrap=True, overflow="ellipsis")
        for trial in running[:MOST_ROWS]:
            value = "" if trial.macro_f1 is None else f"{trial.macro_f1:.3f}"
            reached = f"{trial.epoch}/{trial.epochs}"
            table.add_row(str(trial.number), reached, value, Text(trial.at))
        yield table
        if len(running) > MOST_ROWS:
            yield Text(f"and {len(running) - MOST_ROWS} more running", style="dim")


def _filled(facts: Sequence[str], width: int) -> list[str]:
    """Join facts into lines, as many as fit in each."""
    lines = [facts[0]]
    for fact in facts[1:]:
        longer = f"{lines[-1]} · {fact}"
        if len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(fact)
    return lines
