"""Progress of a command: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_INTERVAL_S = 10.0
"""Time between two plain lines."""

Advance = Callable[[int, int], None]
"""advance(done, total)."""

Tick = Callable[[], None]
"""tick(): to be called often; prints a line when it is time."""

DRAWN_PER_S = 2.0
"""Refresh rate of a live table."""

console = Console(stderr=True, highlight=False)
"""Progress and remarks go to stderr; results go to stdout."""


def say(text: str) -> None:
    """Print one line for the user."""
    console.print(text, markup=False, soft_wrap=True)


@contextlib.contextmanager
def bar(what: str, unit: str) -> Iterator[Advance]:
    """Show the progress of a loop; the block calls `advance(done, total)` as it goes."""
    began = time.monotonic()
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(what, total=None, rate="")

            def advance(done: int, total: int) -> None:
                rate = _rate(done, began, unit)
                progress.update(task, completed=done, total=total, rate=rate)

            yield advance
        return

    last = began
    first: tuple[float, int] | None = None

    def advance_plainly(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        first = first or (now, done)  # what came before it, such as the start of workers, is over
        if now - last >= PLAIN_INTERVAL_S or (done == total and now - began >= PLAIN_INTERVAL_S):
            last = now
            line = f"{what}: {done}/{total}, {_rate(done, began, unit)}"
            then, before = first
            if done > before:
                line += f", {duration((now - then) * (total - done) / (done - before))} left"
            say(line)

    yield advance_plainly


@contextlib.contextmanager
def live(table: RenderableType, line: Callable[[], str]) -> Iterator[Tick]:
    """Show a table at a terminal's bottom during the block; lines of `say` scroll above it.

    Without a terminal, `line()` is printed every `PLAIN_INTERVAL_S` seconds, for which the block
    calls `tick()` often.
    """
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(
            get_renderable=lambda: table,
            console=console,
            refresh_per_second=DRAWN_PER_S,
            transient=True,
            redirect_stdout=False,  # results stay on stdout
        ):
            yield lambda: None
        return

    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_INTERVAL_S:
            last = time.monotonic()
            say(line())

    yield tick


def duration(seconds: float) -> str:
    """Format seconds: `75` -> `1 min 15 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _rate(done: int, began: float, unit: str) -> str:
    rate = done / max(time.monotonic() - began, 1e-9)
    return f"{rate:.1f} {unit}/s" if rate >= 0.5 else f"{60 * rate:.1f} {unit}/min"
