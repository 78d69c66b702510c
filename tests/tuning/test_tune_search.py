"""A search ends with the best recipe, survives its own death, and counts failed trials."""

import json
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.toy import toy_generators, toy_recipe, where
from thyroid.configuration import to_json
from thyroid.data.dataset import Dataset
from thyroid.data.splits import LeakError
from thyroid.errors import (
    Diverged,
    InputError,
    ProcessLost,
    StageFailed,
    StorageError,
    TooLarge,
    Vanished,
)
from thyroid.recipe import Recipe, override
from thyroid.run_files.race_json import read_race
from thyroid.space import Space, load_space
from thyroid.storage.store import Store
from thyroid.tuning import detached_trial
from thyroid.tuning.asha import AshaScheduler, Rungs
from thyroid.tuning.detached_trial import tpe_trial
from thyroid.tuning.search_config import SearchConfig
from thyroid.tuning.study import open_study, read_study
from thyroid.tuning.study_search import StudySearch
from thyroid.tuning.trial_driver import is_recipes_fault
from thyroid.tuning.tune_search import Search


def best_recipe(
    run: Path,
    dataset: Dataset,
    base: Recipe,
    space: Space,
    config: SearchConfig,
    store: Store,
    datasets: dict[str, Path],
) -> Recipe:
    return Search(
        run=run,
        dataset=dataset,
        base=base,
        space=space,
        config=config,
        store=store,
        datasets=datasets,
    ).best()


HOPELESS = 4
"""Number of a trial that hardly learns."""


def rates(trial: optuna.Trial, recipe: Recipe) -> Recipe:
    """Propose learning rates. The first one makes the training diverge; one is far too small."""
    if trial.number == 0:
        poison = {
            "optimiser.learning_rate": 10.0,
            "optimiser.weight_decay": 10.0,
            "network.name": "lenet5",
        }
        return override(recipe, poison)
    if trial.number == HOPELESS:
        return override(recipe, {"optimiser.learning_rate": 1e-8})
    rate = trial.suggest_float("rate", 3e-3, 1e-2, log=True)
    return override(recipe, {"optimiser.learning_rate": rate})


@pytest.mark.usefixtures("ray_here")
def test_a_search_finds_counts_stops_the_hopeless_and_resumes(toy: Path, tmp_path: Path) -> None:
    """A failed trial counts, a second search continues the first one, and stops a trial by what it
    knows of the first one's trials at the same rung.
    """
    dataset, store = Dataset.open(toy), Store(tmp_path / "store")
    base = toy_recipe(network__width=8, schedule__constant_epochs=6)
    few = SearchConfig(trials=4, max_seeds=1, grace_epochs=5, reduction_factor=3, concurrent=2)
    best_recipe(tmp_path, dataset, base, rates, few, store, where(toy))
    first = pd.read_csv(tmp_path / "trials.csv")
    assert list(first["number"]) == [0, 1, 2, 3]
    assert first["state"][0] == "failed"
    assert "diverged" in first["reason"][0]
    assert set(first["state"][1:]) <= {"complete", "pruned"}
    assert "complete" in set(first["state"])

    more = SearchConfig(trials=5, max_seeds=1, grace_epochs=5, reduction_factor=3, concurrent=1)
    best = best_recipe(tmp_path, dataset, base, rates, more, store, where(toy))
    second = pd.read_csv(tmp_path / "trials.csv")
    assert list(second["number"]) == list(range(5))
    pd.testing.assert_frame_equal(second[:4], first)  # what was finished stays as it was
    assert second["state"][HOPELESS] == "pruned"
    assert second["epochs"][HOPELESS] == 5
    complete = second[second["state"] == "complete"]
    assert complete["standard_error"].notna().all()
    assert second["standard_error"][second["state"] != "complete"].isna().all()
    raced = read_race(tmp_path)
    assert {r.trial for r in raced} - {None} == set(complete["number"])
    assert (best == base) == (raced[0].trial is None)
    if best != base:
        assert best.optimiser.learning_rate == second["param_rate"][raced[0].trial]
    assert list(second["number"][second["chosen"] == 1]) == [raced[0].trial] * (best != base)
    pruned = second[second["state"] == "pruned"]
    assert (pruned["epochs"] < base.schedule.epochs).all()
    assert (complete["epochs"] == base.schedule.epochs).all()
    assert not (tmp_path / "tune").exists()
    states = {t.state for t in open_study(tmp_path / "study.journal").trials}
    assert states <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


@pytest.mark.usefixtures("ray_here")
def test_a_dead_process_a_failing_disk_and_a_used_up_budget_cost_no_trial(
    toy: Path, tmp_path: Path
) -> None:
    """Trials that a dead process left running run again under their numbers, with their values;
    a search with a failing disk, or without time, proposes no more and can be continued.
    """
    journal, store = tmp_path / "study.journal", tmp_path / "store"
    study, base = open_study(journal), toy_generators()

    def orphan(magnitude: float) -> None:
        died = create_trial(
            state=TrialState.RUNNING,
            params={"magnitude": magnitude},
            distributions={"magnitude": optuna.distributions.FloatDistribution(0, 2)},
            user_attrs={"recipe": json.dumps(to_json(base))},
        )
        study.add_trial(died)

    def search(**budget: str) -> None:
        config = SearchConfig(trials=3, max_seeds=1, grace_epochs=99, concurrent=1, **budget)
        dataset, space = Dataset.open(toy), load_space("augmentation")
        best_recipe(tmp_path, dataset, base, space, config, Store(store), where(toy))

    store.write_text("a file where the store should be")
    with pytest.raises(StorageError, match="Not a directory"):
        search()
    store.unlink()
    assert [trial.state for trial in open_study(journal).trials] == [TrialState.RUNNING]
    orphan(0.25)
    orphan(0.75)
    with pytest.raises(InputError, match="No trial of the search was completed"):
        search(time_budget="0.1s")
    assert [trial.state for trial in open_study(journal).trials] == [TrialState.RUNNING] * 3
    search()
    table = pd.read_csv(tmp_path / "trials.csv")
    assert list(table["number"]) == [0, 1, 2]
    assert list(table["state"]) == ["complete"] * 3
    assert list(table["param_magnitude"][1:]) == [0.25, 0.75]


@pytest.mark.usefixtures("ray_here")
def test_a_trial_whose_generator_fails_counts_as_failed_and_the_search_goes_on(
    toy: Path, tmp_path: Path
) -> None:
    """A DCGAN that collapses fails its trial with a reason; later trials share what is sound."""

    def poisonous_then_sound(trial: optuna.Trial, recipe: Recipe) -> Recipe:
        mirror = trial.suggest_categorical("mirror", [0.0, 0.5])
        proposed = override(recipe, {"augmentation.mirror": mirror})
        if trial.number:
            return proposed
        poison = {"dcgan.generator_rate": 1.0, "dcgan.discriminator_rate": 1.0}
        long_enough = {"dcgan.batch_size": 54, "dcgan.steps_per_epoch": 200}
        return override(proposed, poison | long_enough)

    base = toy_generators(schedule__segment_epochs=2)
    config = SearchConfig(trials=3, max_seeds=1, grace_epochs=99, concurrent=1)
    store = Store(tmp_path / "store")
    best = best_recipe(
        tmp_path, Dataset.open(toy), base, poisonous_then_sound, config, store, where(toy)
    )
    table = pd.read_csv(tmp_path / "trials.csv")
    assert list(table["state"]) == ["failed", "complete", "complete"]
    assert "The DCGAN collapsed in epoch 1" in table["reason"][0]
    assert best.dcgan.generator_rate == base.dcgan.generator_rate
    # split, DCGAN (2), label filter (2), SRGAN (2), synthesis, its own segments (3), prediction
    assert table["computed_stages"][1] + table["reused_stages"][1] == 12
    assert table["reused_stages"][2] >= 8  # all but its own segments and their prediction


def test_proposals_depend_on_the_seed_and_the_number_only() -> None:
    def propose(seed: int, number: int) -> float:
        return tpe_trial(optuna.create_study(), number, seed).suggest_float("x", 0, 1)

    assert propose(1, 5) == propose(1, 5)
    assert len({propose(seed, number) for seed in range(3) for number in range(3)}) == 9


def test_proposals_learn_and_leave_no_trace() -> None:
    drawn = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(direction="maximize", sampler=drawn)
    for _ in range(40):
        trial = study.ask()
        study.tell(trial, -abs(trial.suggest_float("x", 0, 1) - 0.8))
    before = study.get_trials()
    proposed = [tpe_trial(study, 40, seed).suggest_float("x", 0, 1) for seed in range(20)]
    assert np.median(np.abs(np.array(proposed) - 0.8)) < 0.1
    assert study.get_trials() == before


def test_the_trials_that_proposals_learn_from_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached_trial, "REMEMBERED_TRIALS", 5)
    study = optuna.create_study(direction="maximize")
    for i in range(40):
        study.tell(study.ask(), float(i % 20))
    running = study.ask()
    seen = detached_trial._remembered(study, study.trials)
    assert seen == {17, 18, 19, 35, 36, 37, 38, 39, running.number}


def test_only_a_fault_of_the_recipe_fails_a_trial() -> None:
    own = [Diverged("x"), TooLarge("x"), InputError("x"), RuntimeError("x")]
    others = [ProcessLost("x"), Vanished("x"), StageFailed("x"), StorageError("x"), OSError("x")]
    assert all(map(is_recipes_fault, own))
    assert not any(map(is_recipes_fault, [*others, ImportError("x"), LeakError("x")]))


def test_a_trial_enters_the_study_whole_and_an_orphan_is_taken_up(tmp_path: Path) -> None:
    def search(journal: Path) -> StudySearch:
        study = open_study(journal)

        def propose(number: int) -> FrozenTrial:
            trial = tpe_trial(study, number, seed=7)
            trial.suggest_float("a", 0, 1)
            return create_trial(
                state=TrialState.RUNNING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={"recipe": json.dumps(trial.params)},
            )

        asha = AshaScheduler(Rungs(grace_epochs=1, factor=2))
        return StudySearch(propose, study, ["macro_f1"], asha)

    whole = [search(tmp_path / "whole").suggest(name) for name in "xy"]
    assert whole[0] == whole[1]  # the second search takes up the trial that the first left
    one = search(tmp_path / "one")
    both = [one.suggest(name) for name in "xy"]
    assert both[0] == whole[0]
    assert both[1] is not None
    assert both[1]["number"] == 1
    assert both[1]["recipe"] != both[0]["recipe"]
    (orphan,) = open_study(tmp_path / "whole").trials
    assert orphan.state is TrialState.RUNNING
    assert json.loads(orphan.user_attrs["recipe"]) == orphan.params


def test_half_a_line_at_the_journals_end_is_cut_off(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    open_study(journal).ask().suggest_float("a", 0, 1)
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 5, "wor')
    open_study(journal).ask()
    assert len(open_study(journal).trials) == 2
    assert journal.read_bytes().startswith(whole)


@pytest.mark.usefixtures("ray_here")
def test_a_space_that_proposes_an_invalid_recipe_is_refused(toy: Path, tmp_path: Path) -> None:
    def broken(trial: optuna.Trial, recipe: Recipe) -> Recipe:
        return override(recipe, {"input.size": 3})

    dataset, store, config = Dataset.open(toy), Store(tmp_path), SearchConfig()
    with pytest.raises(InputError, match=r"failed to propose trial 0: input.size is 3"):
        best_recipe(tmp_path, dataset, toy_recipe(), broken, config, store, where(toy))


@pytest.mark.parametrize("empty", [b"\n", b"\r\n", b"  \t \n", b"\0" * 512 + b"\n", b"\0\0\n\n\n"])
def test_lines_that_hold_nothing_are_left_out_of_a_journal(
    empty: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "study.journal"
    study = open_study(journal)
    for value in (0.1, 0.2, 0.3):
        trial = study.ask()
        trial.suggest_float("a", 0, 1)
        study.tell(trial, value)
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged in (
        b"".join([*lines[:5], empty, *lines[5:]]),
        empty + whole,
        whole + empty + b"\0" * 100,
        b"".join([*lines[:3], b"\0" * 7, *lines[3:]]),  # zeros before a whole line
    ):
        journal.write_bytes(damaged)
        assert [t.value for t in read_study(journal).trials] == [0.1, 0.2, 0.3]
        assert journal.read_bytes() == damaged  # nothing is changed by reading
        again = open_study(journal)
        assert [t.value for t in again.trials] == [0.1, 0.2, 0.3]
        assert journal.read_bytes().startswith(whole)
        assert b"\0" not in journal.read_bytes()
        assert "study.journal was repaired; removed: " in capsys.readouterr().err
    open_study(journal).ask()
    assert len(read_study(journal).trials) == 4
    assert "repaired" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage", [b'{"op_code":5,"wo\n', b"12\n", b"[" * 99_999 + b"\n", b"\xff\n"]
)
def test_a_damaged_line_of_a_journal_is_named_with_the_way_out(
    damage: bytes, tmp_path: Path
) -> None:
    journal = tmp_path / "study.journal"
    for _ in range(3):
        open_study(journal).ask()
    lines = journal.read_bytes().splitlines(keepends=True)
    content = b"".join([*lines[:2], damage, *lines[2:]])
    for open_it in (open_study, read_study):
        journal.write_bytes(content)
        with pytest.raises(InputError, match=r"line 3, is damaged: .* `?head -n 2|head -n 2"):
            open_it(journal)
        assert journal.read_bytes() == content
    journal.write_bytes(b"".join(lines[:2]))  # as the sentence says
    assert len(open_study(journal).trials) == 1


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.journal").write_text("not a journal\nat all\n")
    with pytest.raises(InputError, match="is not an Optuna journal"):
        open_study(tmp_path / "study.journal")
