"""The progress of a search: the table, the lines, and the callback that updates them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import ray
from rich.console import Console

from tests.execution.test_stage_scheduler import ENDLESS, segments, until, within
from tests.short_trainings import FEW
from tests.toy import toy_generators, toy_recipe, where
from tests.waiting import wait_until
from thyroid import pipeline, progress
from thyroid.configuration import to_json
from thyroid.data.dataset import Dataset
from thyroid.execution.stage_scheduler import StageScheduler
from thyroid.runs.usage import UsageRecord
from thyroid.storage.store import Store
from thyroid.tuning import progress_table
from thyroid.tuning.budget import Budget
from thyroid.tuning.progress_table import MOST_ROWS, ProgressTable, RunningTrial
from thyroid.tuning.search_config import SearchConfig
from thyroid.tuning.study import finished, open_study
from thyroid.tuning.trial_result import State, TrialResult
from thyroid.tuning.tune_callback import SearchCallback
from thyroid.tuning.tune_search import Search


def ended(
    number: int, state: State = "complete", value: float | None = 0.5
) -> tuple[TrialResult, State]:
    return TrialResult(number=number, macro_f1=value, reused_stages=5, computed_stages=2), state


def busy() -> ProgressTable:
    """A table of 16 trials: four have ended, ten are running."""
    table = ProgressTable(16)
    table.begin([ended(0), ended(1, "pruned", 0.9), ended(2, "failed", None), ended(3)])
    for number in range(4, 14):
        at = f"dcgan {number}"
        table.running[f"id{number}"] = RunningTrial(number=number, epochs=40, epoch=number, at=at)
    table.running["id4"].macro_f1 = 0.75
    return table


def drawn(table: ProgressTable, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 100])
def test_the_table_says_it_all_on_every_terminal(width: int) -> None:
    lines = drawn(busy(), width)
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    for fact in (
        "4/16 trials, best 0.500 (trial 0)",  # the first of the equal ones
        "2 complete, 1 stopped, 1 failed",
        "8 stages computed, 20 reused",
    ):
        assert fact in text
    assert any(line.split() == ["4", "4/40", "0.750", "dcgan", "4"] for line in lines)
    assert lines[-1].strip() == "and 2 more running"
    assert len(lines) <= MOST_ROWS + 7


def test_a_round_begins_with_what_the_study_knows() -> None:
    table = busy()
    table.end("id4", *ended(4, value=0.8))
    assert table.standing == "best 0.800, 5/16"
    table.begin([ended(number) for number in range(5)], [ended(9, value=0.7)[0]])
    assert table.standing == "best 0.700, 5/16"  # a trial from another run has not ended here
    assert table.line().startswith("search: 5/16 trials, best 0.700 (trial 9), 5 complete")
    assert "10 stages computed, 25 reused" in table.line()


def test_time_left_follows_the_pace_and_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_table.time, "monotonic", lambda: now[0])
    free, bound = ProgressTable(16), ProgressTable(16, budget_s=100)
    for table in (free, bound):
        table.begin([ended(number) for number in range(8)])  # of an earlier command
    now[0] = 40
    assert free.line().endswith("reused, 40 s")
    assert bound.line().endswith("40 s, about 1 min 00 s left")
    for table in (free, bound):
        for number in (8, 9):
            table.end("", *ended(number))
    assert free.line().endswith("40 s, about 2 min 00 s left")
    assert bound.line().endswith("40 s, about 1 min 00 s left")
    for number in range(10, 16):
        bound.end("", *ended(number))
    assert bound.line().endswith("reused, 40 s")  # nothing is left to do


def test_in_a_pipe_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    written, now = io.StringIO(), [0.0]
    monkeypatch.setattr(progress, "console", Console(file=written, force_terminal=False))
    monkeypatch.setattr(progress_table.time, "monotonic", lambda: now[0])
    table = busy()
    with table.shown():
        for _ in range(100):
            now[0] += 0.25
            table.tick()
        table.end("id4", *ended(4, value=0.8))
    lines = written.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("search: 4/16 trials, best 0.500 (trial 0), 10 running (")
    assert "10 running (dcgan 10, dcgan 11, ...), 2 complete" in lines[0]
    assert lines[-1].startswith("search: 5/16 trials, best 0.800 (trial 4), 3 complete")
    assert "\x1b" not in written.getvalue()


def test_a_terminal_is_left_clean_also_by_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    terminal = Console(
        file=written, force_terminal=True, highlight=False, color_system=None, width=60, height=20
    )
    monkeypatch.setattr(progress, "console", terminal)
    table = busy()

    def interrupted() -> None:
        with table.shown():
            progress.say("trial 4 has ended")
            table.end("id4", *ended(4, value=0.8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    shown = written.getvalue()
    assert "trial 4 has ended" in shown
    assert "and 2 more running" in shown
    hidden, visible = "\x1b[?25l", "\x1b[?25h"
    assert shown.index(hidden) < shown.rindex(visible)  # the cursor is back
    after = shown[shown.rindex(visible) :]
    assert "search: 5/16 trials, best 0.800 (trial 4)" in after
    assert "running" not in after


@pytest.mark.usefixtures("ray_here")
def test_the_scheduler_says_what_it_computes_for_each_subscriber(toy: Path, tmp_path: Path) -> None:
    scheduler = StageScheduler(Store(tmp_path), where(toy))
    endless = segments(toy, **ENDLESS)[1]
    made = pipeline.classifier(toy_generators(dcgan__epochs=5000), Dataset.open(toy).digest, 0)

    async def come_and_go() -> None:
        own = asyncio.create_task(scheduler.request([endless], "own"))
        at_work = await until(lambda: scheduler.running().get("own", {}).get("validation_macro_f1"))
        assert at_work > 0
        found = scheduler.running()["own"]
        assert (found["stage"], found["own"]) == ("classifier", True)
        scheduler.unsubscribe("own")
        other = asyncio.create_task(scheduler.request([made[-1]], "other"))
        found = await until(lambda: scheduler.running().get("other"))
        assert not found["own"]  # a generator, or its label filter
        scheduler.unsubscribe("other")
        assert scheduler.running() == {}
        await asyncio.gather(own, other, return_exceptions=True)

    within(60, come_and_go())


@pytest.mark.usefixtures("ray_here")
def test_the_callback_updates_the_table_and_writes_once_a_trial_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=written, force_terminal=False))
    answer = {"t": {"stage": "classifier", "epoch": 3, "validation_macro_f1": 0.4, "own": True}}
    left: list[str] = []
    scheduler = SimpleNamespace(
        running=SimpleNamespace(remote=lambda: ray.put(answer)),
        unsubscribe=SimpleNamespace(remote=left.append),
    )
    table, writings = ProgressTable(2), list[int]()
    table.begin([])
    budget = Budget(None, 2.0, UsageRecord(tmp_path, list))
    stopped = set[str]()
    callback = SearchCallback(table, scheduler, stopped, lambda: writings.append(1), None, budget)
    recipe = toy_recipe()
    trial = SimpleNamespace(
        trial_id="t", config={"number": 7, "recipe": json.dumps(to_json(recipe))}
    )
    callback.on_trial_start(1, [], trial)

    def has_answer() -> bool:
        callback.on_step_end(1, [])
        return table.running["t"].epoch == 3

    wait_until(has_answer)
    running = table.running["t"]
    assert (running.number, running.epochs, running.macro_f1) == (7, recipe.schedule.epochs, 0.4)
    assert not writings
    trial.last_result = {"number": 7, "epoch": 4, "epochs": 4, "macro_f1": 0.625}
    callback.on_trial_complete(1, [], trial)
    for _ in range(3):
        callback.on_step_end(1, [])
    assert writings == [1]
    assert left == ["t"]
    assert not table.running
    assert written.getvalue() == "trial 7: macro-F1 0.625 (best 0.625, 1/2)\n"
    assert table.line().endswith(", 0.00 of 2 GPU-hours")

    callback.on_trial_start(2, [], trial)
    assert table.running
    trial.last_result = {"number": 7, "epoch": 3, "epochs": 4, "macro_f1": 0.5}
    monkeypatch.setattr(Budget, "over", lambda _: True)
    assert callback.end.stop_all()
    callback.on_trial_complete(2, [], trial)
    assert not table.running
    assert table.done == 1  # it was interrupted: the same command runs it again

    callback.on_trial_start(3, [], trial)
    stopped.add("t")
    callback.on_trial_complete(3, [], trial)
    assert table.done == 2
    assert written.getvalue().endswith(
        "trial 7: stopped at epoch 3 of 4, macro-F1 0.500 (best 0.625, 2/2)\n"
    )


def test_an_interrupted_search_writes_its_files(tmp_path: Path) -> None:
    """The interruption is the error that is raised, even if writing fails."""
    written: list[str] = []

    class Interrupted(SimpleNamespace):
        def _run_trials(self, _: Budget) -> None:
            raise KeyboardInterrupt

        def write(self) -> None:
            written.append("files")
            raise OSError("the disk is full")

    search = Interrupted(
        run=Path(),
        study=SimpleNamespace(get_trials=lambda **_: []),
        config=SearchConfig(),
        usage=UsageRecord(tmp_path, list),
        _require_crosses=lambda: None,
        warm_start=lambda: None,
    )
    with pytest.raises(KeyboardInterrupt):
        Search.best(search)  # type: ignore[arg-type]
    assert written == ["files"]


@pytest.mark.ray
def test_a_report_is_there_while_the_search_goes_on_and_nothing_stays(
    toy: Path, tmp_path: Path
) -> None:
    """`thyroid search` rebuilds its report while trials run. Interrupted, it says where the report
    is, its table has the trials that ended, its status is 130, and no report is being built.
    """
    run, space, lines = tmp_path / "run", tmp_path / "own.py", tmp_path / "lines"
    space.write_text(
        "from thyroid.recipe import override\n"
        "def space(trial, recipe):\n"
        "    rate = trial.suggest_float('rate', 1e-4, 1e-2, log=True)\n"
        "    return override(recipe, {'optimiser.learning_rate': rate})\n"
    )
    command = ["search", str(toy), str(run), "--space", str(space), *FEW]
    command += ["--trials", "10000", "--concurrent", "1", "--report-every", "5s"]
    with lines.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "thyroid.cli", *command],
            stdout=subprocess.DEVNULL,
            stderr=written,
        )

    def seen() -> bool:
        """Return True once a page shows a trial that has ended, and its computed stages, and the
        search has said where it is.
        """
        try:
            page = json.loads((run / "report.json").read_text())
        except FileNotFoundError:
            return False
        shown = bool(page["search"]["ended"]) and page["sharing"] is not None
        return shown and "report so far" in lines.read_text()

    def building() -> bool:
        """Return True if a process builds the report."""
        for about in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it has ended
                words = about.read_bytes().split(b"\0")
                if b"report" in words and os.fsencode(run) in words:
                    return True
        return False

    try:
        wait_until(seen, process, 180)
        os.kill(process.pid, signal.SIGINT)
        process.wait(timeout=120)
    finally:
        process.kill()
        process.wait()
    shown = lines.read_text()
    assert process.returncode == 130
    assert f"report so far: {run / 'report.html'}" in shown
    assert "could not be rebuilt" not in shown
    assert "search: " in shown
    ended = finished(open_study(run / "study.journal", ("macro_f1",)))
    assert 0 < len(pd.read_csv(run / "trials.csv")) == len(ended) < 10000
    assert not building()
