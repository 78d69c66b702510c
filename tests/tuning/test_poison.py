"""Trials that always fail do not affect the other trials of a search."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import optuna
import pandas as pd
import pytest

from tests.cluster.outcomes import SPENT
from tests.toy import toy_recipe, where
from tests.tuning.poison import KILLED, NO_NUMBER, RAISES, TOO_LARGE
from tests.tuning.test_tune_search import best_recipe
from tests.waiting import wait_until
from thyroid.data.dataset import Dataset
from thyroid.recipe import Recipe, override
from thyroid.storage.store import Store
from thyroid.tuning.search_config import SearchConfig

pytestmark = [pytest.mark.cluster, pytest.mark.ray, pytest.mark.timeout(300)]

POISON = {1: RAISES, 2: KILLED, 4: TOO_LARGE, 6: NO_NUMBER}
"""Trial number -> weight decay."""

MEMORY = Path("/sys/fs/cgroup/memory")
LIMIT = 5_000_000_000
"""Bytes of the search's processes together."""

SEARCH = """
import sys
from pathlib import Path
import ray
from tests.tuning.test_poison import POISON, search
ray.init(
    address="local",
    num_cpus=2,
    object_store_memory=200_000_000,
    include_dashboard=False,
    log_to_driver=False,
    runtime_env={"worker_process_setup_hook": "tests.tuning.poison.install"},
    _system_config={
        "memory_usage_threshold": 0.8,
        "memory_monitor_refresh_ms": 100,
        "max_kill_memory_buffer_bytes": 100_000_000,
    },
)
search(Path(sys.argv[1]), Path(sys.argv[2]), POISON)
"""


def search(toy: Path, run: Path, poison: Mapping[int, float]) -> None:
    """Run a search of eight trials, two at once; `poison` gives some a harmful weight decay."""

    def space(trial: optuna.Trial, recipe: Recipe) -> Recipe:
        number = trial.suggest_int("number", trial.number, trial.number)
        rate = {"optimiser.learning_rate": 1e-4 * 2**number}
        return override(recipe, rate | {"optimiser.weight_decay": poison.get(number, 0.05)})

    config = SearchConfig(trials=8, max_seeds=1, concurrent=2, grace_epochs=99)
    data, store = Dataset.open(toy), Store(run / "store")
    best_recipe(run, data, toy_recipe(), space, config, store, where(toy))


def table(run: Path) -> pd.DataFrame:
    """Return trials.csv without the columns that depend on time and on other trials."""
    trials = pd.read_csv(run / "trials.csv").drop(columns=[*SPENT, "chosen"])
    return trials.set_index("number")


@pytest.fixture
def little_memory() -> Iterator[str]:
    """Return a shell command after which Ray sees a part of the machine's memory only.

    Ray watches the whole machine's memory otherwise, which other processes use, too.
    """
    if not MEMORY.is_dir():
        pytest.skip("the limit is set through cgroup v1, which this machine does not have")
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    (own,) = [line.split(":")[2] for line in lines if line.split(":")[1] == "memory"]
    group = MEMORY / own.lstrip("/") / f"thyroid-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(LIMIT))
        yield f"echo $$ > {group}/cgroup.procs && mount --bind {group} {MEMORY}"
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            os.kill(int(left), 9)
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


@pytest.mark.usefixtures("ray_here")
def test_poisoned_trials_fail_with_a_reason_and_the_others_are_as_ever(
    toy: Path, tmp_path: Path, little_memory: str
) -> None:
    """A stage that raises, is killed, needs too much memory or reaches no number fails its trial
    alone: the others are those of a search without such stages.
    """
    ill, well = tmp_path / "ill", tmp_path / "well"
    confined = ["unshare", "--mount", "sh", "-c", f'{little_memory} && exec "$@"', "sh"]
    process = subprocess.run(
        [*confined, sys.executable, "-c", SEARCH, str(toy), str(ill)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    assert "low on memory" in process.stdout
    search(toy, well, {})
    poisoned, undisturbed = table(ill), table(well)
    failed = poisoned.loc[list(POISON)]
    assert set(failed["state"]) == {"failed"}
    killed = (
        "A stage's process was killed 3 times, probably because it needs more memory than its "
        "machine has; the machine stayed alive."
    )
    assert list(failed["reason"]) == [
        "A stage raised KeyError: 'poison'",
        killed,
        killed,
        "Validation macro-F1 was nan after epoch 4.",
    ]
    assert set(undisturbed["state"]) == {"complete"}
    others = undisturbed.index.difference(list(POISON))
    assert undisturbed.loc[others, "macro_f1"].nunique() > 2
    columns = [name for name in poisoned.columns if name != "reason"]
    pd.testing.assert_frame_equal(
        poisoned.loc[others, columns], undisturbed.loc[others, columns], check_exact=True
    )
