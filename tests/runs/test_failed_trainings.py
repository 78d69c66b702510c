"""Trainings that fail are found, repeated once at a lower rate, and kept apart."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.toy import toy_recipe, where
from thyroid.data.dataset import Dataset
from thyroid.errors import Diverged
from thyroid.evaluate.metrics import macro_f1
from thyroid.execution.in_process import Runner, in_process
from thyroid.recipe import Recipe
from thyroid.run_files.rows_json import FailedTraining, Failure, read_rows
from thyroid.runs.compared_recipes import Row, baseline_rows, method_row
from thyroid.runs.compared_rows import copy_rows, tuned, write_rows
from thyroid.runs.experiment import Experiment
from thyroid.runs.failed_trainings import failed_trainings, repeated, train_rows, why_failed
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Store

RISING = [0.2, 0.3, 0.5, 0.6, 0.7, 0.7, 0.7, 0.8, 0.8, 0.8]


@pytest.mark.parametrize(
    ("macro_f1s", "from_weights", "reason"),
    [
        (RISING, False, None),
        ([*RISING, 0.1], False, "chance"),
        ([0.1, 0.14], False, "chance"),
        ([0.1, 0.15], False, None),
        ([0.3] * 10, False, "start"),
        ([0.3, *RISING[:-1], 0.3], False, None),  # first epochs are 0.3 and 0.2
        ([0.8, *RISING], False, None),
        ([0.8, 0.8, *RISING[1:]], False, "start"),
        ([0.8] * 10, True, None),
        ([0.3] * 9, False, None),
    ],
)
def test_a_training_failed_where_it_ends_at_chance_or_as_it_began(
    macro_f1s: list[float], from_weights: bool, reason: Failure | None
) -> None:
    assert why_failed(macro_f1s, 7, from_weights=from_weights) == reason


def test_naming_by_luck_has_at_most_the_macro_f1_of_chance() -> None:
    """The bound holds for any frequencies of the classes, and of the answers."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        shares = rng.dirichlet(np.full(5, 0.7), size=2)
        labels, named = (rng.choice(5, size=20_000, p=each) for each in shares)
        if len(set(labels)) == 5:
            assert macro_f1(labels, named, 5) < 1 / 5 + 0.01


# On the toy data set


def tolerant(strict: Runner) -> Runner:
    """A runner that skips stages that diverge."""

    def run(wanted: Sequence[Stage]) -> Iterator[EpochMetrics]:
        for stage in wanted:
            with contextlib.suppress(Diverged):
                yield from strict([stage])

    return run


def recipe_of(rate: float, decay: float = 0.05) -> Recipe:
    return toy_recipe(
        split__folds=1,
        network__name="lenet5",
        optimiser__learning_rate=rate,
        optimiser__weight_decay=decay,
        optimiser__batch_size=8,
        schedule__warmup_epochs=0,
        schedule__constant_epochs=1,
        views="one",
    )


def compared(toy: Path, tmp_path: Path, **rates: Recipe) -> tuple[Experiment, list[Row], Runner]:
    """The method, and a plain network of each recipe."""
    method = Experiment(dataset=Dataset.open(toy), recipe=recipe_of(2e-3), seeds=[0, 1])
    (plain,) = baseline_rows(method.recipe, ["lenet5"])
    rows = [method_row(method.recipe)]
    rows += [replace(plain, name=name, recipe=recipe) for name, recipe in rates.items()]
    return method, rows, in_process(Store(tmp_path / "store"), where(toy))


def needs(method: Experiment, rows: Sequence[Row]) -> list[Stage]:
    return [stage for row in rows for stage in method.of(row.recipe).predictions()]


def test_a_row_that_diverges_is_trained_again_at_a_tenth_and_told(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With weight decay 10, rate 10 diverges in every training, and rate 1 in none."""
    method, rows, strict = compared(toy, tmp_path, worse=recipe_of(10.0, 10.0))
    store = Store(tmp_path / "store")
    train_rows(needs(method, rows), method, store, tolerant(strict), strict)
    worse = method.of(rows[1].recipe)
    assert failed_trainings(worse, store) == (
        FailedTraining(seed=0, fold=0, reason="diverged"),
        FailedTraining(seed=1, fold=0, reason="diverged"),
    )
    final, again = repeated(rows, method, store, tolerant(strict))
    assert final[0] == rows[0]
    assert (final[1].name, final[1].failed_at_first) == ("worse", 2)
    told = " ".join(capsys.readouterr().err.split())
    assert (
        "LeNet-5: 2 of 2 trainings failed (the loss was not a number) at learning rate 10" in told
    )
    assert "at a tenth of the learning rate" in told
    (stages,) = again.values()
    assert {stage.inputs["model"].config.optimiser.learning_rate for stage in stages} == {1.0}

    write_rows(tmp_path, method, final, store)
    copy_rows(tmp_path, method, final, store)
    row = read_rows(tmp_path)[1]
    assert (row.trainings, row.failed_at_first) == (2, 2)
    # Diverged or at chance: the row is the version of the recipe that failed less often
    slower = failed_trainings(method.of(final[1].recipe), store)
    assert row.failed == slower
    assert (final[1].recipe.optimiser.learning_rate == 1.0) == (len(slower) < 2)
    whole = {path.name for path in (tmp_path / "rows/worse/predictions").glob("*")}
    diverged = {each.seed for each in slower if each.reason == "diverged"}
    assert whole == {f"{p}-seed{s}.csv" for s in {0, 1} - diverged for p in ("validation", "test")}


def test_a_row_that_learns_nothing_is_at_chance_and_learns_at_a_lower_rate_or_stays(
    toy: Path, tmp_path: Path
) -> None:
    method, rows, strict = compared(toy, tmp_path, idle=recipe_of(1e-8))
    store = Store(tmp_path / "store")
    train_rows(needs(method, rows), method, store, tolerant(strict), strict)
    assert {each.reason for each in failed_trainings(method.of(rows[1].recipe), store)} == {
        "chance"
    }
    final, _ = repeated(rows, method, store, strict)
    assert final[1].recipe == rows[1].recipe  # a tenth is no better
    assert final[1].failed_at_first == len(failed_trainings(method.of(rows[1].recipe), store)) > 0


def test_a_method_that_diverges_stops_the_comparison(toy: Path, tmp_path: Path) -> None:
    method, _, strict = compared(toy, tmp_path)
    method = replace(method, recipe=recipe_of(10.0, 10.0))
    store = Store(tmp_path / "store")
    wanted = needs(method, [method_row(method.recipe)])
    with pytest.raises(Diverged, match="lower optimiser"):
        train_rows(wanted, method, store, tolerant(strict), strict)


def test_a_network_all_of_whose_recipes_diverge_stays_in_the_comparison(
    toy: Path, tmp_path: Path
) -> None:
    method, rows, strict = compared(toy, tmp_path, worse=recipe_of(10.0, 10.0))
    tried = [[row.recipe] for row in rows]
    store = Store(tmp_path / "store")
    better, _ = tuned(rows, tried, method.dataset, store, tolerant(strict))
    assert [row.recipe for row in better] == [row.recipe for row in rows]
    write_rows(tmp_path, method, better, None)
    assert [row.failed for row in read_rows(tmp_path)] == [(), ()]


def test_rows_of_earlier_versions_say_nothing_of_failures(tmp_path: Path) -> None:
    row = {"name": "method", "kind": "method", "title": "the method", "changes": {}}
    row |= {"parameters": 1, "trials": 0, "train_seconds": 1.0, "epochs": 4, "done": True}
    (tmp_path / "rows.json").write_text(json.dumps({"rows": [row]}))
    (found,) = read_rows(tmp_path)
    assert (found.trainings, found.failed_at_first, found.failed) == (0, 0, ())
