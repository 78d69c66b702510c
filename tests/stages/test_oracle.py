"""The oracle: new simulated patients, never those of the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toy import made, toy_recipe, write_small_phantom
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.data.splits import LeakError, make_split
from thyroid.errors import InputError
from thyroid.network_input import sum_pixels
from thyroid.phantom.presets import PRESETS, preset_of, source_of
from thyroid.recipe import Recipe
from thyroid.stage import Stage
from thyroid.stages import simulate_oracle
from thyroid.stages.synthesise import load


def recipe(**changes: object) -> Recipe:
    about = {"generator": "oracle", "mixing__dose": 0.5, "srgan__scale": 1, "split__folds": 2}
    few = {"synthesis__images_per_class": 2, "synthesis__images_per_cross": 1}
    return toy_recipe(**about | few | changes)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    return write_small_phantom(folder, 4, 3, seed=3, size=64)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def oracle(
    dataset: Dataset, seed: int = 0, fold: int = 0, pool: int = 0, **changes: object
) -> Stage:
    return pipeline.synthesis(recipe(**changes).in_fold(fold), dataset.digest, seed, pool)


def test_it_draws_new_patients_of_the_findings_that_are_asked_for(
    phantom: Path, store: Path
) -> None:
    dataset = Dataset.open(phantom)
    stage = oracle(dataset)
    assert {each.kind for each in stage.lineage()} == {"split", "oracle"}  # nothing is learned
    folder, lines = made(stage, phantom, store)
    pool, verdicts = load(folder)
    train = make_split(dataset, recipe().split).train
    seen = set(dataset.images["findings"].iloc[train])
    wanted = {text: 1 if ";" in text else 2 for text in seen}
    assert pool.images["findings"].value_counts().to_dict() == wanted
    assert {line["findings"]: line["made"] for line in lines} == wanted
    assert np.array_equal(verdicts.argmax(1).numpy(), pool.labels)
    assert pool.info.size == 32
    for column in ("patient_id", "image_id"):
        assert not set(pool.images[column]) & set(dataset.images[column])
    own = np.array(dataset.counts).reshape(len(dataset), -1)
    small = sum_pixels(torch.from_numpy(own.reshape(-1, 64, 64).astype("f4")), 32)
    pixels = {image.tobytes() for image in small.numpy().astype(np.uint16)}
    assert not any(image.tobytes() in pixels for image in pool.counts)
    # as much activity as in the data: the same camera and patients
    ratio = pool.images["total_counts"].mean() / dataset.images["total_counts"].mean()
    assert 0.7 < ratio < 1.4


@pytest.mark.parametrize("other", [{"seed": 1}, {"fold": 1}, {"pool": 1}], ids=str)
def test_every_training_part_seed_and_pool_has_patients_of_its_own(
    other: dict[str, int], phantom: Path, store: Path
) -> None:
    dataset = Dataset.open(phantom)
    first, second = (
        set(Dataset.open(made(stage, phantom, store)[0] / "dataset").images["patient_id"])
        for stage in (oracle(dataset), oracle(dataset, **other))
    )
    assert not first & second


def test_it_knows_the_centres_of_the_training_part_alone(phantom: Path, store: Path) -> None:
    dataset = Dataset.open(phantom)
    left = sorted(set(dataset.images["centre"]))[0]
    stage = oracle(dataset, split__leave_out_centre=left, synthesis__images_per_class=4)
    pool = Dataset.open(made(stage, phantom, store)[0] / "dataset")
    assert left not in set(pool.images["centre"])
    assert set(pool.images["centre"]) == set(dataset.images["centre"]) - {left}


def test_a_patient_of_the_data_set_stops_it(
    phantom: Path, store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the seed of the data, the oracle would simulate validation and test patients again, for
    training.
    """
    dataset = Dataset.open(phantom)
    stage = oracle(dataset)
    folder, _ = made(stage.inputs["split"], phantom, store)
    monkeypatch.setattr(simulate_oracle, "seed_of", lambda *_: 3)
    inputs = {"dataset": phantom, "split": folder}
    with pytest.raises(LeakError, match="the oracle has patient_id"):
        list(simulate_oracle.fit(stage.config, inputs, tmp_path))
    assert not list(tmp_path.iterdir())


def test_only_simulated_data_have_an_oracle(toy: Path, phantom: Path) -> None:
    with pytest.raises(InputError, match="was not made by `thyroid phantom`"):
        simulate_oracle.simulator_of(Dataset.open(toy))
    preset = simulate_oracle.simulator_of(Dataset.open(phantom))
    assert preset is PRESETS["thyroid7"]
    with pytest.raises(InputError, match="knows no normal\\+hot_nodule"):
        simulate_oracle.require_known(preset, [("normal", "hot_nodule")])


@pytest.mark.parametrize("name", PRESETS)
def test_a_source_names_its_preset(name: str) -> None:
    for seed in (0, 17, -1):
        assert preset_of(source_of(name, seed)) is PRESETS[name]
    assert preset_of(f"{source_of(name, 0)} and others") is None
    assert preset_of("import") is None
