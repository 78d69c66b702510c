import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.toy import (
    CLASSES,
    CROSSES,
    made,
    toy_generators,
    toy_recipe,
    write_toy,
)
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import StageFailed, StorageError
from thyroid.execution.in_process import in_process
from thyroid.recipe import Recipe, for_data
from thyroid.stage import EpochMetrics
from thyroid.stages import train_classifier
from thyroid.storage.store import Store


def train(
    recipe: Recipe, dataset: Path, root: Path, seed: int = 0
) -> tuple[dict[str, torch.Tensor], list[EpochMetrics]]:
    """Weights and the metrics of each epoch."""
    final = pipeline.classifier(recipe, Dataset.open(dataset).digest, seed)[-1]
    folder, metrics = made(final, dataset, root)
    return load_file(folder / "model.safetensors"), metrics


@pytest.mark.processors
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-3), ("bf16", 0.02)])
def test_five_steps_give_the_losses_they_gave_before(
    precision: str, tolerance: float, toy: Path, tmp_path: Path, measured: Callable[..., None]
) -> None:
    """Golden values, fp32, measured once: a change of the loop's numbers shows here."""
    recipe = toy_recipe(
        optimiser__batch_size=54,  # the whole training part: an epoch is a step
        optimiser__learning_rate=2e-2,
        schedule__constant_epochs=3,
        execution__precision=precision,
    )
    _, metrics = train(recipe, toy, tmp_path)
    assert [m["learning_rate"] for m in metrics] == pytest.approx([0.01, 0.02, 0.02, 0.02, 0.01])
    off = np.array([m["train_loss"] for m in metrics]) - [1.2192, 0.6985, 0.3909, 0.3189, 0.3257]
    measured(f"loss in {precision}", np.abs(off).max(), below=tolerance)


@pytest.mark.processors
def test_it_learns(toy: Path, tmp_path: Path, seed: int, measured: Callable[..., None]) -> None:
    recipe = toy_recipe(network__width=8, schedule__constant_epochs=6, schedule__decay_epochs=3)
    _, metrics = train(recipe, toy, tmp_path, seed)
    measured("last macro-F1", metrics[-1]["validation_macro_f1"], above=0.95)
    measured("fall of the loss", metrics[0]["train_loss"] - metrics[-1]["train_loss"], above=0.3)


@pytest.mark.processors
def test_with_shuffled_labels_it_learns_nothing(
    tmp_path: Path, seed: int, measured: Callable[..., None]
) -> None:
    """On noise, validation is at chance level, so no label leaks in."""
    dataset = write_toy(tmp_path / "data", images=480)
    table = pd.read_csv(dataset.folder / "images.csv", keep_default_na=False)
    shuffled = np.random.default_rng(0).permutation(table["label"])
    table.assign(label=shuffled, findings=shuffled).to_csv(
        dataset.folder / "images.csv", index=False
    )
    recipe = toy_recipe(network__width=8, schedule__constant_epochs=6, schedule__decay_epochs=3)
    _, metrics = train(recipe, dataset.folder, tmp_path / "store", seed)
    measured("accuracy", metrics[-1]["validation_accuracy"], below=0.55)  # of 96


@pytest.mark.processors
def test_a_divergence_is_a_sentence_and_leaves_no_artifact(
    toy: Path, tmp_path: Path, seed: int
) -> None:
    poison = {"optimiser__learning_rate": 10.0, "optimiser__weight_decay": 10.0}
    recipe = toy_recipe(network__name="lenet5", **poison)
    with pytest.raises(StageFailed, match="diverged in epoch"):
        train(recipe, toy, tmp_path, seed)
    made = [p.name for p in (tmp_path / "artifacts").glob("*/*") if (p / "model.json").exists()]
    last = pipeline.classifier(recipe, Dataset.open(toy).digest, seed)[-1]
    assert last.key not in made
    assert not list((tmp_path / "building").iterdir())


def test_pictures_are_never_thinned() -> None:
    recipe = toy_recipe(augmentation__thinning=1.0)
    assert for_data(recipe, "counts", crosses=True) == recipe
    thick = toy_recipe(augmentation__thinning=0.0)
    assert for_data(recipe, "display", crosses=True) == thick


def test_changed_data_are_noticed_by_the_stage_that_reads_them(toy: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy, data)
    digest = Dataset.open(data).digest
    final = pipeline.classifier(toy_recipe(), digest, 0)[-1]
    table = (data / "images.csv").read_text()
    (data / "images.csv").write_text(table.replace("centre-1", "centre-3"))
    with pytest.raises(StorageError, match="was changed"):
        list(in_process(Store(tmp_path / "store"), {digest: data})([final]))


def mixed(**changes: Any) -> Recipe:
    """A training with synthetic images until the decay, and with another share of them after it."""
    return toy_generators(mixing__synthetic_share=0.75, mixing__final_share=0.25, **changes)


def fitted(recipe: Recipe, dataset: Path, root: Path) -> tuple[Path, list[EpochMetrics]]:
    final = pipeline.classifier(recipe, Dataset.open(dataset).digest, 0)[-1]
    folder, metrics = made(final, dataset, root)
    epochs = recipe.schedule.epochs
    return folder, metrics[-epochs:]  # the stages of the label filter come before them


@pytest.mark.parametrize("trust", [0.0, 0.25, 1.0])
def test_targets_are_labels_and_for_synthetic_images_the_judges_verdict_too(
    trust: float, crossed: Path, tmp_path: Path, calls_of: Callable[..., list]
) -> None:
    recipe = mixed(mixing__label_filter_weight=trust)
    digest = Dataset.open(crossed).digest
    pool, _ = made(pipeline.synthesis(recipe, digest, 0), crossed, tmp_path)
    calls = calls_of(train_classifier.F, "cross_entropy")
    _, metrics = fitted(recipe, crossed, tmp_path)
    verdicts = torch.from_numpy(np.load(pool / "verdicts.npy"))
    labels = torch.from_numpy(Dataset.open(pool / "dataset").labels)
    one_hot = torch.eye(3)
    wanted = trust * verdicts + (1 - trust) * one_hot[labels]
    targets = torch.stack([call[1] for call in calls])  # (steps, batch, classes)
    assert targets.shape == (4 * 4, 16, 3)  # as many steps as the 70 real images alone give
    is_label = (targets[:, :, None] == one_hot).all(-1).any(-1)
    is_verdict = torch.isclose(targets[:, :, None], wanted, atol=1e-6).all(-1).any(-1)
    assert (is_label | is_verdict).all()
    if trust:
        synthetic = (~is_label).sum(1).tolist()
        assert synthetic == [12] * 12 + [4] * 4  # three quarters of 16, then one
    else:
        assert is_label.all()
    assert len(metrics) == 4


def test_pre_training_on_synthetic_images_alone_sees_no_real_one(
    crossed: Path, tmp_path: Path, calls_of: Callable[..., list]
) -> None:
    real = {counts.astype(np.float32).tobytes() for counts in Dataset.open(crossed).counts}
    recipe = toy_generators(mixing__synthetic_share=1.0, mixing__final_share=0.0)
    made(pipeline.synthesis(recipe, Dataset.open(crossed).digest, 0), crossed, tmp_path)
    calls = calls_of(train_classifier, "augment")
    folder, metrics = fitted(recipe, crossed, tmp_path)
    of_real = [sum(picture.numpy().tobytes() in real for picture in call[0]) for call in calls]
    assert of_real == [0] * 12 + [16] * 4  # three epochs of synthetic images, then the decay
    assert [m["epoch"] for m in metrics] == [1, 2, 3, 4]
    card = json.loads((folder / "model.json").read_text())
    assert card["classes"] == list(CLASSES)


def test_synthetic_images_reach_the_network_as_they_were_made(
    crossed: Path, tmp_path: Path, calls_of: Callable[..., list]
) -> None:
    recipe = toy_generators(
        mixing__synthetic_share=1.0, mixing__final_share=1.0, mixing__cross_share=0.5
    )
    digest = Dataset.open(crossed).digest
    pool, _ = made(pipeline.synthesis(recipe, digest, 0), crossed, tmp_path)
    calls = calls_of(train_classifier, "augment")
    fitted(recipe, crossed, tmp_path)
    dataset = Dataset.open(pool / "dataset")
    which = {picture.astype(np.float32).tobytes(): i for i, picture in enumerate(dataset.counts)}
    rows = [which[picture.numpy().tobytes()] for call in calls for picture in call[0]]
    assert len(rows) == 4 * 64
    findings = dataset.images["findings"].iloc[rows]
    assert set(findings) == {*CLASSES, *CROSSES}
    assert findings.str.contains(";").mean() == pytest.approx(0.5, abs=0.12)


def test_a_compiled_network_learns_the_same(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiled network is also stored under the same names. It is traced, but not translated to
    C++, which takes 20 s.
    """
    asked: list[str] = []

    def traced(network: torch.nn.Module, mode: str) -> None:
        asked.append(mode)
        compiled(network, backend="eager")

    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    changes = {"network__name": "lenet5", "network__width": None}
    changes |= {"schedule__warmup_epochs": 0, "schedule__decay_epochs": 0}
    plain, _ = train(toy_recipe(**changes), toy, tmp_path)
    assert not asked
    through, _ = train(toy_recipe(network__compile="on", **changes), toy, tmp_path)
    assert asked == ["default"] * 2  # segments
    assert plain.keys() == through.keys()
    assert all(torch.allclose(plain[name], through[name], rtol=1e-4) for name in plain)
