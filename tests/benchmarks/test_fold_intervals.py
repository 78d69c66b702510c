"""Intervals about recipes: how often do they contain the truth in simulations?

    pytest tests/benchmarks/test_fold_intervals.py -m '' -o addopts=-s

prints the tables of docs/results/measurements.md: coverage of 95 % intervals in percent, and their
mean half width in thousandths of macro-F1. Recipes are equal unless the row says otherwise, so that
100 minus the coverage of a difference is the share of false alarms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from tests.evaluate import known_truth as recipes
from tests.evaluate.known_truth import CLASSES, WORSE, Population, Setting, Trained
from thyroid.evaluate.bootstrap import draw
from thyroid.evaluate.metrics import Floats, Ints, macro_f1
from thyroid.evaluate.paired import Difference, macro_f1_difference
from thyroid.evaluate.pooled import Estimate, pooled_difference, pooled_macro_f1
from thyroid.evaluate.training_luck import overlap

Z = float(norm.ppf(0.975))
UNEQUAL = Population(within=0.5, images=3, shares=(0.3, 0.2, 0.15, 0.1, 0.1, 0.1, 0.05))
LINEAR = Setting(fit=recipes.discriminant)
QUADRATIC = Setting(fit=recipes.quadratic)
FEATURES = Setting(fit=recipes.random_features)
JUMPS = Setting(fit=recipes.five_dimensions)
NEIGHBOUR = Setting(fit=recipes.neighbour)
TREE = Setting(fit=recipes.tree)
NETWORK = Setting(fit=recipes.perceptron)
RECIPES = {
    "linear discriminant": LINEAR,
    "quadratic discriminant": QUADRATIC,
    "random features": FEATURES,
    "tree": TREE,
}
FOLDS = (2, 3, 5, 10)


def remembered(
    drawn: Callable[[np.random.Generator, int, int], Floats],
) -> Callable[[np.random.Generator, int, int], Floats]:
    """Draw like `drawn`, but only once for each seed, because drawing takes half of the time."""
    known: dict[object, tuple[Floats, object]] = {}

    def once(rng: np.random.Generator, n: int, resamples: int) -> Floats:
        key = (str(rng.bit_generator.state), n, resamples)
        if key not in known:
            known[key] = (drawn(rng, n, resamples), rng.bit_generator.state)
        found, rng.bit_generator.state = known[key]  # type: ignore[assignment]
        return found

    return once


@contextmanager
def timed() -> Iterator[None]:
    began = time.process_time()
    yield
    print(f"\n{time.process_time() - began:.0f} s of processor time")


@pytest.mark.timeout(7200)
def test_luck_of_training_sets_that_share_patients() -> None:
    """Measure q, on 3,000 test images that are the same for all training sets."""
    print("\n| recipe | folds | s, between folds | SD of the mean over folds | q | `overlap` |")
    print("|---" * 6 + "|")
    found = {}
    cases = [(name, s, k, 100) for name, s in RECIPES.items() for k in FOLDS]
    with timed():
        for name, setting, folds, repetitions in [*cases, ("network", NETWORK, 5, 40)]:
            x, y, _ = setting.population.draw(3000, np.random.default_rng(99))
            rng, by_fold = np.random.default_rng(1), []
            for _ in range(repetitions):
                data = replace(setting, folds=folds).train(rng, test=(x, y, np.arange(len(y))))
                f1 = [[macro_f1(y, n[0], CLASSES) for n in r] for r in data.networks]
                by_fold.append(f1)
            values = np.array(by_fold)  # (R, 2, K): both recipes are alike
            squared = values.var(axis=2, ddof=1).mean()
            of_mean = values.mean(axis=2).var(axis=0, ddof=1).mean()
            found[name, folds] = (of_mean - squared / folds) / squared
            print(
                f"| {name} | {folds} | {np.sqrt(squared):.4f} | {np.sqrt(of_mean):.4f} "
                f"| {found[name, folds]:.2f} | {overlap(folds):.2f} |",
                flush=True,
            )
    assert abs(found["quadratic discriminant", 2]) < 0.15
    assert 0.6 < found["quadratic discriminant", 5] < 1.7
    assert found["random features", 5] < 0.5


OUT_OF_FOLD = {
    f"{name}, {k} folds": (300 if k < 10 else 150, replace(s, folds=k))
    for name, s in RECIPES.items()
    for k in FOLDS
} | {
    "five dimensions, 5 folds": (300, JUMPS),
    "nearest neighbour, 5 folds": (300, NEIGHBOUR),
    "network, 5 folds": (100, NETWORK),
    "random features, 5 folds, 3 seeds": (150, replace(FEATURES, seeds=3)),
    "tree, 5 folds, 3 seeds": (100, replace(TREE, seeds=3)),
    "linear, 5 folds, 600 patients per class": (100, replace(LINEAR, patients=600)),
    "quadratic, 5 folds, unequal, 1-5 images": (200, replace(QUADRATIC, population=UNEQUAL)),
    "tree, 5 folds, unequal, 1-5 images": (150, replace(TREE, population=UNEQUAL)),
}


@pytest.mark.timeout(7200)
def test_out_of_fold_intervals() -> None:
    """Compare intervals: over patients alone, widened, and by Nadeau & Bengio's t over folds."""
    columns = ["patients alone", "widened (chosen)", "t over folds (Nadeau & Bengio)"]
    of_both = " | ".join(f"{what}: {c}" for what in ("recipe", "difference") for c in columns)
    print(f"\n| setting | macro-F1 | variance / that of patients: recipe, difference | {of_both} |")
    print("|---" * 9 + "|")
    held = {}
    with timed():
        for name, (repetitions, setting) in OUT_OF_FOLD.items():
            rng, ends = np.random.default_rng(1), []
            values, errors = [], []
            for _ in range(repetitions):
                data = setting.train(rng, test=setting.population.draw(70, rng))
                pair = _out_of_fold(data, 1)
                ends.append(
                    [_normal(e) for e in pair]
                    + [_normal(e) for e in _out_of_fold(data, setting.folds)]
                    + _over_folds(data, setting.folds)
                )
                values.append([e.value for e in pair])
                errors.append([e.standard_error for e in pair])
            truth = np.tile([np.mean(values, axis=0)[0], 0.0], 3)
            limits = np.array(ends)  # (R, 6, 2)
            inside = ((limits[..., 0] <= truth) & (truth <= limits[..., 1])).mean(axis=0)
            half = (limits[..., 1] - limits[..., 0]).mean(axis=0) / 2
            ratio = np.var(values, axis=0) / np.mean(np.square(errors), axis=0)
            held[name] = inside
            cells = [f"{100 * inside[i]:.1f} ({1000 * half[i]:.0f})" for i in (0, 2, 4, 1, 3, 5)]
            print(
                f"| {name} ({repetitions}) | {truth[0]:.3f} | {ratio[0]:.2f}, {ratio[1]:.2f} | "
                + " | ".join(cells)
                + " |",
                flush=True,
            )
    assert min(v[3] for name, v in held.items() if "neighbour" not in name) > 0.89
    assert held["tree, 2 folds"][1] < 0.92  # patients alone: false alarms


TEST_SET: dict[str, tuple[int, Setting]] = {
    "linear discriminant": (200, LINEAR),
    "quadratic discriminant": (200, QUADRATIC),
    "random features": (200, FEATURES),
    "five dimensions": (200, JUMPS),
    "nearest neighbour": (200, NEIGHBOUR),
    "tree": (200, TREE),
    "network": (80, NETWORK),
    "quadratic, 2 folds": (200, replace(QUADRATIC, folds=2)),
    "quadratic, 3 folds": (200, replace(QUADRATIC, folds=3)),
    "quadratic, 10 folds": (100, replace(QUADRATIC, folds=10)),
    "random features, 3 seeds": (100, replace(FEATURES, seeds=3)),
    "quadratic, 20 test patients per class": (200, replace(QUADRATIC, test_patients=20)),
    "quadratic, 300 test patients per class": (200, replace(QUADRATIC, test_patients=300)),
    "quadratic, 1,500 test patients per class": (150, replace(QUADRATIC, test_patients=1500)),
    "random features, 300 test patients per class": (200, replace(FEATURES, test_patients=300)),
    "linear, 600 patients per class": (60, replace(LINEAR, patients=600)),
    "quadratic, unequal, 1-5 images": (200, replace(QUADRATIC, population=UNEQUAL)),
    "quadratic, second worse": (200, replace(QUADRATIC, second=WORSE)),
}
CANDIDATES = {
    "patients": "networks: patients alone",
    "today": "networks: folds as if seeds",
    "bengio": "networks: Nadeau & Bengio's q",
    "networks": "networks: `overlap` (chosen)",
    "ensemble_patients": "ensembles: patients alone",
    "ensemble": "ensembles: with networks' luck (chosen)",
}


def candidates(data: Trained, folds: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return low and high of each candidate for one test set."""
    test = (data.test_labels, *data.networks, data.test_patients)
    rows = data.networks.reshape(2, -1, len(data.test_labels))
    both: tuple[Ints, Ints] = (data.ensembles[0], data.ensembles[1])

    def difference(*arguments: Ints, ensembles: tuple[Ints, Ints] | None = None) -> Difference:
        return macro_f1_difference(
            *arguments, classes=CLASSES, ensembles=ensembles, resamples=200, seed=seed
        )

    networks = difference(*test)
    ensemble = difference(*test, ensembles=both)
    today = difference(data.test_labels, *rows, data.test_patients)
    return {
        "patients": _of_patients(networks),
        "today": (today.low, today.high),
        "bengio": replace(networks, shared=1 / (folds - 1)).interval(0.95),
        "networks": (networks.low, networks.high),
        "ensemble_patients": _of_patients(ensemble),
        "ensemble": (ensemble.low, ensemble.high),
    }


def truth(setting: Setting, repetitions: int) -> tuple[float, float]:
    """Return the true difference of single networks and of ensembles, over new training sets."""
    if setting.second is None:
        return 0.0, 0.0
    rng, single, together = np.random.default_rng(99), [], []
    for _ in range(repetitions):
        data = setting.train(rng, test=setting.population.draw(7000, rng))
        f1 = [
            [macro_f1(data.test_labels, n, CLASSES) for n in r.reshape(-1, len(data.test_labels))]
            for r in data.networks
        ]
        single.append(np.mean(f1[0]) - np.mean(f1[1]))
        first, second = (macro_f1(data.test_labels, e, CLASSES) for e in data.ensembles)
        together.append(first - second)
    return float(np.mean(single)), float(np.mean(together))


@pytest.mark.timeout(7200)
def test_intervals_of_a_test_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare additions to the variation of patients, for single networks and their ensembles."""
    print("\n| setting | truth: networks, ensembles | " + " | ".join(CANDIDATES.values()) + " |")
    print("|---" * (2 + len(CANDIDATES)) + "|")
    monkeypatch.setattr("thyroid.evaluate.paired.draw", remembered(draw))
    held = {}
    with timed():
        for name, (repetitions, setting) in TEST_SET.items():
            single, together = truth(setting, 40)
            right = np.array([together if c.startswith("ensemble") else single for c in CANDIDATES])
            rng, ends = np.random.default_rng(1), []
            for trial in range(repetitions):
                data = setting.train(rng)
                ends.append(list(candidates(data, setting.folds, trial % 20).values()))
            low, high = np.moveaxis(np.array(ends), -1, 0)  # (R, candidates)
            inside = ((low <= right) & (right <= high)).mean(axis=0)
            power = ((low > 0) | (high < 0)).mean(axis=0)
            held[name] = dict(zip(CANDIDATES, inside, strict=True))
            half = (high - low).mean(axis=0) / 2
            cells = [f"{100 * i:.1f} ({1000 * h:.0f})" for i, h in zip(inside, half, strict=True)]
            if setting.second is not None:
                cells = [f"{c} found {100 * p:.0f}" for c, p in zip(cells, power, strict=True)]
            print(
                f"| {name} ({repetitions}) | {single:.3f}, {together:.3f} | "
                + " | ".join(cells)
                + " |",
                flush=True,
            )
    assert min(v["networks"] for v in held.values()) > 0.88
    assert min(v["ensemble"] for name, v in held.items() if name != "five dimensions") > 0.88
    assert held["tree"]["patients"] < 0.92


def _out_of_fold(data: Trained, folds: int) -> list[Estimate]:
    """Return the first recipe's macro-F1 and the difference."""
    first, second = data.out_of_fold
    y, patients = data.labels, data.patients
    return [
        pooled_macro_f1(y, first, patients, classes=CLASSES, folds=folds),
        pooled_difference(y, first, second, patients, classes=CLASSES, folds=folds),
    ]


def _normal(estimate: Estimate) -> tuple[float, float]:
    half = Z * estimate.standard_error
    return estimate.value - half, estimate.value + half


def _over_folds(data: Trained, folds: int) -> list[tuple[float, float]]:
    """Nadeau & Bengio 2003: mean over folds +- t sqrt((1 / K + n_test / n_train) s^2)."""
    f1 = np.empty((2, folds))
    for r, f in np.ndindex(f1.shape):
        k = data.fold == f
        rows = data.out_of_fold[r][:, k]
        f1[r, f] = np.mean([macro_f1(data.labels[k], row, CLASSES) for row in rows])
    return [_t(f1[0]), _t(f1[0] - f1[1])]


def _t(values: Floats) -> tuple[float, float]:
    n = len(values)
    half = student.ppf(0.975, n - 1) * np.sqrt(values.var(ddof=1) * (1 / n + 1 / (n - 1)))
    return float(values.mean() - half), float(values.mean() + half)


def _of_patients(difference: Difference) -> tuple[float, float]:
    low, high = np.quantile(difference.patient_means, (0.025, 0.975))
    return float(low), float(high)
