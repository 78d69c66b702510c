"""Hours of nodes and of stages are counted once, stored, and added to later."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.toy import toy_recipe, where
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError, StorageError
from thyroid.execution.in_process import in_process
from thyroid.execution.meter import Meter, UsedHours, in_process_metered
from thyroid.run_files.usage_json import HOURS, SearchBudget
from thyroid.runs.usage import UsageRecord
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Store
from thyroid.tuning.budget import Budget, BudgetUsedUp

HOUR = 3600.0
NODES = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0}]


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets hours pass."""
    now = [0.0]
    clock = type("Clock", (), {"monotonic": lambda: now[0]})
    monkeypatch.setattr("thyroid.runs.usage.time", clock)
    monkeypatch.setattr("thyroid.execution.meter.time", clock)
    monkeypatch.setattr(
        "thyroid.runs.usage.LOOK_EVERY_S", HOUR
    )  # hours are counted at the end of the block

    def pass_by(hours: float) -> None:
        now[0] += hours * HOUR

    return pass_by


def rows(run: Path) -> dict[str, dict[str, Any]]:
    return {row["purpose"]: row for row in json.loads((run / "usage.json").read_text())["purposes"]}


def test_a_meter_counts_what_runs_what_has_run_and_what_was_cut(
    wait: Callable[[float], None],
) -> None:
    meter = Meter()
    meter.end("never begun")
    meter.begin("a", 4, 0.5)
    wait(1)
    meter.begin("b", 1, 2)
    wait(2)
    used = meter.used()
    assert (used.stage_hours, used.processor_hours, used.gpu_hours) == (5, 3 * 4 + 2, 3 * 0.5 + 4)
    meter.end("a")
    wait(1)
    meter.end("b")
    wait(5)
    used = meter.used()
    assert (used.stage_hours, used.processor_hours, used.gpu_hours) == (6, 3 * 4 + 3, 3 * 0.5 + 6)
    assert Meter().used().meter != used.meter


def test_hours_of_nodes_and_stages_go_on_from_where_they_were(
    tmp_path: Path, wait: Callable[[float], None]
) -> None:
    for total in (1, 2):
        usage = UsageRecord(tmp_path, lambda: NODES)
        with usage.counting("search") as meter:
            meter.begin("a", 4, 1)
            wait(0.5)
            meter.end("a")
            wait(1.5)
        with usage.counting("final") as meter:
            meter.begin("b", 1, 0)
            wait(1)
        found = rows(tmp_path)
        assert found["search"] == {
            "purpose": "search",
            "hours": 2 * total,
            "node_hours": 4 * total,
            "gpu_node_hours": 2 * total,
            "there_processor_hours": 48 * total,
            "there_gpu_hours": 4 * total,
            "stage_hours": 0.5 * total,
            "processor_hours": 2 * total,
            "gpu_hours": 0.5 * total,
        }
        assert found["final"]["node_hours"] == 2 * total
        assert found["final"]["gpu_hours"] == 0
        assert usage.used("search") == 0.5 * total
        assert usage.used("elsewhere") == 0


def test_a_command_that_computes_nothing_adds_nothing(
    tmp_path: Path, wait: Callable[[float], None]
) -> None:
    usage = UsageRecord(tmp_path, lambda: NODES)
    with usage.counting("final"):
        wait(1)
    assert rows(tmp_path) == {}
    with usage.counting("final") as meter:
        meter.begin("a", 1, 1)
        wait(1)
    content = (tmp_path / "usage.json").read_bytes()
    assert usage.used("final") == 1
    with UsageRecord(tmp_path, lambda: NODES).counting("final"):
        wait(1)
    assert (tmp_path / "usage.json").read_bytes() == content


def test_a_meter_whose_process_died_begins_anew_and_nothing_is_counted_twice(
    tmp_path: Path, wait: Callable[[float], None]
) -> None:
    usage = UsageRecord(tmp_path, lambda: NODES)
    shown = [UsedHours(meter="first", stage_hours=1.0, gpu_hours=3.0)]

    def used() -> UsedHours:
        return shown[0]

    with usage.counting("search"):
        with usage.reading(used):
            pass
        assert usage.used("search") == 3
        with usage.reading(used):
            shown[0] = UsedHours(meter="first", stage_hours=1.0, gpu_hours=4.0)
        shown[0] = UsedHours(meter="second", stage_hours=1.0, gpu_hours=0.5)
        with usage.reading(used):
            pass
        with usage.reading(lambda: shown[1]):  # it is gone
            wait(1)
    assert usage.used("search") == 4.5
    assert usage.used("search", "hours") == 1


def test_what_is_counted_is_written_meanwhile_and_where_the_block_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thyroid.runs.usage.LOOK_EVERY_S", 0.05)
    looks = iter([NODES[:1], NODES])
    usage = UsageRecord(tmp_path, lambda: next(looks))  # then the cluster is gone
    seen: list[float] = []

    def interrupted() -> None:
        with usage.counting("search") as meter:
            meter.begin("a", 1, 1)
            deadline = time.monotonic() + 20
            while not seen:
                assert time.monotonic() < deadline
                if (tmp_path / "usage.json").exists():
                    seen.append(rows(tmp_path)["search"]["gpu_hours"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    after = rows(tmp_path)["search"]
    assert after["gpu_hours"] > seen[0] > 0
    assert after["node_hours"] > after["hours"] > 0
    assert list(after) == ["purpose", *HOURS]


def test_a_disk_that_fails_is_told_and_what_failed_before_comes_first(tmp_path: Path) -> None:
    usage = UsageRecord(tmp_path / "gone", lambda: NODES)
    with pytest.raises(StorageError, match="Cannot write"), usage.counting("final"):
        pass
    with pytest.raises(ZeroDivisionError), usage.counting("final"):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "content", ["", "{}", '{"budget": null, "purposes": [{"purpose": "search", "hours": -1}]}']
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "usage.json").write_text(content)
    with pytest.raises(InputError, match=r"usage.json is damaged: delete it"):
        UsageRecord(tmp_path, lambda: NODES)


def test_a_runner_in_this_process_holds_its_threads(toy: Path, tmp_path: Path) -> None:
    stages = pipeline.classifier(toy_recipe(execution__threads=2), Dataset.open(toy).digest, 0)
    meter, store = Meter(), Store(tmp_path)
    metrics = list(in_process_metered(store, where(toy), meter)(stages[:1]))
    assert metrics
    assert all(m["reused"] for m in in_process(store, where(toy))(stages[:1]))
    used = meter.used()
    assert used.processor_hours == pytest.approx(2 * used.stage_hours)
    assert used.stage_hours > 0
    assert used.gpu_hours == 0
    list(in_process_metered(store, where(toy), meter)(stages[:1]))  # it is there
    assert meter.used() == used


def test_a_budget_is_over_with_its_seconds_or_its_gpu_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("thyroid.tuning.budget.time.monotonic", lambda: now[0])
    usage = UsageRecord(tmp_path, list)
    free = Budget(None, None, usage)
    now[0] = 1e9
    assert not free.over()
    assert free.spent() == ""
    bound = Budget(100, 2.0, usage)
    assert usage.budget == SearchBudget(time_hours=100 / HOUR, gpu_hours=2.0)
    now[0] += 99
    assert not bound.over()
    monkeypatch.setattr(usage, "used", lambda part: 1.25)
    assert bound.spent() == "1.25 of 2 GPU-hours"
    assert not bound.over()
    monkeypatch.setattr(usage, "used", lambda part: {"search": 2.0}[part])
    assert bound.over()
    assert usage.budget.ended == "gpu_hours"
    now[0] += 10
    assert bound.over()
    assert usage.budget.ended == "gpu_hours"  # what it was first
    assert Budget(None, 2.0, usage).over()  # earlier commands have used them up
    assert not Budget(None, 2.5, usage).over()
    late = Budget(5, None, usage)
    now[0] += 5
    assert late.over()
    assert usage.budget.ended == "time_hours"


def test_a_runner_ends_with_the_budget(tmp_path: Path) -> None:
    ended: list[bool] = []

    def endless(_: Sequence[Stage]) -> Iterator[EpochMetrics]:
        try:
            for epoch in range(1000):
                yield {"epoch": epoch}
        finally:
            ended.append(True)

    usage = UsageRecord(tmp_path, list)
    budget = Budget(None, 2.0, usage)
    runner = budget.limited(endless)([])
    assert [next(runner)["epoch"] for _ in range(3)] == [0, 1, 2]
    assert not ended
    usage.used = lambda part: 2.0  # type: ignore[method-assign,assignment,misc]
    with pytest.raises(BudgetUsedUp):
        list(runner)
    assert ended
