"""A patient or an image in both the training and the test part is reported, whatever its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from reports.report import report_info, write_report
from reports.run import read_run
from reports.sections.data import data_info
from tests.reports.made_runs import make_dataset, make_run
from tests.reports.test_comparison import shown
from tests.stub_config import with_config
from tests.toy import like, made, toy_generators, toy_recipe, with_other_pixels, write_toy
from thyroid import pipeline
from thyroid.data.data_checks import look_alikes
from thyroid.data.dataset import Dataset
from thyroid.data.splits import LeakError
from thyroid.errors import InputError
from thyroid.recipe import Recipe, override
from thyroid.runs.experiment import Experiment
from thyroid.runs.preflight import preflight
from thyroid.runs.run_folder import recorded
from thyroid.stage import Stage
from thyroid.stages import split

RECIPE = toy_generators(schedule__constant_epochs=1, schedule__decay_epochs=0)

OTHER = override(RECIPE, {"split.seed": 1})
"""The same recipe, and another training part."""

IN_FOLDS = override(RECIPE, {"split.folds": 3})

OTHER_IMAGES = {
    "another split": (RECIPE, OTHER),
    "another fold": (IN_FOLDS.in_fold(0), IN_FOLDS.in_fold(1)),
    "one split": (IN_FOLDS.in_fold(0), RECIPE),
}
"""A recipe, and the same one with other training images."""


def eigen(recipe: Recipe) -> Recipe:
    return override(recipe, {"generator": "eigen"})


def probe(recipe: Recipe) -> Recipe:
    return override(recipe, {"training": "probe"})


STAGES: dict[str, Callable[[Recipe, str, int], Stage]] = {
    "dcgan": lambda *about: pipeline.dcgan(*about)[-1],
    "generator": lambda recipe, *about: pipeline.generator(eigen(recipe), *about)[-1],
    "srgan": lambda *about: pipeline.srgan(*about)[-1],
    "synthesis": pipeline.synthesis,
    "synthesis by another generator": lambda recipe, *about: pipeline.synthesis(
        eigen(recipe), *about
    ),
    "label_filter": pipeline.label_filter,
    "classifier": lambda *about: pipeline.classifier(*about)[-1],
    "probe": lambda recipe, *about: pipeline.classifier(probe(recipe), *about)[-1],
    "quality": pipeline.quality,
    "prediction": lambda *about: pipeline.prediction(*about, "validation"),
    "distances": pipeline.distances,
    "prediction of a probe": lambda recipe, *about: pipeline.prediction(
        probe(recipe), *about, "validation"
    ),
}


def with_a_leak(dealt: Path, part: str, folder: Path) -> Path:
    """The split with one training image, of a patient who has two, in another part."""
    table = pd.read_csv(dealt / "split.csv")
    table.loc[table.index[table["part"] == "train"][0], "part"] = part
    folder.mkdir()
    table.to_csv(folder / "split.csv", index=False)
    return folder


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_patient_in_two_parts_stops_every_stage_at_its_door(
    part: str, toy: Path, tmp_path: Path
) -> None:
    """The stage fails before it reads another input or an image."""
    digest = Dataset.open(toy).digest
    dealt, _ = made(pipeline.split(RECIPE.split, digest), toy, tmp_path / "store")
    inputs = {"dataset": toy, "split": with_a_leak(dealt, part, tmp_path / "split")}
    for name, stage_of in STAGES.items():
        stage = stage_of(RECIPE, digest, 0)
        if "model" in stage.inputs:
            inputs = inputs | {"model": made(stage.inputs["model"], toy, tmp_path / "store")[0]}
        with pytest.raises(LeakError, match=f"is in train and in {part}"):
            next(iter(stage.function()(stage.config, inputs, tmp_path / name)))


@pytest.mark.parametrize("where", OTHER_IMAGES)
@pytest.mark.parametrize("name", STAGES)
def test_what_learned_from_other_images_stops_every_stage_at_its_door(
    name: str, where: str, toy: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """The stage fails for each of its inputs, and writes nothing."""
    store = tmp_path_factory.getbasetemp() / "leaks"
    digest = Dataset.open(toy).digest
    own, foreign = (STAGES[name](recipe, digest, 0) for recipe in OTHER_IMAGES[where])
    inputs = {what: made(stage, toy, store)[0] for what, stage in own.inputs.items()}
    learned = {what: stage for what, stage in foreign.inputs.items() if what != "split"}
    assert learned or name in ("generator", "probe")
    for what, stage in learned.items():
        mixed = {"dataset": toy} | inputs | {what: made(stage, toy, store)[0]}
        with pytest.raises(LeakError, match=f"input '{what}' comes from other images"):
            next(iter(own.function()(own.config, mixed, tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_training_part_with_one_image_more_is_another(toy: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(toy)
    training, _ = made(pipeline.classifier(RECIPE, dataset.digest, 0)[0], toy, tmp_path / "store")
    folder, _ = made(pipeline.split(RECIPE.split, dataset.digest), toy, tmp_path / "store")
    inputs = {"dataset": toy, "split": folder, "model": training}
    split.open_split(inputs)
    table = pd.read_csv(folder / "split.csv")
    patients = dataset.images["patient_id"]
    moved = patients == patients[table["part"] == "validation"].iloc[0]
    table.loc[moved, "part"] = "train"
    (tmp_path / "more").mkdir()
    table.to_csv(tmp_path / "more" / "split.csv", index=False)
    with pytest.raises(LeakError, match="input 'model' comes from other images"):
        split.open_split(inputs | {"split": tmp_path / "more"})


def again(
    dataset: Dataset, rows: list[int], folder: Path, *, changed: int = 0, way: str = ""
) -> Dataset:
    """The data set with copies of some images, under other patients and at other positions."""
    more = dataset.images.iloc[rows].copy()
    more["image_id"], more["patient_id"] = "copy-" + more["image_id"], "x-" + more["patient_id"]
    counts = np.array(dataset.counts[rows])
    counts[:, 0, 0] += changed
    if way == "moved":
        counts = np.roll(counts, (1, -3), axis=(1, 2))
    if way == "mirrored":
        counts = counts[..., ::-1]
    more["total_counts"] += changed
    images = pd.concat([dataset.images, more], ignore_index=True)
    return like(dataset, folder, images=images, counts=np.concatenate([dataset.counts, counts]))


def test_an_image_under_another_patients_name_is_not_trained_on(tmp_path: Path) -> None:
    dataset = again(write_toy(tmp_path / "toy"), [0], tmp_path / "data")
    with pytest.raises(InputError, match="equal to an image of another patient"):
        preflight(Experiment(dataset=dataset, recipe=RECIPE, seeds=[0]))


@pytest.mark.parametrize("how", [{"changed": 1}, {"way": "moved"}, {"way": "mirrored"}])
def test_a_test_image_that_is_nearly_a_training_image_is_told(
    how: dict[str, Any], tmp_path: Path
) -> None:
    """Copies with one photon more, moved or mirrored, and under another name: two of them are in
    the test part.
    """
    honest = make_dataset(tmp_path / "honest")
    run = make_run(tmp_path / "run", honest)
    info = report_info(read_run(run))
    assert info.data.look_alikes == 0
    assert "look_alikes" not in info.verdict.cautions

    parts = pd.read_csv(run / "split.csv")["part"]
    two = parts.index[parts == "train"][[0, 9]].tolist()
    leaked = again(honest, two, tmp_path / "leaked", **how)
    copied = make_run(tmp_path / "copied", leaked)
    table = pd.read_csv(copied / "split.csv")
    table["part"] = [*parts, "test", "test"]
    table.to_csv(copied / "split.csv", index=False)
    info = report_info(read_run(copied))
    assert info.data.look_alikes == 2
    assert "near_duplicates" in {flag.kind for flag in info.data.quality}
    assert "look_alikes" in info.verdict.cautions
    said = shown(write_report(copied).read_text())
    assert "2 of these images look the same as training images of other patients" in said


def test_so_is_one_of_a_test_set_that_lies_elsewhere(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    strangers = make_dataset(tmp_path / "strangers", per_group=4, seed=5)
    run = make_run(tmp_path / "run", dataset)
    parts = pd.read_csv(run / "split.csv")
    parts[parts["part"] != "test"].to_csv(run / "split.csv", index=False)
    images = strangers.images.copy()
    counts = np.array(strangers.counts)
    trained = int(parts.index[parts["part"] == "train"][3])
    counts[7] = 2 * dataset.counts[trained]  # another scale: no pixel is the same
    images.loc[7, "total_counts"] = int(counts[7].sum())
    shared = like(strangers, tmp_path / "shared", images=images, counts=counts)
    for test_set, expected in ((strangers, 0), (shared, 1)):
        with_config(run, test_set=recorded(test_set))
        content = read_run(run)
        assert data_info(content).look_alikes == expected
    every = np.arange(len(shared))
    assert look_alikes(dataset, np.array([trained]), shared, every) == 1
    assert look_alikes(dataset, np.array([trained]), shared, every[every != 7]) == 0


def test_a_patient_of_two_imports_is_found_by_their_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other images of the same people, who can be recognised only by their names."""
    dataset = write_toy(tmp_path / "data")
    elsewhere = write_toy(tmp_path / "elsewhere", seed=1)
    recipe = override(RECIPE, {"split.test": 0.0})
    for key, told in (("k" * 16, False), (None, True)):
        for each in (dataset, elsewhere):
            info = json.loads((each.folder / "dataset.json").read_text()) | {"patients_key": key}
            (each.folder / "dataset.json").write_text(json.dumps(info))
        sets = [Dataset.open(each.folder) for each in (dataset, elsewhere)]
        if key is None:  # each import has names of its own
            table = sets[1].images
            table = table.assign(patient_id="other-" + table["patient_id"])
            table.to_csv(sets[1].folder / "images.csv", index=False)
            sets[1] = Dataset.open(sets[1].folder)
        experiment = Experiment(dataset=sets[0], recipe=recipe, seeds=[0], test_set=sets[1])
        if told:
            preflight(experiment)
        else:
            with pytest.raises(InputError, match="shares 0 images and 45 patients"):
                preflight(experiment)
        assert ("share patients: name all patients, and import both" in _said(capsys)) == told


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return "".join(capsys.readouterr())


def test_a_method_has_one_split_and_only_predictions_see_its_test_part(toy: Path) -> None:
    """All stages of an experiment: generators, filters, feature networks, real-only, phases."""
    recipe = toy_generators(
        split__seed=3, cross__order="retrain", cross__epochs=2, cross__synthetic=0.25
    )
    experiment = Experiment(dataset=Dataset.open(toy), recipe=recipe, seeds=[0, 1])
    lineage = {stage.key: stage for final in experiment.stages() for stage in final.lineage()}
    own = pipeline.split(recipe.split, experiment.dataset.digest)
    assert [stage.key for stage in lineage.values() if stage.kind == "split"] == [own.key]
    kinds = {stage.kind for stage in lineage.values()}
    assert {"dcgan", "srgan", "synthesis", "classifier", "quality", "prediction"} <= kinds
    for stage in lineage.values():
        if stage.kind in kinds - {"split", "prediction", "cases", "weights"}:
            assert stage.inputs["split"].key == own.key
            fed = {each.kind for each in stage.inputs.values()}
            assert not fed & {"prediction", "cases"}, stage.kind
            assert getattr(stage.config, "part", None) is None


@pytest.mark.parametrize("folds", [1, 3])
def test_pixels_of_the_official_test_part_change_no_network(folds: int, tmp_path: Path) -> None:
    """They change nothing in a recipe that asks for other test patients either; images of the other
    patients do.
    """
    plain = write_toy(tmp_path / "plain")
    parts = ["test", "train", "validation", "train", "test"]  # by patient, who has two images
    table = plain.images.assign(official_part=[parts[row // 2 % 5] for row in range(len(plain))])
    data = like(plain, tmp_path / "data", images=table)
    tested = np.flatnonzero(table["official_part"] == "test")
    used = np.flatnonzero(table["official_part"] == "train")
    recipe = toy_recipe(split__folds=folds, split__test=0.1, schedule__constant_epochs=1)
    untested = toy_recipe(split__folds=folds, split__test=0.0)  # as a run with a test set writes it
    wanted = Experiment(dataset=data, recipe=untested, seeds=[0]).predictions()
    assert {stage.config.part for stage in wanted} == {"validation", "test"}
    of = {
        name: with_other_pixels(data, rows, tmp_path / name)
        for name, rows in (("elsewhere", tested), ("in training", used))
    }
    for fold in range(folds):
        weights = {}
        for name, each in ({"as it is": data} | of).items():
            last = pipeline.classifier(recipe.in_fold(fold), each.digest, 0)[-1]
            folder, _ = made(last, each.folder, tmp_path / "store")
            weights[name] = load_file(folder / "model.safetensors")
        own = weights.pop("as it is")
        same = {
            name: all(torch.equal(own[key], other[key]) for key in own)
            for name, other in weights.items()
        }
        assert same == {"elsewhere": True, "in training": False}
