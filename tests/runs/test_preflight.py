"""Doubts about patients stop a training before anything is written, if no option accepts them."""

from pathlib import Path

import numpy as np
import pytest

from reports.sections.data import dataset_info
from tests.data.make import small_dataset
from thyroid.data.data_checks import check, like_others
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.recipe import RECIPES, override
from thyroid.runs.experiment import Experiment
from thyroid.runs.preflight import preflight

RECIPE = override(
    RECIPES["small"](),
    {
        "split.folds": 1,
        "input.size": 16,
        "execution.device": "cpu",
        "execution.precision": "fp32",
        "mixing.synthetic_share": 0.0,
        "mixing.final_share": 0.0,
    },
)
ROWS = [(f"p{i:02}", "c", ("normal", "graves")[i % 2]) for i in range(40)]


def images(seed: int, number: int = 40) -> np.ndarray:
    """Images of a few spots each, all different."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    scene = np.full((number, 32, 32), 3.0)
    for image in scene:
        for _ in range(5):
            cy, cx, width = *rng.uniform(4, 28, 2), rng.uniform(1.5, 4)
            image += 90 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
    return rng.poisson(scene).astype(np.uint16)


def named(dataset: Dataset, patients: list[str], like: list[str], key: str = "k" * 16) -> Dataset:
    """The same images under other patients' names."""
    table = dataset.images.assign(
        patient_id=patients, flags=[f"patient_like={other}" if other else "" for other in like]
    )
    table.to_csv(dataset.folder / "images.csv", index=False)
    path = dataset.folder / "dataset.json"
    path.write_text(path.read_text().replace('"patients_key": null', f'"patients_key": "{key}"'))
    return Dataset.open(dataset.folder)


def experiment(dataset: Dataset, test_set: Dataset | None = None) -> Experiment:
    recipe = RECIPE if test_set is None else override(RECIPE, {"split.test": 0.0})
    return Experiment(dataset=dataset, recipe=recipe, seeds=[0], test_set=test_set)


def test_look_alikes_in_two_parts_stop_a_training_unless_they_are_allowed(tmp_path: Path) -> None:
    counts = images(0)
    preflight(experiment(small_dataset(tmp_path / "sound", ROWS, counts=counts)))
    counts[10:] = np.random.default_rng(1).binomial(counts[9], 0.97, (30, 32, 32))
    dataset = small_dataset(tmp_path / "alike", ROWS, counts=counts)
    with pytest.raises(InputError, match=r"look the same and are in different parts.*--allow-look"):
        preflight(experiment(dataset))
    preflight(experiment(dataset), allow_look_alikes=True)


def test_look_alikes_of_a_test_set_stop_a_training(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path / "train", ROWS, counts=images(0))
    thinned = np.random.default_rng(1).binomial(dataset.counts[:8], 0.97).astype(np.uint16)
    rows = [(f"q{i}", "c", ("normal", "graves")[i % 2]) for i in range(8)]
    test_set = small_dataset(tmp_path / "test", rows, counts=thinned)
    with pytest.raises(InputError, match=r"8 images of the test set .*--allow-look"):
        preflight(experiment(dataset, test_set))
    preflight(experiment(dataset, test_set), allow_look_alikes=True)


def test_numbers_with_and_without_zeros_in_training_and_test_set(tmp_path: Path) -> None:
    """Training patient 5, whose name is `f5`, and a test patient 0005, whose name is `zeros`."""
    patients = ["f5", *[f"p{i}" for i in range(39)]]
    dataset = named(small_dataset(tmp_path / "train", ROWS, counts=images(0)), patients, [""] * 40)
    others = ["zeros", *[f"q{i}" for i in range(39)]]
    test_set = named(
        small_dataset(tmp_path / "test", ROWS, counts=images(2)), others, ["f5", *[""] * 39]
    )
    assert like_others(test_set, dataset).sum() == 1
    with pytest.raises(InputError, match=r"1 patients of the test set .* --distinct-ids"):
        preflight(experiment(dataset, test_set))
    preflight(experiment(dataset, test_set), distinct_ids=True)


def test_numbers_with_and_without_zeros_in_one_set_are_a_warning_and_counted(
    tmp_path: Path,
) -> None:
    patients = ["f1", "zeros", *[f"p{i}" for i in range(38)]]
    dataset = named(
        small_dataset(tmp_path / "set", ROWS, counts=images(0)),
        patients,
        ["", "f1", *[""] * 38],
    )
    (found,) = (flag for flag in check(dataset) if flag.kind == "patients_alike")
    assert found.severity == "warning"
    assert found.sentence.startswith("The names of 2 patients differ from another patient's only")
    assert dataset_info(dataset).patients_alike == 2
