"""Settings and fixtures of all tests: one thread, one toy data set, one Ray."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

# A shell lets jobs in the background, and all that they start, ignore Ctrl-C, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The machine may be busy: how long an example takes says nothing about the code.
settings.register_profile("thyroid", deadline=None)
settings.load_profile("thyroid")


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several parallel test processes one processor, so that none of them starts Ray
    for parallel trainings. Tests of Ray need all processors.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and "not ray" in config.option.markexpr:
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[int(worker.removeprefix("gw")) % len(processors)]})


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Use another cache than the user's; subprocesses inherit it."""
    os.environ["THYROID_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the toy data set: 90 images, 45 patients, 3 classes. Tests must not change it."""
    from tests.toy import write_toy

    return write_toy(tmp_path_factory.mktemp("toy") / "dataset").folder


@pytest.fixture(scope="session", params=range(int(os.environ.get("TOY_SEEDS", "1"))))
def seed(request: pytest.FixtureRequest) -> int:
    """Seed of a training whose result is tested: 0, or also others for `tests.processors`."""
    number: int = request.param
    return number


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Asserts that a training's result is `above` or `below` a bound; `tests.processors` reads it.

    `measured("likeness", value, above=0.9)`.
    """

    def check(result: str, value: float, **bound: float) -> None:
        ((side, limit),) = bound.items()
        if notes := os.environ.get("MEASURES"):
            of = {"test": f"{request.path.stem}.{request.node.originalname}", "result": result}
            of |= {"precision": os.environ["TOY_PRECISION"], "above": side == "above"}
            with open(notes, "a") as file:
                file.write(json.dumps(of | {"bound": limit, "value": float(value)}) + "\n")
        assert {"above": value > limit, "below": value < limit}[side], f"{result}: {value}"

    return check


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str], str], str]:
    """Checks that a command ends with status 2 and one line on stderr that contains the sentence;
    returns the line.
    """

    def check(command: list[str], sentence: str) -> str:
        from thyroid.cli import main

        capsys.readouterr()
        assert main(command) == 2, command
        told = capsys.readouterr().err
        assert sentence in told, told
        assert told.startswith("thyroid: "), told
        assert told.count("\n") == 1, told
        return told

    return check


@pytest.fixture
def calls_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], list[tuple[Any, ...]]]:
    """Records the calls of a function, which still does what it does: `calls_of(module, "name")`
    lists the positional arguments of each call and, last, its result.
    """

    def record(module: Any, name: str) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []
        function = getattr(module, name)

        def recorded(*given: Any, **named: Any) -> Any:
            result = function(*given, **named)
            calls.append((*given, result))
            return result

        monkeypatch.setattr(module, name, recorded)
        return calls

    return record


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """Ray on this machine with two processors, for all tests that need one."""
    from thyroid.execution.connection import connected

    with connected(cpus=2):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses Ray."""
    for item in items:
        if "ray_here" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)
