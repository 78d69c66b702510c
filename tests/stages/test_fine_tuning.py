"""Fine-tuning: layers that came with weights are frozen at first, and then learn slowly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.toy import made, toy_recipe, without_times
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.files import sha256_of
from thyroid.networks.build import build
from thyroid.recipe import NetworkConfig, OptimiserConfig, Recipe
from thyroid.stage import EpochMetrics, Stage
from thyroid.stages.train_classifier import adamw

DIGEST = "d" * 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the toy's network, of nine other classes."""
    torch.manual_seed(7)
    network = build(NetworkConfig(name="resnet_small", width=4), classes=9)
    file = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(network.state_dict(), file)
    return file


def tuned(weights: Path, **changes: Any) -> Recipe:
    return toy_recipe(network__weights=sha256_of(weights), **changes)


def train(
    recipe: Recipe, weights: Path, dataset: Path, root: Path, segment: int = -1
) -> tuple[dict[str, torch.Tensor], list[EpochMetrics]]:
    """Weights after a segment, and the metrics of each epoch until then."""
    stage = pipeline.classifier(recipe, Dataset.open(dataset).digest, 0)[segment]
    folder, metrics = made(stage, dataset, root, weights)
    return load_file(folder / "model.safetensors"), metrics


def is_new(name: str) -> bool:
    return name.startswith("fc.")


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_frozen_layers_and_their_statistics_stay_bit_for_bit(
    average: float, weights: Path, toy: Path, tmp_path: Path
) -> None:
    recipe = tuned(weights, fine_tuning__frozen_epochs=2, optimiser__weight_average=average)
    given = load_file(weights)
    frozen, _ = train(recipe, weights, toy, tmp_path, segment=1)  # of two epochs
    for name, tensor in frozen.items():
        assert is_new(name) or torch.equal(tensor, given[name]), name
    assert frozen["fc.weight"].shape == (3, 64)
    after, _ = train(recipe, weights, toy, tmp_path)
    moved = [n for n, t in after.items() if t.is_floating_point() and not torch.equal(t, frozen[n])]
    assert set(moved) == {n for n, t in after.items() if t.is_floating_point()}


@pytest.mark.parametrize(
    "changes",
    [
        {"network__name": "timm:test_resnet", "network__width": None},
        {},
        {"fine_tuning__rate": 0.0},
        {"fine_tuning__statistics": "kept"},
        {"fine_tuning__rates": "graded"},
    ],
)
def test_a_run_in_segments_is_the_whole_run_bit_for_bit(
    changes: dict[str, Any], weights: Path, toy: Path, tmp_path: Path
) -> None:
    """Layers are frozen in three of six epochs, so at the end the optimiser's layers have different
    step counts.
    """
    if "network__name" in changes:
        weights = tmp_path / "own.safetensors"
        network = build(NetworkConfig(name="timm:test_resnet"), classes=4)
        save_file(network.state_dict(), weights)
    few = {
        "fine_tuning__rate": 0.1,
        "fine_tuning__frozen_epochs": 3,
        "schedule__warmup_epochs": 2,
        "schedule__decay_epochs": 2,
        "optimiser__batch_size": 40,
        "augmentation__thinning": 0.5,
    } | changes
    one_by_one = tuned(weights, **few, schedule__segment_epochs=1)
    whole = tuned(weights, **few, schedule__segment_epochs=9)
    in_parts, parts = train(one_by_one, weights, toy, tmp_path / "cut")
    at_once, once = train(whole, weights, toy, tmp_path / "whole")
    assert without_times(parts) == without_times(once)
    assert all(torch.equal(in_parts[name], at_once[name]) for name in at_once)


def test_layers_that_came_with_weights_learn_slowly(
    weights: Path, toy: Path, tmp_path: Path
) -> None:
    given = load_file(weights)
    few = {"optimiser__weight_average": 0.0, "optimiser__weight_decay": 0.0}

    def moved(rate: float) -> float:
        """How much the weights of the first layer changed."""
        trained, _ = train(
            tuned(weights, fine_tuning__rate=rate, **few), weights, toy, tmp_path, segment=0
        )
        return float((trained["conv1.weight"] - given["conv1.weight"]).abs().mean())

    assert 0.05 < moved(0.1) / moved(1.0) < 0.2
    assert moved(0.0) == 0


def test_graded_rates_rise_from_the_first_layer_to_the_last(
    weights: Path, toy: Path, tmp_path: Path
) -> None:
    given = load_file(weights)
    few = {"optimiser__weight_average": 0.0, "optimiser__weight_decay": 0.0}
    few |= {"fine_tuning__rate": 0.01}

    def moved(rates: str) -> list[float]:
        """How much the weights of the convolutions changed, from the first to the last."""
        trained, _ = train(
            tuned(weights, fine_tuning__rates=rates, **few), weights, toy, tmp_path, segment=0
        )
        kernels = [name for name, tensor in given.items() if tensor.ndim == 4]
        return [float((trained[name] - given[name]).abs().mean()) for name in kernels]

    equal, graded = moved("equal"), moved("graded")
    assert graded[0] == pytest.approx(equal[0], rel=0.3)
    more = np.divide(graded, equal)
    assert more[-1] > 20  # 0.01 ** (1 - 7 / 8) is 56 times 0.01
    assert (np.diff(more) > -0.5).all()


def test_graded_rates_are_parts_of_equal_ratio() -> None:
    network = build(NetworkConfig(name="resnet_small", width=8), classes=4)
    groups = adamw(network, OptimiserConfig(), 0.01, "graded").param_groups
    factors = sorted({group["factor"] for group in groups})
    assert factors == pytest.approx([*(0.01 ** (1 - k / 8) for k in range(8)), 1.0])
    held = [parameter for group in groups for parameter in group["params"]]
    assert set(held) == set(network.parameters())
    assert len(held) == len(set(held))


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_graded_rates_without_a_rate_to_grade_change_no_key(rate: float) -> None:
    few = {"network__weights": "e" * 64, "fine_tuning__rate": rate}
    equal, graded = (
        [stage.key for stage in segments(toy_recipe(**few, fine_tuning__rates=rates))]
        for rates in ("equal", "graded")
    )
    assert equal == graded
    slow = {"network__weights": "e" * 64, "fine_tuning__rate": 0.1}
    equal, graded = (
        [stage.key for stage in segments(toy_recipe(**slow, fine_tuning__rates=rates))]
        for rates in ("equal", "graded")
    )
    assert not set(equal) & set(graded)


def test_kept_statistics_stay_bit_for_bit_while_weights_learn(
    weights: Path, toy: Path, tmp_path: Path
) -> None:
    given = load_file(weights)
    trained, _ = train(tuned(weights, fine_tuning__statistics="kept"), weights, toy, tmp_path)
    for name, tensor in trained.items():
        if name.endswith(("running_mean", "running_var")):
            assert torch.equal(tensor, given[name]), name
        elif tensor.is_floating_point() and not is_new(name):
            assert not torch.equal(tensor, given[name]), name


def segments(recipe: Recipe) -> list[Stage]:
    return pipeline.classifier(recipe, DIGEST, 0)


def test_without_weights_it_says_nothing_and_defaults_are_in_no_key() -> None:
    plain = [stage.key for stage in segments(toy_recipe())]
    asked = toy_recipe(fine_tuning__rate=0.1, fine_tuning__frozen_epochs=2)
    assert [stage.key for stage in segments(asked)] == plain
    about = segments(toy_recipe())[0].about
    assert "pretrained_rate" not in about["config"]
    assert not {"input_mean", "input_std"} & set(about["config"]["network"])
    assert set(about["libraries"]) == {"torch", "numpy"}
    standardised = toy_recipe(network__input_mean=2.7)
    assert segments(standardised)[0].about["config"]["network"]["input_mean"] == 2.7
    assert segments(standardised)[0].key != plain[0]


def test_the_version_of_timm_is_in_the_keys_of_its_networks_alone() -> None:
    recipe = toy_recipe(network__name="timm:test_resnet", network__width=None)
    assert set(segments(recipe)[0].about["libraries"]) == {"torch", "numpy", "timm"}


def test_trials_share_frozen_epochs_whatever_follows_them() -> None:
    few = {"network__weights": "e" * 64, "schedule__constant_epochs": 8}
    few |= {"schedule__segment_epochs": 2, "fine_tuning__frozen_epochs": 4}
    one, other = (toy_recipe(**few, fine_tuning__rate=rate) for rate in (1.0, 0.1))
    longer = dataclasses.replace(one, fine_tuning=dataclasses.replace(
        one.fine_tuning, frozen_epochs=5))  # fmt: skip
    spans = [(stage.config.first_epoch, stage.config.epochs) for stage in segments(one)]
    assert spans == [(0, 1), (1, 2), (3, 1), (4, 2), (6, 2), (8, 1), (9, 1)]
    rates = [stage.config.pretrained_rate for stage in segments(other)]
    assert rates == [0, 0, 0, 0.1, 0.1, 0.1, 0.1]
    keys = [[stage.key for stage in segments(recipe)] for recipe in (one, other, longer)]
    assert keys[0][:3] == keys[1][:3]
    assert keys[0][:2] == keys[2][:2]
    assert not set(keys[0][3:]) & set(keys[1][3:])
    kept = [stage.key for stage in segments(toy_recipe(**few, fine_tuning__statistics="kept"))]
    assert kept[:3] == keys[0][:3]
    assert not set(kept[3:]) & set(keys[0][3:])
