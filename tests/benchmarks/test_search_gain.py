"""Does a search find a better recipe than the one from which it starts?

Of each of five phantoms (other patients of thyroid7, 30 images per class and 10 per cross), the
default recipe and proposals drawn at random are trained in five folds, on real images of 32 pixels,
and tested on fresh images of other centres. From this table searches are replayed, which spend
equal stage-seconds: the best of all proposals by one split; as many as two folds each and the race
afford; the same without the rule that the given recipe stays unless another is better by more than
a standard error. Each is replayed in random orders of the proposals. TPE makes its first ten
proposals at random, too.

About a quarter of an hour on two processors. Trainings are kept in build/search-gain, so the same
command continues.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optuna
import pytest
from scipy.stats import spearmanr, t

from thyroid import machine
from thyroid.data.dataset import Dataset
from thyroid.errors import StageFailed
from thyroid.evaluate.metrics import macro_f1
from thyroid.execution.in_process import in_process, opened
from thyroid.phantom.write_files import write_phantom
from thyroid.precision import resolve_precision
from thyroid.recipe import RECIPES, Recipe, override
from thyroid.run_files.network import Network
from thyroid.run_files.predictions_csv import ARTIFACT, ensemble, read_predictions
from thyroid.runs.experiment import Experiment, network_of
from thyroid.space import load_space
from thyroid.stage import Stage
from thyroid.storage.store import Store
from thyroid.tuning.held_out import HeldOut, held_out
from thyroid.tuning.recipe_race import GIVEN, race
from thyroid.tuning.search_config import SearchConfig
from tune_spaces.augmentation import length, real

FOLDER = Path("build/search-gain")
PHANTOMS = (101, 102, 103, 104, 105)
"""Seeds; those of the test images are 1,000 more."""
PROPOSALS = 7
FOLDS = 5
TRIALS = 32
ORDERS = 200
"""Random orders of the proposals in which a search is replayed."""
CHANGES = {
    "input.size": 32,
    "split.folds": FOLDS,
    "split.test": 0.0,
    "mixing.synthetic_share": 0.0,
    "mixing.final_share": 0.0,
    "schedule.constant_epochs": 12,
    "schedule.decay_epochs": 8,
    "execution.device": "cpu",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """One recipe, trained in every fold."""

    predicted: dict[int, HeldOut]
    """Number of folds -> predictions of their validation parts."""
    seconds: list[float]
    """Seconds of the training in each fold."""
    single: float
    """Macro-F1 on the test images, mean over the folds' networks."""
    ensemble: float
    """Macro-F1 of their mean probabilities."""


def proposals() -> list[Recipe]:
    """The default recipe, then recipes drawn at random from the spaces' parts on real images."""
    default = override(RECIPES["small"](), CHANGES)
    resolved = resolve_precision(replace(default, execution=machine.resolve(default.execution)))
    optimiser = load_space("baselines")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = []
    for _ in range(PROPOSALS):
        trial = study.ask()
        tuned = override(optimiser(trial, resolved), length(trial, resolved))
        changed = real(_Renamed(trial), resolved)  # type: ignore[arg-type]
        drawn.append(override(tuned, changed))
    return [resolved, *drawn]


class _Renamed:
    """A trial in which `magnitude` has another name, because both spaces have such a parameter."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def suggest_float(self, name: str, low: float, high: float, *, step: float) -> float:
        renamed = "geometry" if name == "magnitude" else name
        return self._trial.suggest_float(renamed, low, high, step=step)

    def suggest_categorical(self, name: str, choices: Sequence[float]) -> float:
        return float(self._trial.suggest_categorical(name, choices))


def tried(seed: int) -> list[Tried | None]:
    """Train every recipe on one phantom; None for one that diverges."""
    data = _phantom(FOLDER / f"data-{seed}", "thyroid7", 30, seed)
    test = _phantom(FOLDER / f"test-{seed}", "thyroid7-external", 60, seed + 1000)
    store = Store(FOLDER / f"store-{seed}")
    runner = in_process(store, {data.digest: data.folder, test.digest: test.folder})
    found: list[Tried | None] = []
    for recipe in proposals():
        experiment = Experiment(dataset=data, recipe=recipe, seeds=[0], test_set=test)
        stages = experiment.predictions()
        try:
            for _ in runner([stage for stage in stages if stage.key not in store]):
                pass
        except StageFailed:
            found.append(None)
            continue
        found.append(_read(stages, store, data.info.classes))
    return found


def _phantom(folder: Path, preset: str, images_per_class: int, seed: int) -> Dataset:
    if not folder.exists():
        write_phantom(
            folder,
            preset=preset,
            images_per_class=images_per_class,
            images_per_cross=images_per_class // 3,
            seed=seed,
            format="dataset",
        )
    return Dataset.open(folder)


def _read(stages: Sequence[Stage], store: Store, classes: tuple[str, ...]) -> Tried:
    validated = [stage for stage in stages if stage.config.part == "validation"]
    tested = [
        read_predictions(opened(stage, store) / ARTIFACT, classes)
        for stage in stages
        if stage.config.part != "validation"
    ]

    def score(probabilities: np.ndarray) -> float:
        return macro_f1(tested[0].labels, probabilities.argmax(axis=1), len(classes))

    predicted = {}
    for folds in range(1, FOLDS + 1):
        some = [stage for stage in validated if network_of(stage).fold < folds]
        own = held_out(store, some, classes)
        assert own is not None
        predicted[folds] = own
    return Tried(
        predicted=predicted,
        seconds=[_seconds(stage.inputs["model"], store) for stage in validated],
        single=float(np.mean([score(p.probabilities) for p in tested])),
        ensemble=score(ensemble(tested).probabilities),
    )


def _seconds(model: Stage, store: Store) -> float:
    manifests = [store.manifest(s.key) for s in model.lineage() if s.kind == "classifier"]
    return float(sum(manifest["seconds"] for manifest in manifests if manifest is not None))


def by_one_split(table: Sequence[Tried | None], order: Sequence[int], seconds: float) -> int:
    """Choose the proposal that is best in the first fold, among those for which there is time."""
    spent, values = 0.0, {}
    for number in (0, *order):
        one = table[number]
        if one is not None:
            spent += one.seconds[0]
            if spent > seconds * (1 + 1e-9):
                break
            values[number] = one.predicted[1].macro_f1.value
    return max(values, key=lambda number: values[number])


def by_folds(
    table: Sequence[Tried | None], order: Sequence[int], seconds: float, *, stays: bool = True
) -> int:
    """Choose by the race over folds, among as many proposals as there is time for."""
    config = SearchConfig()
    for number in range(len(order), -1, -1):
        some = [n for n in order[:number] if table[n] is not None]
        chosen, spent = _raced(table, some, config, stays=stays)
        if spent <= seconds:
            return chosen
    return 0


def _raced(
    table: Sequence[Tried | None], numbers: Sequence[int], config: SearchConfig, *, stays: bool
) -> tuple[int, float]:
    """Return the recipe that the race chooses, and the seconds of trials and race."""

    def tried_as(number: int) -> Tried:
        found = table[0 if number == GIVEN else number]
        assert found is not None
        return found

    folds_of: dict[int, int] = {}

    def train(entrants: Sequence[int], networks: Sequence[Network]) -> dict[int, HeldOut]:
        folds = len(networks)
        folds_of.update(dict.fromkeys(entrants, folds))
        return {number: tried_as(number).predicted[folds] for number in entrants}

    _, first = config.first_level(FOLDS)
    ranked = sorted(numbers, key=lambda n: -tried_as(n).predicted[first].macro_f1.value)
    folds_of |= dict.fromkeys(numbers, first)
    levels = [[Network(0, f) for f in range(k)] for _, k in config.race_levels(FOLDS)]
    raced = race([GIVEN, *ranked[:6]], levels, train)
    spent = sum(sum(tried_as(n).seconds[:folds]) for n, folds in folds_of.items())
    close = [r for r in raced if r.state != "dropped"]
    chosen = raced[0] if stays else min(close, key=lambda r: r.behind)
    return chosen.trial or 0, spent


def cost(table: Sequence[Tried | None]) -> float:
    """Return how many times as long a search of TRIALS recipes over folds takes as on one split:
    two folds each, and the race that the proposals of this table had.
    """
    numbers = [n for n in range(1, len(table)) if table[n] is not None]
    trained = [one for one in table if one is not None]
    first = SearchConfig().first_level(FOLDS)[1]
    _, spent = _raced(table, numbers, SearchConfig(), stays=True)
    trials = sum(sum(one.seconds[:first]) for n in numbers if (one := table[n]) is not None)
    each = float(np.mean([one.seconds[0] for one in trained]))
    return first + (spent - trials) / (TRIALS * each)


def interval(values: Sequence[float]) -> str:
    """Return the mean and its 95 % interval over data sets, Student's t."""
    mean, n = float(np.mean(values)), len(values)
    half = float(t.ppf(0.975, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"


@pytest.mark.timeout(0)
def test_search_against_the_recipe_that_it_starts_from() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        tables = list(processes.map(tried, PHANTOMS))
    policies: dict[str, Callable[[Sequence[Tried | None], list[int], float], int]] = {
        "best by one split": by_one_split,
        "race over folds": by_folds,
        "race, no recipe stays": lambda *given: by_folds(*given, stays=False),
        "the default recipe": lambda *_: 0,
    }
    gains: dict[str, list[float]] = {name: [] for name in policies}
    kept: dict[str, list[float]] = {name: [] for name in policies}
    correlations: dict[str, list[float]] = {}
    for table in tables:
        assert table[0] is not None
        trained = [one for one in table if one is not None]
        seconds = sum(one.seconds[0] for one in trained)
        rng = np.random.default_rng(0)
        orders = [rng.permutation(range(1, len(table))).tolist() for _ in range(ORDERS)]
        for name, policy in policies.items():
            chosen = [policy(table, order, seconds) for order in orders]
            values = [found.ensemble for n in chosen if (found := table[n]) is not None]
            gains[name].append(float(np.mean(values)) - table[0].ensemble)
            kept[name].append(float(np.mean([n == 0 for n in chosen])))
        for folds in (1, 2, FOLDS):
            scores = [one.predicted[folds].macro_f1.value for one in trained]
            rank = spearmanr(scores, [one.single for one in trained]).statistic
            correlations.setdefault(f"{folds} folds", []).append(float(rank))
        best = max(one.ensemble for one in trained) - table[0].ensemble
        gains.setdefault("the best of all, were it known", []).append(best)
        told = " ".join(f"{one.ensemble:.3f}" for one in trained)
        print(f"\nexternal macro-F1 of the ensembles, the default first: {told}")
    print("\ngain over the default recipe, external macro-F1 of ensembles:")
    for name, values in gains.items():
        stays = f", default kept {np.mean(kept[name]):.0%}" if name in kept else ""
        print(f"{name:<32}{interval(values)}{stays}")
    print(f"stage-seconds of {TRIALS} trials and a race, by those of the trials on one split:")
    print(f"{'':<32}{interval([cost(table) for table in tables])}, no trial stopped early")
    difference = np.subtract(gains["race over folds"], gains["best by one split"])
    print(f"{'race less one split':<32}{interval(difference.tolist())}")
    for name, ranks in correlations.items():
        print(f"rank correlation of validation with test, {name}: {np.mean(ranks):.2f}")
    assert all(len(values) == len(PHANTOMS) for values in gains.values())
