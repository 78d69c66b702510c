"""Measures the gate of exported models, and the temperature of ensembles of fewer networks.

Models are trained on two phantoms of 60 images per class and 20 per cross, in five folds with 40
epochs. Each model is tested on 1,000 images of external centres and on the other phantom's images.
None of these seeds is used elsewhere. Trainings are kept in build/ensembles, so the same command
continues. This takes about half an hour on two processors.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from sklearn.metrics import roc_auc_score

import thyroid
from tests.other_pictures import other_pictures
from thyroid.data.dataset import Dataset
from thyroid.evaluate.temperature import fit_temperature
from thyroid.model.model_folder import Answers, Model, read_model
from thyroid.phantom.write_files import write_phantom
from thyroid.recipe import Recipe, override

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "ensembles"
SEEDS = (101, 102)
EXTERNAL_SEED = 9001
CHANGES = {"schedule.constant_epochs": 26, "schedule.decay_epochs": 12, "split.test": 0.0}


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """A model, and its predictions of images that it was not trained on."""

    model: Model
    external: Answers
    own_kind: Answers
    own_labels: np.ndarray
    """Images of the other phantom, with other patients of the same centres."""
    others: dict[str, Answers]
    """Pictures of other kinds, by kind."""


def simulated(name: str, preset: str, per_class: int, per_cross: int, seed: int) -> Dataset:
    folder = PLACE / name
    if not (folder / "dataset.json").exists():
        write_phantom(
            folder,
            preset=preset,
            images_per_class=per_class,
            images_per_cross=per_cross,
            seed=seed,
            format="dataset",
        )
    return Dataset.open(folder)


def answers(model: Model, counts: np.ndarray) -> Answers:
    return model.answers(torch.from_numpy(np.asarray(counts, dtype=np.float32)))


@pytest.fixture(scope="module")
def tried() -> list[Tried]:
    PLACE.mkdir(parents=True, exist_ok=True)
    external = simulated("external", "thyroid7-external", 100, 50, EXTERNAL_SEED)
    phantoms = [simulated(f"phantom-{seed}", "thyroid7", 60, 20, seed) for seed in SEEDS]
    pictures = other_pictures(np.asarray(external.counts))
    found = []
    for own, other in (phantoms, phantoms[::-1]):
        run, folder = PLACE / f"run-{own.folder.name}", PLACE / f"model-{own.folder.name}"
        recipe = override(Recipe(), CHANGES)
        thyroid.train(own, run, recipe, folds=5, test_set=external.folder, store=PLACE / "store")
        if not folder.exists():
            thyroid.export(run, folder)
        model = read_model(folder)
        found.append(
            Tried(
                model=model,
                external=answers(model, external.counts),
                own_kind=answers(model, other.counts),
                own_labels=other.labels,
                others={kind: answers(model, each) for kind, each in pictures.items()},
            )
        )
    return found


@pytest.fixture(autouse=True)
def _measured(benchmark: BenchmarkFixture) -> None:
    """Mark as a benchmark for --benchmark-only, although no time is measured."""
    benchmark.pedantic(lambda: None, rounds=1)


def test_the_best_temperature_falls_with_the_number_of_networks(tried: list[Tried]) -> None:
    """The constant of `ensemble_temperature`: c of T_M = T_1 (1 - c (1 - 1 / M)).

    It is chosen on the images of the other phantom, which are from the development centres.
    """
    print()
    for each, other in zip(tried, SEEDS[::-1], strict=True):
        counts = torch.from_numpy(Dataset.open(PLACE / f"phantom-{other}").counts.astype("float32"))
        with torch.inference_mode():
            some = torch.split(counts, each.model.network.batch)
            members = torch.cat([each.model.network.of_members(few) for few in some], 1).numpy()
        labels = each.own_labels  # (N,), of members (5, N, C)
        alone = fit_temperature(np.tile(labels, 5), members.reshape(-1, members.shape[-1]))
        for m in range(2, 6):
            ratios = [
                fit_temperature(labels, members[list(some)].mean(axis=0)) / alone
                for some in itertools.combinations(range(5), m)
            ]
            c = (1 - np.mean(ratios)) / (1 - 1 / m)
            print(f"M {m}: T_M / T_1 {np.mean(ratios):.3f}, c {c:.3f}")
            assert c > 0


def test_the_gate_tells_other_pictures_from_scintigrams(tried: list[Tried]) -> None:
    print()
    for each in tried:
        far = np.concatenate([a.distances for a in each.others.values()])
        near = each.external.distances
        auroc = roc_auc_score(np.repeat([0, 1], [len(near), len(far)]), np.append(near, far))
        alarms = (near > 1).mean(), (each.own_kind.distances > 1).mean()
        print(f"AUROC {auroc:.4f}; false alarms: external {alarms[0]:.3f}, own {alarms[1]:.3f}")
        named = []
        for kind, a in each.others.items():
            credible = each.model.credible(a.probabilities).sum(axis=1) == 1
            diagnosed = credible & (a.distances <= 1)
            named.append(diagnosed.mean())
            print(
                f"  {kind}: {len(a.distances)} pictures, unlike {(a.distances > 1).mean():.2f}, "
                f"a class {diagnosed.mean():.2f} (without the gate {credible.mean():.2f})"
            )
        print(f"  mean over kinds: a class {np.mean(named):.3f}")
        assert auroc > 0.99
        assert alarms[0] < 0.02
