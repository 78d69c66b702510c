"""Measures the calibration, the gate and the speed of exported models.

Models are trained on two phantoms of 60 images per class and 20 per cross, in five folds with 40
epochs. Each model is tested on 1,000 images of external centres and on the other phantom's images.
None of these seeds is used elsewhere. Trainings are kept in build/ensembles, so the same command
continues. This takes about half an hour on two processors.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from sklearn.metrics import f1_score, log_loss, roc_auc_score

import thyroid
from tests.other_pictures import other_pictures
from thyroid.data.dataset import Dataset
from thyroid.evaluate.metrics import calibration_error
from thyroid.evaluate.temperature import fit_temperature, tempered
from thyroid.model import make_model
from thyroid.model.model_folder import Answers, Model, read_model
from thyroid.phantom.dicom_writer import nm_object
from thyroid.phantom.presets import PRESETS
from thyroid.phantom.simulator import addresses, simulate
from thyroid.phantom.write_files import write_phantom
from thyroid.recipe import Recipe, override
from thyroid.run_files.predictions_csv import read_networks

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "ensembles"
SEEDS = (101, 102)
EXTERNAL_SEED = 9001
CHANGES = {"schedule.constant_epochs": 26, "schedule.decay_epochs": 12, "split.test": 0.0}


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """A model, and its predictions of images that it was not trained on."""

    source: make_model.Trained
    model: Model
    external: Answers
    external_labels: np.ndarray
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
            thyroid.export(run, folder, onnx=True)
        model = read_model(folder)
        found.append(
            Tried(
                source=make_model.trained(run),
                model=model,
                external=answers(model, external.counts),
                external_labels=external.labels,
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


def figures(labels: np.ndarray, p: np.ndarray) -> str:
    f1 = f1_score(labels, p.argmax(axis=1), average="macro")
    return f"macro-F1 {f1:.3f}, log loss {log_loss(labels, p):.3f}, ECE {ece(labels, p):.3f}"


def ece(labels: np.ndarray, p: np.ndarray) -> float:
    return float(calibration_error(labels, p, np.ones(len(labels))))


def test_calibration_and_coverage(tried: list[Tried]) -> None:
    """Temperatures by the rule of `ensemble_temperature`, and by two others."""
    print()
    errors = []
    for each in tried:
        calibration, source = each.model.card["calibration"], each.source
        fitted = calibration["fitted_temperature"]
        print(each.model.name, f"T of single networks {fitted:.3f}", calibration)
        held = tempered(source.held_out.probabilities, fitted)
        print("  out of fold, single networks:", figures(source.held_out.labels, held))
        members = np.stack([n.probabilities for n in read_networks(
            source.run / "predictions", source.classes
        ).values()])  # fmt: skip
        ways = {
            "as exported": each.external.probabilities,
            "T of single networks": tempered(members.mean(axis=0), fitted),
            "members tempered, then averaged": np.mean([tempered(p, fitted) for p in members], 0),
            "one member, T of single networks": tempered(members[0], fitted),
        }
        for way, p in ways.items():
            print(f"  external, {way}:", figures(each.external_labels, p), coverage(each, p))
        print("  own centres, as exported:", end=" ")
        own = each.own_kind.probabilities
        print(figures(each.own_labels, own), coverage(each, own, each.own_labels))
        errors.append(ece(each.external_labels, ways["as exported"]))
    assert np.mean(errors) <= 0.03


def coverage(each: Tried, p: np.ndarray, labels: np.ndarray | None = None) -> str:
    labels = each.external_labels if labels is None else labels
    sets = each.model.credible(p)
    one, holds = sets.sum(axis=1) == 1, sets[np.arange(len(labels)), labels]
    return f"coverage {holds.mean():.3f}, one class {one.mean():.3f}, right {holds[one].mean():.3f}"


def test_the_best_temperature_falls_with_the_number_of_networks(tried: list[Tried]) -> None:
    """The constant of `ensemble_temperature`: c of T_M = T_1 (1 - c (1 - 1 / M)).

    It is chosen on the development centres: on the other phantom's images.
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


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    preset = PRESETS["thyroid7-external"]
    first = addresses(preset, images_per_class=1, images_per_cross=0)[:1]
    (image,) = simulate(preset, first, seed=EXTERNAL_SEED, posterior=True)
    nm_object(image).save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    return tmp_path / "scan.dcm"


def seconds(action: Callable[[], object], times: int) -> Iterator[float]:
    for _ in range(times):
        began = time.perf_counter()
        action()
        yield time.perf_counter() - began


def test_one_image_cold_and_many_at_once(tried: list[Tried], scan: Path) -> None:
    folder = PLACE / f"model-phantom-{SEEDS[0]}"
    command = [sys.executable, "-m", "thyroid.cli", "predict", str(folder), str(scan)]
    command += ["--out", str(scan.parent / "out.csv")]

    def cold() -> None:
        subprocess.run(command, check=True, capture_output=True)

    took = sorted(seconds(cold, 5))
    print(f"\none image cold, five networks: median {took[2]:.2f} s, least {took[0]:.2f} s")
    counts = np.asarray(Dataset.open(PLACE / "external").counts)[:128]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        (each,) = seconds(lambda: answers(tried[0].model, counts), 1)
        print(f"128 images, {threads} threads: {1000 * each / 128:.0f} ms per image")
    torch.set_num_threads(1)
    print("model.onnx:", (folder / "model.onnx").stat().st_size / 1e6, "MB")
    assert took[0] <= 3
