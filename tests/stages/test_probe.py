"""The probe stage: an untrained network with a logistic regression as its last layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from tests.toy import made, toy_recipe, with_other_pixels, write_toy
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.execution.in_process import opened
from thyroid.files import sha256_of
from thyroid.networks.build import build
from thyroid.networks.last_layer import features, last_layer
from thyroid.networks.pretrained import load_pretrained
from thyroid.recipe import NetworkConfig, Recipe
from thyroid.run_files.predictions_csv import ARTIFACT, read_predictions
from thyroid.stage import Stage
from thyroid.stages import split, train_probe
from thyroid.stages.checkpoint import MODEL, WEIGHTS, load_model
from thyroid.stages.compute import seed_of, start
from thyroid.stages.images import images
from thyroid.stages.measure_distances import features_of
from thyroid.stages.train_probe import (
    CONSTANT,
    PENALTIES,
    UNSEEN,
    chosen_penalty,
    logistic_regression,
)
from thyroid.storage.store import Store


def probe_recipe(**changes: Any) -> Recipe:
    return toy_recipe(**{"training": "probe", "split__folds": 3} | changes)


def probe(recipe: Recipe, digest: str, seed: int = 0) -> Stage:
    (stage,) = pipeline.classifier(recipe, digest, seed)
    return stage


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("probe")


@pytest.fixture(scope="module")
def weights(store: Path) -> Path:
    """Weights of a network that was trained on other spots. Tests must not change it."""
    other = write_toy(store / "other", seed=1)
    trained = pipeline.classifier(toy_recipe(), other.digest, 5)[-1]
    return made(trained, other.folder, store / "elsewhere")[0] / WEIGHTS


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def test_a_probe_is_its_start_with_another_last_layer(toy: Path, store: Path) -> None:
    dataset = Dataset.open(toy)
    stage = probe(probe_recipe(), dataset.digest)
    folder, (metrics,) = made(stage, toy, store / "store")
    network, _, config = load_model(folder, start(stage.config.execution))
    torch.manual_seed(seed_of(0, "initialise"))
    begun = build(stage.config.network, 3)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, begun.state_dict()[name]) or name in ("fc.weight", "fc.bias")

    # Its probabilities are scikit-learn's, of standardised features
    _, parts = split.open_split(
        {"dataset": toy, "split": _split(stage, toy, store), "model": folder}
    )
    on = start(stage.config.execution)

    def seen(rows: np.ndarray) -> np.ndarray:
        counts = images(dataset, rows, config, on)
        return features_of(network, counts, config.normalisation, on)

    x, held_out = seen(parts.train), seen(parts.validation)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation[deviation == 0] = 1  # a feature that is zero in all images, after a ReLU
    reference = LogisticRegression(C=1 / metrics["penalty"], max_iter=1000)
    reference.fit((x - mean) / deviation, dataset.labels[parts.train])
    expected = reference.predict_proba((held_out - mean) / deviation)
    fc = last_layer(network, stage.config.network)
    logits = held_out @ fc.weight.double().numpy(force=True).T + fc.bias.double().numpy(force=True)
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-4)
    assert metrics["images"] == len(parts.train)
    assert metrics["features"] == x.shape[1] == fc.in_features


def _split(stage: Stage, toy: Path, store: Path) -> Path:
    return made(stage.inputs["split"], toy, store / "store")[0]


def test_only_training_patients_of_the_fold_take_part(
    toy: Path, store: Path, tmp_path: Path
) -> None:
    """Changing pixels or labels of the other images does not change a bit; changing one training
    image does.
    """
    dataset = Dataset.open(toy)
    stage = probe(probe_recipe(split__fold=1), dataset.digest)
    folder, _ = made(stage, toy, store / "store")
    dealt = {"dataset": toy, "split": _split(stage, toy, store)}
    _, parts = split.open_split(dealt)
    others = np.concatenate([parts.validation, parts.test])
    assert len(others) + len(parts.train) == len(dataset)

    def again(rows: np.ndarray, place: Path) -> bytes:
        other = with_other_pixels(dataset, rows, place)
        table = pd.read_csv(place / "images.csv")
        turned = table["label"].map({"left": "right", "right": "below", "below": "left"})
        for column in ("label", "findings"):
            table.loc[rows, column] = turned[rows]
        table.to_csv(place / "images.csv", index=False)
        (place / "made").mkdir()
        list(train_probe.fit(stage.config, dealt | {"dataset": other.folder}, place / "made"))
        return (place / "made" / WEIGHTS).read_bytes()

    assert again(others, tmp_path / "others") == (folder / WEIGHTS).read_bytes()
    assert again(parts.train[:1], tmp_path / "own") != (folder / WEIGHTS).read_bytes()


def test_the_same_key_means_the_same_bits(toy: Path, store: Path, tmp_path: Path) -> None:
    digest = Dataset.open(toy).digest
    keys = {}
    for seed, place in ((0, "store"), (0, "again"), (1, "again")):
        stage = probe(probe_recipe(), digest, seed)
        root = store / "store" if place == "store" else tmp_path / place
        content = (made(stage, toy, root)[0] / WEIGHTS).read_bytes()
        assert keys.setdefault(stage.key, content) == content
    assert len(set(keys.values())) == len(keys) == 2


def test_settings_of_a_training_are_none_of_a_probe() -> None:
    digest = "d" * 64
    own = probe(probe_recipe(), digest).key
    for same in (
        {"optimiser__learning_rate": 1e-4},
        {"schedule__constant_epochs": 9},
        {"augmentation__zoom": 0.5},
        {"mixing__synthetic_share": 0.5},
        {"network__cross_feature": "input"},
        {"network__compile": "on"},
        {"execution__workers": 2},
        {"execution__precision": "bf16"},
        {"network__precision": "bf16"},
    ):
        assert probe(probe_recipe(**same), digest).key == own, same
    for other in (
        {"input__normalisation": "mean"},
        {"network__name": "lenet5", "network__width": None},
        {"network__weights": "e" * 64},
        {"split__fold": 1},
    ):
        assert probe(probe_recipe(**other), digest).key != own, other
    predicted = pipeline.prediction(probe_recipe(network__precision="bf16"), digest, 0, "test")
    assert predicted.config.execution.precision == "fp32"


def test_features_of_good_weights_are_worth_more_than_random_ones(
    toy: Path, store: Path, weights: Path
) -> None:
    digest = sha256_of(weights)
    right: dict[str | None, list[bool]] = {None: [], digest: []}
    for start_from, fold in [(w, fold) for w in right for fold in range(3)]:
        recipe = probe_recipe(network__weights=start_from, split__fold=fold)
        stage = pipeline.prediction(recipe, Dataset.open(toy).digest, 0, "validation")
        folder, _ = made(stage, toy, store / "store", weights)
        model = opened(stage.inputs["model"], Store(store / "store"))
        predicted = read_predictions(folder / ARTIFACT, ("left", "right", "below"))
        right[start_from] += (predicted.probabilities.argmax(axis=1) == predicted.labels).tolist()
        if start_from == digest:
            probed, trained = load_file(model / WEIGHTS), load_file(weights)
            assert torch.equal(probed["conv1.weight"], trained["conv1.weight"])
            assert not torch.equal(probed["fc.weight"], trained["fc.weight"])
            assert (model / MODEL).exists()
    random, informed = (float(np.mean(found)) for found in right.values())
    assert informed > 0.9
    assert informed > random + 0.1


# The regression


def classes_of(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(n, d)) + 3 * rng.normal(size=(classes, d))[y], y


@pytest.mark.parametrize("classes", [2, 4])
def test_the_regression_is_scikit_learns(classes: int) -> None:
    x, y = classes_of(80, 6, classes)
    x = 5 + x * np.array([1e-2, 1, 1, 100, 1, 1])
    x[:, 4] = 7.0  # a feature that is the same in all images
    x[:, 5] = 1e3 * (1 + CONSTANT / 100 * x[:, 5])  # and one that nearly is
    weights, bias = logistic_regression(x, y, classes, 3.0)
    used = x[:, :4]
    mean, deviation = used.mean(axis=0), used.std(axis=0)
    reference = LogisticRegression(C=1 / 3.0, max_iter=1000).fit((used - mean) / deviation, y)
    np.testing.assert_allclose(
        softmax(x @ weights.T + bias), reference.predict_proba((used - mean) / deviation), atol=1e-6
    )
    assert not weights[:, 4:].any()


@pytest.mark.parametrize("seen", [(0, 2), (0, 1, 3), (2,)])
def test_a_class_without_images_is_never_named(seen: tuple[int, ...]) -> None:
    x, y = classes_of(60, 5, len(seen))
    y = np.array(seen)[y]
    weights, bias = logistic_regression(x, y, 4, 1.0)
    p = softmax(x @ weights.T + bias)
    assert p[:, [c for c in range(4) if c not in seen]].max() < 2 * np.exp(UNSEEN)
    assert (p.argmax(axis=1) == y).mean() > 0.9


def test_the_penalty_is_chosen_over_patients() -> None:
    """Features that identify the patient and no disease: if other images of the same patients were
    held out, the weakest penalty would be chosen.
    """
    rng = np.random.default_rng(0)
    patients = np.repeat([f"p{i}" for i in range(30)], 4).astype(object)
    y = np.repeat(rng.permutation(np.arange(30) % 3), 4)
    x = np.repeat(rng.normal(size=(30, 40)), 4, axis=0) + 0.01 * rng.normal(size=(120, 40))
    assert chosen_penalty(x, y, patients, 3, seed=0) >= 100
    each_alone = np.array([f"p{i}" for i in range(120)], dtype=object)
    assert chosen_penalty(x, y, each_alone, 3, seed=0) < 1
    first = [int(np.flatnonzero(y == c)[0]) for c in range(3)]  # nobody can be held out
    assert chosen_penalty(x[first], y[first], patients[first], 3, seed=0) == PENALTIES[0]
    # A feature that all patients of a class share needs only a weak penalty
    x[:, 0] = y + 0.01 * rng.normal(size=120)
    x[:, 1] = (y == 1) + 0.01 * rng.normal(size=120)
    assert chosen_penalty(x[:, :2], y, patients, 3, seed=0) < 1


@pytest.mark.parametrize("patients", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 3], [0, 1, 1, 1, 2, 2]])
def test_few_patients_suffice(patients: list[int]) -> None:
    """Two of a class, one of each, or one who shows two classes."""
    x, _ = classes_of(6, 3, 2)
    y = np.array([0, 0, 1, 1, 2, 2])
    names = np.array([f"p{i}" for i in patients], dtype=object)
    assert chosen_penalty(x, y, names, 3, seed=0) in PENALTIES


# The last layer


class Endless(nn.Module):
    """A network without a linear layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :3]


def test_a_network_without_a_last_layer_cannot_be_probed() -> None:
    config = NetworkConfig(name="own")
    unbiased = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False))
    for network in (Endless(), unbiased):
        with pytest.raises(InputError, match="'own' does not end in a linear layer with a bias"):
            last_layer(network, config)


def test_features_are_the_input_of_the_last_layer(weights: Path) -> None:
    config = toy_recipe().network
    network = build(config, 3).eval()
    load_pretrained(network, weights, config)
    x = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        given = last_layer(network, config)(features(network, x))
        torch.testing.assert_close(given, network(x))
