"""Any process may die at any time: nothing is lost, doubled or changed, and nothing waits for it.
Each search here is a separate process with its own Ray in its session, which is ended after the
test.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest
from optuna.trial import FrozenTrial

from tests.cluster.outcomes import SPENT
from tests.toy import toy_generators, where
from tests.tuning.test_tune_search import best_recipe
from tests.waiting import wait_until
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.space import load_space
from thyroid.storage.store import Store
from thyroid.tuning.search_config import SearchConfig
from thyroid.tuning.study import read_study

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

TRIALS = 5

SEARCH = """
import sys
from pathlib import Path
from tests.tuning.test_kills import search
from thyroid.execution.connection import connected
with connected(cpus=2):
    search(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
"""


def search(toy: Path, run: Path, concurrent: int) -> None:
    config = SearchConfig(
        trials=TRIALS, max_seeds=1, concurrent=concurrent, grace_epochs=2, reduction_factor=2
    )
    base = toy_generators(schedule__constant_epochs=8)
    space, store = load_space("augmentation"), Store(run / "store", "run")
    best_recipe(run, Dataset.open(toy), base, space, config, store, where(toy))


def table(run: Path) -> pd.DataFrame:
    """Return trials.csv without the columns that depend on time and on reuse."""
    return pd.read_csv(run / "trials.csv").drop(columns=SPENT)


@pytest.fixture(scope="module")
def undisturbed(
    toy: Path, tmp_path_factory: pytest.TempPathFactory, ray_here: None
) -> pd.DataFrame:
    run = tmp_path_factory.mktemp("undisturbed")
    search(toy, run, concurrent=1)
    return table(run)


@contextmanager
def searching(toy: Path, run: Path, concurrent: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    run.mkdir(exist_ok=True)
    with (run / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SEARCH, str(toy), str(run), str(concurrent)],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # Ray waits a minute for its head
            },
            start_new_session=True,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        kill_processes(named("", process.pid))
        process.wait()


def trials(run: Path) -> list[FrozenTrial]:
    journal = run / "study.journal"
    with suppress(InputError):  # not yet
        return read_study(journal).get_trials()
    return []


def trials_ended(run: Path) -> int:
    return sum(trial.state.is_finished() for trial in trials(run))


def has_reported(run: Path) -> bool:
    """Return True if a running trial has passed a rung."""
    running = [trial for trial in trials(run) if not trial.state.is_finished()]
    return any(trial.intermediate_values for trial in running)


def claims(run: Path) -> list[list[str]]:
    """Return host, process and name of each process that builds an artifact in the run's store."""
    found = []
    for claim in (run / "store" / "claims").glob("*"):
        with suppress(FileNotFoundError):
            found.append(claim.read_text().split())
    return [holder for holder in found if len(holder) == 3]


def named(name: str, session: int) -> list[int]:
    """Return the processes of a session whose title or command contains a name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == session:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found += [int(folder.name)] if name in command else []
        except (ProcessLookupError, FileNotFoundError):
            pass
    return found


def kill_processes(processes: Iterable[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def kill_worker(process: subprocess.Popen[bytes], run: Path) -> None:
    """Kill the processes that compute stages."""
    wait_until(lambda: claims(run), process)
    kill_processes(int(pid) for _, pid, _ in claims(run))


def kill_driver(process: subprocess.Popen[bytes], run: Path) -> None:
    """Kill the process of a trial."""
    if trials_ended(run) > 1:
        wait_until(lambda: has_reported(run) or trials_ended(run) >= TRIALS, process)
    drivers = named("ray::ImplicitFunc", process.pid)
    assert drivers
    kill_processes(drivers)


def kill_scheduler(process: subprocess.Popen[bytes], run: Path) -> None:
    """Kill the stage scheduler."""
    (scheduler,) = named("ray::StageScheduler", process.pid)
    kill_processes([scheduler])


def test_a_search_survives(toy: Path, tmp_path: Path, undisturbed: pd.DataFrame) -> None:
    """The command continues: a lost worker, scheduler or driver is replaced. The trials are those
    of a search that nothing disturbed.
    """
    with searching(toy, tmp_path) as process:
        for done, kill in enumerate((kill_worker, kill_scheduler, kill_driver), start=1):
            wait_until(lambda done=done: trials_ended(tmp_path) >= done, process)  # type: ignore[misc]
            kill(process, tmp_path)
        assert process.wait(120) == 0, (tmp_path / "output.txt").read_text()
    pd.testing.assert_frame_equal(table(tmp_path), undisturbed, check_exact=True)


def kill_main(process: subprocess.Popen[bytes]) -> None:
    """Kill the command alone; its Ray notices by itself."""
    process.kill()


def kill_head(process: subprocess.Popen[bytes]) -> None:
    """Kill Ray's control store."""
    (head,) = named("gcs_server", process.pid)
    kill_processes([head])


def kill_node(process: subprocess.Popen[bytes]) -> None:
    """Kill Ray's node manager, and with it its workers."""
    (raylet,) = named("raylet/raylet", process.pid)
    kill_processes([raylet])


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill all processes, as a power cut does."""
    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("kills", [(kill_head,), (kill_main, kill_node), (kill_all,)])
def test_the_same_command_ends_as_an_undisturbed_one(
    kills: Iterable[Callable[[subprocess.Popen[bytes]], None]],
    toy: Path,
    tmp_path: Path,
    undisturbed: pd.DataFrame,
) -> None:
    """The command ends by itself when its Ray is gone, and its Ray when the command is; or all
    die at once. The same command again gives the same trials, to the last bit.
    """
    for kill in kills:
        before = trials_ended(tmp_path)
        with searching(toy, tmp_path) as process:
            wait_until(lambda before=before: trials_ended(tmp_path) > before, process)  # type: ignore[misc]
            kill(process)
            process.wait(120)
        assert before < trials_ended(tmp_path) < TRIALS
    search(toy, tmp_path, concurrent=1)
    pd.testing.assert_frame_equal(table(tmp_path), undisturbed, check_exact=True)


def test_of_trials_at_once_none_is_lost_or_doubled(
    toy: Path, tmp_path: Path, undisturbed: pd.DataFrame
) -> None:
    """If two trials share stages, their order and reuse may differ, but not their results."""
    with searching(toy, tmp_path, concurrent=2) as process:
        wait_until(lambda: trials_ended(tmp_path) >= 1, process)
        kill_worker(process, tmp_path)
        kill_driver(process, tmp_path)
        wait_until(lambda: trials_ended(tmp_path) >= 2, process)
        kill_all(process)
    search(toy, tmp_path, concurrent=2)
    after = table(tmp_path)
    assert list(after["number"]) == list(range(TRIALS))
    assert set(after["state"]) <= {"complete", "pruned"}
    parameters = [name for name in after if name.startswith("param_")]
    alike = after[parameters].merge(undisturbed, on=parameters)  # the first trials are the same
    both = alike.merge(after[[*parameters, "macro_f1", "epochs"]], on=[*parameters, "epochs"])
    assert len(both)
    assert (both["macro_f1_x"] == both["macro_f1_y"]).all()
