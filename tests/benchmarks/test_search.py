"""Savings of a search by sharing stages, and its own costs: one table.

`make bench` runs it on a machine with nothing else to do; on two processors it takes about a
quarter of an hour.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from thyroid import machine, pipeline
from thyroid.configuration import from_json
from thyroid.data.dataset import Dataset
from thyroid.execution.connection import connected
from thyroid.execution.in_process import in_process
from thyroid.phantom.write_files import write_phantom
from thyroid.recipe import RECIPES, Recipe, override
from thyroid.space import load_space
from thyroid.stage import Stage
from thyroid.storage.store import Store
from thyroid.tuning.search_config import SearchConfig
from thyroid.tuning.study import finished
from thyroid.tuning.trial_driver import last_metrics
from thyroid.tuning.trial_result import stored_result
from thyroid.tuning.tune_search import Search

TRIALS = 32
TENTH = {
    "dcgan.steps_per_epoch": 10,
    "srgan.steps_per_epoch": 5,
    "synthesis.images_per_class": 24,
    "synthesis.images_per_cross": 24,
    "execution.device": "cpu",
}
"""Changes of `small` for a tenth of the images of thyroid7, so that each part costs about a
tenth."""

ROWS: list[tuple[str, str, str]] = []
"""Name of a measurement, its figure, the figure asked for."""


@pytest.fixture(scope="module", autouse=True)
def _table() -> Iterator[None]:
    """Print what was measured, at the end."""
    yield
    width = max((len(what) for what, _, _ in ROWS), default=0)
    print("\n\n" + "\n".join(f"{what:<{width}}  {f:>9}  {asked}" for what, f, asked in ROWS))


def tell(what: str, figure: float, digits: int, asked: str = "") -> float:
    ROWS.append((what, f"{figure:.{digits}f}", asked))
    return figure


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    few = {"images_per_class": 8, "images_per_cross": 4, "format": "dataset", "seed": 0}
    write_phantom(folder, preset="thyroid7", **few)  # type: ignore[arg-type]
    return Dataset.open(folder)


def search(run: Path, dataset: Dataset) -> Search:
    recipe = override(RECIPES["small"](), TENTH)
    precision = machine.resolve(recipe.execution).precision
    return Search(
        run=run,
        dataset=dataset,
        base=override(recipe, {"execution.precision": precision}),
        space=load_space("joint"),
        config=SearchConfig(trials=TRIALS, max_seeds=1, concurrent=2),
        store=Store(run / "store"),
        datasets={dataset.digest: dataset.folder},
    )


def usage(done: Search) -> dict[str, float]:
    """Stage-seconds of the trials.

    `alone`: each trial by itself, up to where it was stopped. `generators once`: generators and
    label filters once, every classifier from its beginning to where it was stopped; `unstopped`: to
    its end, at the seconds per epoch that it had. `spent`: each stage once, as it was. What the
    race at the end computes is left out.
    """
    once: dict[str, float] = {}
    generators: dict[str, float] = {}
    alone = own = unstopped = 0.0
    for trial in finished(done.study):
        recipe = from_json(Recipe, json.loads(trial.user_attrs["recipe"]))
        digest = done.dataset.digest
        segments = {stage.key for stage in pipeline.classifier(recipe, digest, 0)}
        segments.add(pipeline.prediction(recipe, digest, 0, "validation").key)
        seconds = {key: _seconds(done.store, key) for key in stored_result(trial).stages.split()}
        classifier = sum(s for key, s in seconds.items() if key in segments)
        once |= seconds
        generators |= {key: s for key, s in seconds.items() if key not in segments}
        alone += sum(seconds.values())
        own += classifier
        unstopped += classifier * recipe.schedule.epochs / stored_result(trial).epoch
    shared = sum(generators.values())
    return {
        "alone": alone,
        "generators once": shared + own,
        "unstopped": shared + unstopped,
        "spent": sum(once.values()),
    }


def _seconds(store: Store, key: str) -> float:
    manifest = store.manifest(key)
    assert manifest is not None
    return float(manifest["seconds"])


def whole(store: Path, dataset: Path, digest: str) -> Any:
    """A trial in plain Tune: one function that trains all that the recipe needs."""

    def train(config: dict[str, Any]) -> None:
        folder = Path(tempfile.mkdtemp(dir=store))
        own = Store(folder)
        recipe = from_json(Recipe, json.loads(config["trial"]["recipe"]))
        last = next(
            segment
            for segment in pipeline.classifier(recipe, digest, 0)
            if segment.config.first_epoch + segment.config.epochs == config["trial"]["epoch"]
        )
        for _ in in_process(own, {digest: dataset})([last]):
            pass
        metrics = last_metrics(own, last)
        assert metrics is not None
        seconds = sum(_seconds(own, stage.key) for stage in last.lineage())
        shutil.rmtree(folder)
        number = config["trial"]["number"]
        value = metrics["validation_macro_f1"]
        tune.report({"number": number, "value": value, "seconds": seconds})

    return train


def test_sharing_saves_most_of_the_stage_seconds_and_changes_no_result(
    dataset: Dataset, tmp_path: Path
) -> None:
    with connected(cpus=2):
        warm = search(tmp_path / "warm", dataset)
        list(in_process(warm.store, warm.datasets)([_first(warm)]))
        began = time.monotonic()
        done = search(tmp_path / "shared", dataset)
        done.best()
        wall = time.monotonic() - began
        trials = [t for t in finished(done.study) if stored_result(t).epoch]
        began = time.monotonic()
        plain = tune.Tuner(
            tune.with_resources(whole(tmp_path, dataset.folder, dataset.digest), {"cpu": 1}),
            param_space={
                "trial": tune.grid_search(
                    [
                        {
                            "number": trial.number,
                            "recipe": trial.user_attrs["recipe"],
                            "epoch": stored_result(trial).epoch,
                        }
                        for trial in trials
                    ]
                )
            },
            tune_config=tune.TuneConfig(max_concurrent_trials=2, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
        ).fit()
        plain_wall = time.monotonic() - began

    values = {result.metrics["number"]: result.metrics["value"] for result in plain}
    assert values == {trial.number: stored_result(trial).rung_macro_f1 for trial in trials}
    assert len(values) == TRIALS
    plain_seconds = sum(result.metrics["seconds"] for result in plain)
    spent = usage(done)
    tell("trials of `joint`, all with the same result bit for bit, shared or not", TRIALS, 0)
    tell("of them stopped early", sum(t.state.name == "PRUNED" for t in trials), 0)
    tell("stage-seconds with sharing", spent["spent"], 1)
    tell("stage-seconds of the same trials by plain Tune, measured", plain_seconds, 1)
    total = tell("factor", plain_seconds / spent["spent"], 2, ">= 5")
    tell("factor by the search's own account", spent["alone"] / spent["spent"], 2)
    for what, name, asked in (
        ("factor against generators once, classifiers whole", "unstopped", ">= 2"),
        ("the same, stopped as early as ours", "generators once", ""),
    ):
        assert tell(what, spent[name] / spent["spent"], 2, asked) > 1
    tell("wall seconds with sharing, with one more training for the race", wall, 1)
    tell("wall seconds of plain Tune, same trials, two at once", plain_wall, 1)
    tell("factor", plain_wall / wall, 2)
    assert total > 1


def _first(done: Search) -> Stage:
    """Run something small, so that imports are not timed."""
    return pipeline.split(done.base.split, done.dataset.digest)


OVERHEAD = """
import json, os, resource, sys
from pathlib import Path
import ray
from tests.benchmarks import stubs
stubs.install()
from tests.benchmarks.test_search import search
from tests.toy import write_toy
from thyroid.tuning.study import finished
from thyroid.tuning.trial_result import stored_result
from dataclasses import replace

def memory():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20

folder, trials = Path(sys.argv[1]), int(sys.argv[2])
hook = {"worker_process_setup_hook": stubs.install}
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=hook)
made = search(folder / "run", write_toy(folder / "toy", crosses=20))
config = replace(made.config, trials=100)
replace(made, config=config).best()
early = memory()
made = replace(made, config=replace(made.config, trials=trials))
made.best()
ended = [
    {"at": t.datetime_complete.timestamp(), "computed": stored_result(t).computed}
    for t in finished(made.study)
]
print(json.dumps({"trials": ended, "early": early, "late": memory()}))
ray.shutdown()
"""


def test_a_trial_costs_little_beside_its_stages_and_a_thousand_no_more(tmp_path: Path) -> None:
    """Stages are stubs of 10 ms; a trial of `joint` needs some 20, two trials run at once."""
    program = subprocess.run(
        [sys.executable, "-c", OVERHEAD, str(tmp_path), "1000"],
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    told = json.loads(program.stdout.splitlines()[-1])
    ended = sorted(told["trials"], key=lambda trial: trial["at"])
    assert len(ended) == 1000

    def overhead(first: int, last: int) -> float:
        """Seconds per trial beyond its stages, of which two run at once."""
        wall = ended[last - 1]["at"] - ended[first - 1]["at"]
        stages = sum(trial["computed"] for trial in ended[first:last]) / 2
        return (wall - stages) / (last - first)

    early = tell("overhead per trial, trials 10 to 100, s", overhead(10, 100), 3, "<= 0.15")
    late = tell("overhead per trial, trials 900 to 1,000, s", overhead(900, 1000), 3, "<= 0.15")
    tell("growth", late / early, 2, "<= 1.20")
    tell("memory of the search's process after 100 trials, MB", told["early"], 0)
    tell("after 1,000 trials, MB", told["late"], 0, "flat")
    assert early < 1
    assert late < 1


def test_ten_thousand_artifacts_are_looked_up_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = [f"{i:064x}"[::-1] for i in range(10_000)]
    for key in keys:
        folder = store.artifact(key)
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"key": key, "files": {}}))

    def median_ms(look: Any) -> float:
        times = []
        for key in keys[::10]:
            began = time.perf_counter()
            assert look(key)
            times.append(time.perf_counter() - began)
        return 1000 * statistics.median(times)

    tell("10,000 artifacts: whether one is there, ms", median_ms(store.__contains__), 3, "<= 5")
    assert tell("10,000 artifacts: to open one, ms", median_ms(store.open), 3, "<= 5") <= 5
