"""The moving average of weights: equal to a slow reference, switched off, with frozen layers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.toy import CLASSES, made, toy_recipe
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.data.splits import make_split
from thyroid.evaluate.metrics import macro_f1
from thyroid.execution.in_process import opened
from thyroid.recipe import Recipe
from thyroid.run_files.predictions_csv import ARTIFACT, read_predictions
from thyroid.stage import EpochMetrics
from thyroid.stages import predict_part, train_classifier
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import start
from thyroid.stages.images import images
from thyroid.stages.weight_average import WeightAverage
from thyroid.storage.store import Store
from thyroid.views import Viewed

MODEL, TRAINING = "model.safetensors", "training.safetensors"


def trained(recipe: Recipe, dataset: Path, root: Path) -> tuple[Path, list[EpochMetrics]]:
    return made(pipeline.classifier(recipe, Dataset.open(dataset).digest, 0)[-1], dataset, root)


def equal(first: Path, second: Path) -> bool:
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def slow_average(states: list[dict[str, Tensor]], decay: float) -> dict[str, Tensor]:
    """W_t+1 = d_t W_t + (1 - d_t) w_t+1 in double precision; whole numbers are the last ones."""
    average = {name: tensor.double() for name, tensor in states[0].items()}
    for t, state in enumerate(states[1:]):
        d = min(decay, (1 + t) / (10 + t))
        for name, tensor in state.items():
            is_float = tensor.is_floating_point()
            new = d * average[name] + (1 - d) * tensor.double()
            average[name] = new if is_float else tensor.double()
    return average


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_it_is_the_average_by_its_formula(
    decay: float, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, Tensor]] = []

    class Watched(WeightAverage):
        def __init__(self, network: nn.Module, decay: float) -> None:
            super().__init__(network, decay)
            if not states:
                states.append(copy.deepcopy(network.state_dict()))

        def update(self, network: nn.Module, step: int) -> None:
            assert step == len(states) - 1
            states.append(copy.deepcopy(network.state_dict()))
            super().update(network, step)

    monkeypatch.setattr(train_classifier, "WeightAverage", Watched)
    folder, _ = trained(toy_recipe(optimiser__weight_average=decay), toy, tmp_path)
    assert len(states) == 1 + 4 * 3  # 54 training images in batches of 16
    ours, reference = load_file(folder / MODEL), slow_average(states, decay)
    assert ours.keys() == reference.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor.double(), reference[name], rtol=1e-5, atol=1e-6)
    current = load_file(folder / TRAINING)
    assert all(torch.equal(current[name], tensor) for name, tensor in states[-1].items())
    assert not all(torch.equal(current[name], ours[name]) for name in ours)


def test_without_it_the_same_is_trained_and_nothing_more_is_kept(toy: Path, tmp_path: Path) -> None:
    average, metrics = trained(toy_recipe(), toy, tmp_path)
    plain, same = trained(toy_recipe(optimiser__weight_average=0.0), toy, tmp_path)
    assert equal(average / TRAINING, plain / MODEL)
    assert equal(average / "optimiser.safetensors", plain / "optimiser.safetensors")
    assert [m["train_loss"] for m in metrics] == [m["train_loss"] for m in same]
    assert metrics[-1]["validation_loss"] != same[-1]["validation_loss"]
    assert {path.name for path in average.iterdir()} - {path.name for path in plain.iterdir()} == {
        TRAINING
    }


def test_the_averaged_network_is_validated_on_one_view(toy: Path, tmp_path: Path) -> None:
    recipe = toy_recipe()
    folder, metrics = trained(recipe, toy, tmp_path)
    on = start(recipe.execution)
    network, _, config = load_model(folder, on)
    dataset = Dataset.open(toy)
    rows = make_split(dataset, recipe.split).validation
    counts = images(dataset, rows, config, on)
    p = predict_part.probabilities(network, counts, config.normalisation, on)
    truth = torch.from_numpy(dataset.labels[rows])
    loss = torch.nn.functional.nll_loss(p.log(), truth).item()
    assert metrics[-1]["validation_loss"] == pytest.approx(loss, abs=1e-6)
    assert metrics[-1]["validation_macro_f1"] == macro_f1(truth.numpy(), p.argmax(1).numpy(), 3)


@pytest.mark.parametrize("views", ["one", "shifts", "mirrored_shifts"])
def test_predictions_are_the_averaged_network_s_over_the_views(
    views: str, toy: Path, tmp_path: Path
) -> None:
    recipe = toy_recipe(views=views, augmentation__mirror=0.5)
    dataset = Dataset.open(toy)
    stage = pipeline.prediction(recipe, dataset.digest, 0, "validation")
    folder, _ = made(stage, toy, tmp_path)
    model = opened(stage.inputs["model"], Store(tmp_path))
    on = start(recipe.execution)
    network, _, config = load_model(model, on)
    rows = make_split(dataset, recipe.split).validation
    counts = torch.from_numpy(dataset.counts[rows].astype(np.float32))
    with torch.inference_mode(), on.autocast():
        p = Viewed(network.eval(), config, recipe.views)(counts)
    said = read_predictions(folder / ARTIFACT, CLASSES).probabilities
    np.testing.assert_allclose(said, p.numpy(), atol=1e-5)


def test_what_is_frozen_is_frozen_at_its_average(crossed: Path, tmp_path: Path) -> None:
    """The head learns from the same features with which it will predict, in spite of weight decay
    and batch statistics, through two segments.
    """
    recipe = toy_recipe(
        cross__order="retrain",
        cross__epochs=2,
        cross__trainable="head",
        network__cross_feature="input",
        optimiser__weight_decay=1.0,
    )
    folder, _ = trained(recipe, crossed, tmp_path)
    single = pipeline.before_cross(recipe, Dataset.open(crossed).digest, 0)
    before = opened(single, Store(tmp_path))
    average, current = load_file(folder / MODEL), load_file(folder / TRAINING)
    then, moving = load_file(before / MODEL), load_file(before / TRAINING)
    for name, tensor in then.items():
        frozen = not name.startswith("fc.")
        assert torch.equal(average[name], tensor) == frozen, name
        assert torch.equal(current[name], tensor) == frozen, name
    assert not torch.equal(then["conv1.weight"], moving["conv1.weight"])
    assert not torch.equal(average["layer1.0.cross.gain"], current["layer1.0.cross.gain"])


def test_views_change_predictions_alone_and_the_average_changes_training() -> None:
    def keys(**changes: Any) -> tuple[str, str, str]:
        recipe = toy_recipe(augmentation__mirror=0.5, **changes)
        predicted = pipeline.prediction(recipe, "d" * 64, 0, "test")
        return predicted.inputs["model"].key, predicted.key, pipeline.cases(predicted).key

    given, one, off = keys(), keys(views="one"), keys(optimiser__weight_average=0.0)
    assert given[0] == one[0]
    assert given[1] != one[1]
    assert given[2] != one[2]
    assert off[0] != given[0]


def test_mirror_images_that_are_not_viewed_change_no_key() -> None:
    asked, given = (
        pipeline.prediction(toy_recipe(augmentation__mirror=0.0, views=views), "d" * 64, 0, "test")
        for views in ("mirrored_shifts", "shifts")
    )
    assert asked.config.views == "shifts"
    assert asked.key == given.key
