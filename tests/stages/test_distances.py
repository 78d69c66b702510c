"""The distances stage: features of every network, and distances of images that it has not seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.toy import made, toy_recipe, where, with_other_pixels
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.evaluate.novelty import feature_distances, feature_reference, relative_distances
from thyroid.network_input import network_input, sum_pixels
from thyroid.networks.activations import activations
from thyroid.run_files.features_file import FILE, read_features
from thyroid.runs.experiment import Experiment
from thyroid.stages import measure_distances, split
from thyroid.stages.altered_images import altered_images
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import start


@pytest.fixture(scope="module")
def artifacts(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the stage and of its inputs. Tests must not change it."""
    store = tmp_path_factory.mktemp("distances")
    stage = pipeline.distances(toy_recipe(), Dataset.open(toy).digest, 0)
    folders = {name: made(each, toy, store)[0] for name, each in stage.inputs.items()}
    return folders | {"distances": made(stage, toy, store)[0], "dataset": toy}


def inputs_of(artifacts: dict[str, Path], **changes: Path) -> dict[str, Path]:
    return {name: artifacts[name] for name in ("dataset", "split", "model")} | changes


def test_distances_are_of_the_validation_part_from_the_training_part(
    artifacts: dict[str, Path],
) -> None:
    found = read_features(artifacts["distances"] / FILE)
    dataset, parts = split.open_split(inputs_of(artifacts))
    network, _, config = load_model(artifacts["model"], start(toy_recipe().execution))
    network.eval()

    def seen(rows: np.ndarray) -> np.ndarray:
        counts = torch.from_numpy(dataset.counts[rows].astype(np.float32))
        x = network_input(sum_pixels(counts, config.size), config.normalisation)
        with torch.inference_mode():
            return activations(network, x).double().numpy()

    reference = feature_reference(seen(parts.train), dataset.labels[parts.train])
    expected = feature_distances(reference, seen(parts.validation))
    np.testing.assert_allclose(found.held_out, expected, rtol=1e-3)
    again = feature_distances(found.reference, seen(parts.validation))
    np.testing.assert_allclose(found.held_out, again, rtol=1e-3)
    # Images that the network was trained on are nearer: no threshold may rest on them
    near = feature_distances(found.reference, seen(parts.train))
    assert np.median(near) < np.median(found.held_out)
    relative = relative_distances(found.reference, found.altered, seen(parts.validation))
    np.testing.assert_allclose(found.held_out_relative, relative, rtol=1e-3)
    assert np.median(relative) > np.median(
        relative_distances(found.reference, found.altered, seen(parts.train))
    )


def test_test_images_take_no_part(artifacts: dict[str, Path], tmp_path: Path) -> None:
    dataset, parts = split.open_split(inputs_of(artifacts))
    other = with_other_pixels(dataset, parts.test, tmp_path / "other")
    stage = pipeline.distances(toy_recipe(), dataset.digest, 0)
    (tmp_path / "made").mkdir()
    inputs = inputs_of(artifacts, dataset=other.folder)
    list(measure_distances.fit(stage.config, inputs, tmp_path / "made"))
    assert (tmp_path / "made" / FILE).read_bytes() == (artifacts["distances"] / FILE).read_bytes()


def test_few_of_many_training_images_suffice(artifacts: dict[str, Path], tmp_path: Path) -> None:
    stage = pipeline.distances(toy_recipe(), where(artifacts["dataset"]).popitem()[0], 0)
    config = dataclasses.replace(stage.config, most=20)
    (metrics,) = measure_distances.fit(config, inputs_of(artifacts), tmp_path)
    assert metrics["training"] == 20
    assert len(read_features(tmp_path / FILE).reference.directions) <= 20


def test_every_network_of_a_run_has_distances(toy: Path) -> None:
    experiment = Experiment(
        dataset=Dataset.open(toy), recipe=toy_recipe(split__folds=2), seeds=(0, 1)
    )
    stages = [s for s in experiment.stages() if s.kind == "distances"]
    classifiers = {s.inputs["model"].key for s in experiment.predictions()}
    assert [s.inputs["model"].key for s in stages] == list(dict.fromkeys(
        s.inputs["model"].key for s in experiment.predictions()
    ))  # fmt: skip
    assert len(classifiers) == 4


def test_a_damaged_file_is_told(artifacts: dict[str, Path], tmp_path: Path) -> None:
    content = (artifacts["distances"] / FILE).read_bytes()
    for damaged in (b"", content[:-40], content[:9], content[:-4] + b"\xff\xff\xff\x7f"):
        (tmp_path / FILE).write_bytes(damaged)
        with pytest.raises(InputError, match=r"features.safetensors is damaged"):
            read_features(tmp_path / FILE)
    with pytest.raises(InputError, match="is damaged"):
        read_features(tmp_path / "none")


def test_a_file_of_an_earlier_version_is_told(artifacts: dict[str, Path], tmp_path: Path) -> None:
    tensors = load_file(artifacts["distances"] / FILE)
    tensors["held_out_log_odds"] = tensors.pop("held_out_relative")
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(InputError, match=r"of an earlier version.*run the command of this run"):
        read_features(tmp_path / FILE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("altered_floor", np.float32(1.0)),
        ("altered_floor", np.ones((1, 1), dtype=np.float32)),
        ("altered_floor", np.zeros(1, dtype=np.float32)),
        ("altered_means", np.ones((8, 3), dtype=np.float32)),
        ("means", "none"),
    ],
)
def test_numbers_that_no_stage_writes(
    name: str, value: np.ndarray | str, artifacts: dict[str, Path], tmp_path: Path
) -> None:
    tensors = load_file(artifacts["distances"] / FILE)
    tensors[name] = tensors[name][:0] if isinstance(value, str) else np.asarray(value)
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(InputError, match="is damaged"):
        read_features(tmp_path / FILE)


def test_few_of_many_large_images_are_altered(
    artifacts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = pipeline.distances(toy_recipe(), where(artifacts["dataset"]).popitem()[0], 0)
    config = dataclasses.replace(stage.config, altered=4)
    altered: list[int] = []

    def seen(counts: np.ndarray, *rest: Any) -> Any:
        altered.append(len(counts))
        return altered_images(counts, *rest)

    monkeypatch.setattr(measure_distances, "altered_images", seen)
    monkeypatch.setattr(measure_distances, "IN_MEMORY", 10 * config_side(artifacts) ** 2)
    (metrics,) = measure_distances.fit(config, inputs_of(artifacts), tmp_path)
    assert altered == [10]
    assert metrics["training"] > 10
    assert metrics["altered"] == 8 * 4


def config_side(artifacts: dict[str, Path]) -> int:
    return load_model(artifacts["model"], start(toy_recipe().execution))[2].size
