"""Several objectives, databases, earlier runs, more seeds for the best."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import BaseTrial, TrialState, create_trial

from tests.stub_config import stub_config, stub_search, with_config
from tests.toy import toy_recipe, where, write_toy
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.recipe import Recipe, override
from thyroid.run_files.config_json import write_config
from thyroid.run_files.race_json import read_race
from thyroid.storage.store import Store
from thyroid.tuning import study
from thyroid.tuning.detached_trial import tpe_trial
from thyroid.tuning.recipe_race import ENTRANTS
from thyroid.tuning.search_config import SearchConfig
from thyroid.tuning.study import open_study, own_trials
from thyroid.tuning.trial_result import stored_result
from thyroid.tuning.tune_search import Search

SEVERAL = ("macro_f1", "cross_recall", "compute")


def lengths(trial: BaseTrial, recipe: Recipe) -> Recipe:
    """Propose shorter and longer trainings, which share segments; some learn too slowly."""
    epochs = trial.suggest_int("epochs", 1, 6)
    rate = trial.suggest_categorical("rate", [1e-5, 3e-3])
    return override(recipe, {"schedule.constant_epochs": epochs, "optimiser.learning_rate": rate})


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_toy(tmp_path_factory.mktemp("crossed") / "data", images=60, crosses=24)


def search(run: Path, dataset: Dataset, store: Store, **settings: Any) -> Search:
    config = SearchConfig(
        **{"trials": 6, "max_seeds": 1, "concurrent": 1, "grace_epochs": 99, **settings}
    )
    return Search(
        run=run,
        dataset=dataset,
        base=toy_recipe(network__width=8),
        space=lengths,
        config=config,
        store=store,
        datasets=where(dataset.folder),
    )


@pytest.fixture(scope="module")
def searched(
    crossed: Dataset, tmp_path_factory: pytest.TempPathFactory, ray_here: None
) -> tuple[Search, Recipe]:
    """A search of six trials with three objectives and up to three seeds in its race, which has
    ended, and the recipe that it chose. Tests must not change it.
    """
    folder = tmp_path_factory.mktemp("searched")
    store = Store(folder / "store", "first")
    found = search(folder / "old", crossed, store, objectives=SEVERAL, max_seeds=3)
    best = found.best()
    write_config(found.run, stub_config(id="first", search=stub_search()))
    return found, best


def test_several_objectives_are_optimised_and_the_first_one_decides(
    searched: tuple[Search, Recipe],
) -> None:
    found, best = searched
    table = pd.read_csv(found.run / "trials.csv")
    assert len(found.study.best_trials) >= 1  # Optuna's own front
    for trial in found.study.trials:
        assert trial.state is TrialState.COMPLETE
        row = table.iloc[trial.number]
        np.testing.assert_allclose(trial.values, [row[name] for name in SEVERAL])
    assert table["cross_recall"].between(0, 1).all()
    needed = {trial.number: stored_result(trial).stages.split() for trial in found.study.trials}
    for number, keys in needed.items():
        seconds = [manifest["seconds"] for manifest in map(found.store.manifest, keys) if manifest]
        assert len(seconds) == len(set(keys))
        assert table["compute"][number] == pytest.approx(sum(seconds))
    stages = table.assign(stages=[len(needed[number]) for number in table["number"]])
    same_rate = stages[stages["param_rate"] == stages["param_rate"].iloc[0]]
    assert same_rate["param_epochs"].nunique() > 1
    assert same_rate.sort_values("param_epochs")["stages"].is_monotonic_increasing
    raced = read_race(found.run)  # the given recipe, and the best by the first objective
    ranked = table.drop_duplicates(["param_epochs", "param_rate"])
    ranked = ranked.sort_values(["macro_f1", "number"], ascending=[False, True])
    assert {r.trial for r in raced} <= {None, *ranked["number"][:ENTRANTS]}
    assert ranked["number"].iloc[0] in {r.trial for r in raced}
    assert _chosen(table) == raced[0].trial
    assert best == (found.base if raced[0].trial is None else recipe_of(found, raced[0].trial))


def test_invalid_objectives_are_refused(toy: Path, tmp_path: Path) -> None:
    for names in (("f1",), ("macro_f1", "macro_f1"), ()):
        with pytest.raises(InputError, match="--objectives"):
            SearchConfig(objectives=names)
    asked = search(tmp_path, Dataset.open(toy), Store(tmp_path), objectives=("cross_recall",))
    with pytest.raises(InputError, match="no cross image in its validation part"):
        asked.best()


@pytest.mark.usefixtures("ray_here")
def test_a_study_in_a_database_goes_on_and_is_its_runs_own(
    crossed: Dataset, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    stores = [Store(tmp_path / "store", run) for run in ("first", "second")]
    search(tmp_path / "a", crossed, stores[0], trials=1, storage=url).best()
    for _ in range(3):
        search(tmp_path / "b", crossed, stores[1], storage=url).study.ask()
    search(tmp_path / "a", crossed, stores[0], trials=2, storage=url).best()
    lengths = {s.study_name: s.n_trials for s in optuna.get_all_study_summaries(url)}
    assert lengths == {"thyroid-first": 2, "thyroid-second": 3}
    assert list(pd.read_csv(tmp_path / "a" / "trials.csv")["number"]) == [0, 1]
    assert not (tmp_path / "a" / "study.journal").exists()
    with pytest.raises(InputError, match="give a URL such as"):
        open_study("nosuchdatabase://nowhere")


def test_earlier_trials_are_taken_over_as_far_as_the_store_has_them(
    crossed: Dataset, tmp_path: Path, searched: tuple[Search, Recipe]
) -> None:
    """A search begins with the trials of an earlier one, each once, although that had several
    objectives and this has one: also after a kill, with a narrower space, and without the stages.
    Only the first search here runs trials of its own.
    """
    old, store = searched[0].run, replace(searched[0].store, run="second")
    earlier = pd.read_csv(old / "trials.csv")
    distinct = earlier.drop_duplicates(["param_epochs", "param_rate"])

    new = search(tmp_path / "new", crossed, store, trials=2, warm_start=(str(old),))
    new.best()
    table = pd.read_csv(tmp_path / "new" / "trials.csv")
    assert len(table) == len(distinct) + 2
    known = table.iloc[: len(distinct)]
    np.testing.assert_array_equal(known["macro_f1"], distinct["macro_f1"])
    assert (known["computed_stages"] == 0).all()
    assert list(known["reason"]) == [f"warm start from old trial {n}" for n in distinct["number"]]
    assert len(own_trials(new.study)) == 2
    new.best()  # once more: nothing is taken over twice
    assert len(pd.read_csv(tmp_path / "new" / "trials.csv")) == len(distinct) + 2

    def begun(name: str, store: Store = store, runs: tuple[Path, ...] = (old,)) -> Search:
        (tmp_path / name).mkdir()
        return search(tmp_path / name, crossed, store, warm_start=tuple(map(str, runs)))

    # A kill during the warm start: the others come, and none twice
    half = begun("half", runs=(old, old))
    half.study.add_trial(new.study.get_trials()[0])
    half.warm_start()
    values = [trial.value for trial in half.study.trials]
    assert sorted(values) == sorted(distinct["macro_f1"])

    most = int(distinct["param_epochs"].max()) - 1

    def narrower(trial: BaseTrial, recipe: Recipe) -> Recipe:
        epochs = trial.suggest_int("epochs", 1, most)
        rate = trial.suggest_categorical("rate", [1e-5, 3e-3])
        changes = {"schedule.constant_epochs": epochs, "optimiser.learning_rate": rate}
        return override(recipe, changes)

    narrow = replace(begun("narrow"), space=narrower)
    narrow.warm_start()
    fitting = distinct["param_epochs"][distinct["param_epochs"] <= most]
    assert [trial.params["epochs"] for trial in narrow.study.trials] == list(fitting)
    proposed = tpe_trial(narrow.study, len(fitting), seed=0)
    assert narrower(proposed, narrow.base).schedule.constant_epochs <= most

    elsewhere = begun("elsewhere", Store(tmp_path / "empty"))
    elsewhere.warm_start()
    assert elsewhere.study.trials == []
    with pytest.raises(InputError, match="is not a run"):
        begun("x", runs=(tmp_path,)).best()
    trained = shutil.copytree(old, tmp_path / "trained")
    with_config(trained, search=None)
    with pytest.raises(InputError, match="holds no search"):
        begun("y", runs=(trained,)).best()


def test_without_macro_f1_first_the_best_trial_is_chosen_and_nothing_is_raced(
    crossed: Dataset, tmp_path: Path, searched: tuple[Search, Recipe]
) -> None:
    """The trials are those of the earlier search, each with its compute as its only value."""
    earlier = searched[0]
    found = search(tmp_path, crossed, earlier.store, objectives=("compute",))
    for trial in earlier.study.trials:
        same = {"params": trial.params, "distributions": trial.distributions}
        cost = trial.values[SEVERAL.index("compute")]
        found.study.add_trial(create_trial(**same, user_attrs=trial.user_attrs, value=cost))
    best = found.best()
    table = pd.read_csv(tmp_path / "trials.csv")
    assert _chosen(table) == table["compute"].idxmin()
    assert best == recipe_of(found, int(table["compute"].idxmin()))
    assert not (tmp_path / "race.json").exists()
    assert not [user for user in found.needs() if user.startswith("race")]


def test_recipes_too_close_to_call_get_more_seeds(
    crossed: Dataset, searched: tuple[Search, Recipe], tmp_path: Path
) -> None:
    found, best = searched
    table, raced = pd.read_csv(found.run / "trials.csv"), read_race(found.run)
    assert 2 <= len(raced) <= ENTRANTS + 1
    assert {r.folds for r in raced} == {1}
    assert {r.seeds for r in raced} <= {1, 2, 3}
    ahead = [r for r in raced if r.state != "dropped"]
    assert {r.seeds for r in ahead} == {max(r.seeds for r in raced)}
    assert ahead[0].seeds == 3 or len(ahead) == 1
    assert all(r.behind <= (r.behind_error or 0) for r in ahead)
    assert all(r.behind > (r.behind_error or 0) for r in raced if r.state == "dropped")
    for r in raced:  # of one seed it is the trial's own value
        if r.seeds == 1 and r.trial is not None:
            own = table.loc[r.trial]
            assert (r.macro_f1, r.standard_error) == (own["macro_f1"], own["standard_error"])
    assert _chosen(table) == raced[0].trial
    assert best == (found.base if raced[0].trial is None else recipe_of(found, raced[0].trial))
    run = shutil.copytree(found.run, tmp_path / "again")
    again = search(run, crossed, found.store, objectives=SEVERAL, max_seeds=3)
    assert again.best() == best
    assert read_race(run) == raced


def _chosen(table: pd.DataFrame) -> int | None:
    """Return the number of the chosen trial; None where the given recipe stays."""
    chosen = table["number"][table["chosen"] == 1].tolist()
    assert len(chosen) <= 1
    return chosen[0] if chosen else None


def recipe_of(found: Search, number: int) -> Recipe:
    return study.recipe_of(found.study.trials[number])
