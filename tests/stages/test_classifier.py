import json
import shutil
from collections.abc import Callable
from hashlib import sha256
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
    where,
    with_other_pixels,
    without_times,
    write_toy,
)
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.data.splits import LeakError, make_split
from thyroid.errors import StageFailed, StorageError
from thyroid.execution.in_process import in_process
from thyroid.networks.build import BASELINES
from thyroid.networks.registry import NETWORKS
from thyroid.recipe import Recipe, for_data
from thyroid.stage import EpochMetrics
from thyroid.stages import train_classifier
from thyroid.storage.store import Store


def train(
    recipe: Recipe, dataset: Path, root: Path, seed: int = 0
) -> tuple[dict[str, torch.Tensor], list[EpochMetrics]]:
    """Weights and the metrics of each epoch."""
    final = pipeline.classifier(recipe, Dataset.open(dataset).digest, seed)[-1]
    store = Store(root)
    metrics = [m for m in in_process(store, where(dataset))([final]) if "epoch" in m]
    folder = store.open(final.key)
    assert folder is not None
    return load_file(folder / "model.safetensors"), metrics


@pytest.mark.parametrize("name", [*BASELINES, "resnet18", "resnet34", "resnet50"])
def test_a_run_in_segments_is_the_whole_run_bit_for_bit(
    name: str, toy: Path, tmp_path: Path
) -> None:
    changes = {
        "network__name": name,
        "network__width": 4 if NETWORKS[name].has_width else None,
        "augmentation__thinning": 0.5,
        "schedule__warmup_epochs": 2,  # the first cut is within a part of the schedule
        "schedule__decay_epochs": 2,
        "optimiser__batch_size": 40,
    }
    cut = toy_recipe(**changes, schedule__segment_epochs=1)
    whole = toy_recipe(**changes, schedule__segment_epochs=9)
    in_parts, parts = train(cut, toy, tmp_path / "cut")
    at_once, once = train(whole, toy, tmp_path / "whole")
    assert without_times(parts) == without_times(once)
    assert all(torch.equal(in_parts[name], at_once[name]) for name in at_once)


def test_bf16_segments_are_the_whole_run_too(toy: Path, tmp_path: Path) -> None:
    changes = {"execution__precision": "bf16", "schedule__warmup_epochs": 3}
    cut = toy_recipe(**changes, schedule__segment_epochs=1)
    whole = toy_recipe(**changes, schedule__segment_epochs=9)
    in_parts, _ = train(cut, toy, tmp_path / "cut")
    at_once, _ = train(whole, toy, tmp_path / "whole")
    assert all(torch.equal(in_parts[name], at_once[name]) for name in at_once)


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


def test_seeds_differ(toy: Path, tmp_path: Path) -> None:
    _, first = train(toy_recipe(), toy, tmp_path, seed=0)
    _, second = train(toy_recipe(), toy, tmp_path, seed=1)
    assert first[0]["train_loss"] != second[0]["train_loss"]


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


def test_a_leaked_patient_stops_every_stage(toy: Path, tmp_path: Path) -> None:
    recipe = toy_recipe()
    dataset = Dataset.open(toy)
    store = Store(tmp_path)
    parts = pipeline.split(recipe.split, dataset.digest)
    list(in_process(store, where(toy))([parts]))
    folder = store.open(parts.key)
    assert folder is not None
    table = pd.read_csv(folder / "split.csv")
    row = table.index[table["part"] == "train"][0]
    table.loc[row, "part"] = "test"  # the patient's other image stays in training
    content = table.to_csv(index=False)
    (folder / "split.csv").write_text(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["split.csv"] = sha256(content.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LeakError):
        list(
            in_process(store, where(toy))([pipeline.prediction(recipe, dataset.digest, 0, "test")])
        )


def test_pictures_are_never_thinned() -> None:
    recipe = toy_recipe(augmentation__thinning=1.0)
    assert for_data(recipe, "counts", crosses=True) == recipe
    thick = toy_recipe(augmentation__thinning=0.0)
    assert for_data(recipe, "display", crosses=True) == thick


def test_training_never_reads_the_test_part(toy: Path, tmp_path: Path) -> None:
    """Changing the test images does not change a bit of what is learned."""
    recipe = toy_recipe()
    before, metrics = train(recipe, toy, tmp_path / "a")
    test = make_split(Dataset.open(toy), recipe.split).test
    assert len(test) > 10
    other = tmp_path / "data"
    shutil.copytree(toy, other)
    counts = np.load(other / "counts.npy")
    counts[test] = 7
    np.save(other / "counts.npy", counts)
    info = json.loads((other / "dataset.json").read_text())
    info["sha256"] = sha256((other / "counts.npy").read_bytes()).hexdigest()
    (other / "dataset.json").write_text(json.dumps(info))
    after, metrics_after = train(recipe, other, tmp_path / "b")
    assert without_times(metrics) == without_times(metrics_after)
    assert all(torch.equal(before[name], after[name]) for name in before)


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


def test_a_mixed_run_in_segments_is_the_whole_run_too(crossed: Path, tmp_path: Path) -> None:
    changes = {"schedule__warmup_epochs": 2, "augmentation__thinning": 0.5}
    cut = mixed(**changes, schedule__segment_epochs=1)
    whole = mixed(**changes, schedule__segment_epochs=9)
    in_parts, parts = fitted(cut, crossed, tmp_path)
    at_once, once = fitted(whole, crossed, tmp_path)
    assert in_parts != at_once
    assert without_times(parts) == without_times(once)
    a, b = (load_file(folder / "model.safetensors") for folder in (in_parts, at_once))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_mixed_run_learns_from_no_validation_or_test_image(crossed: Path, tmp_path: Path) -> None:
    """Changing the images of other parts does not change a bit of generators, label filter and
    classifier.
    """
    recipe = mixed(synthesis__rejection=0.3)  # targets include the label filter's probabilities
    dataset = Dataset.open(crossed)
    parts = make_split(dataset, recipe.split)
    held_out = np.concatenate([parts.validation, parts.test])
    other = with_other_pixels(dataset, held_out, tmp_path / "data").folder
    before, metrics = fitted(recipe, crossed, tmp_path / "a")
    after, metrics_after = fitted(recipe, other, tmp_path / "b")
    a, b = (load_file(folder / "model.safetensors") for folder in (before, after))
    assert all(torch.equal(a[name], b[name]) for name in a)
    losses, others = ([m["train_loss"] for m in seen] for seen in (metrics, metrics_after))
    assert losses == others
    assert metrics[-1]["validation_loss"] != metrics_after[-1]["validation_loss"]


@pytest.mark.parametrize("trust", [0.0, 0.25, 1.0])
def test_targets_are_labels_and_for_synthetic_images_the_judges_verdict_too(
    trust: float, crossed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    sound = torch.nn.functional.cross_entropy

    def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, **given: Any) -> torch.Tensor:
        seen.append(targets)
        return sound(logits, targets, **given)

    recipe = mixed(mixing__label_filter_weight=trust)
    digest = Dataset.open(crossed).digest
    pool, _ = made(pipeline.synthesis(recipe, digest, 0), crossed, tmp_path)
    monkeypatch.setattr(train_classifier.F, "cross_entropy", cross_entropy)
    _, metrics = fitted(recipe, crossed, tmp_path)
    verdicts = torch.from_numpy(np.load(pool / "verdicts.npy"))
    labels = torch.from_numpy(Dataset.open(pool / "dataset").labels)
    one_hot = torch.eye(3)
    wanted = trust * verdicts + (1 - trust) * one_hot[labels]
    targets = torch.stack(seen)  # (steps, batch, classes)
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
    crossed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = {counts.astype(np.float32).tobytes() for counts in Dataset.open(crossed).counts}
    of_real: list[int] = []
    sound = train_classifier.augment

    def augment(counts: torch.Tensor, *given: Any) -> torch.Tensor:
        of_real.append(sum(picture.numpy().tobytes() in real for picture in counts))
        return sound(counts, *given)

    recipe = toy_generators(mixing__synthetic_share=1.0, mixing__final_share=0.0)
    made(pipeline.synthesis(recipe, Dataset.open(crossed).digest, 0), crossed, tmp_path)
    monkeypatch.setattr(train_classifier, "augment", augment)
    folder, metrics = fitted(recipe, crossed, tmp_path)
    assert of_real == [0] * 12 + [16] * 4  # three epochs of synthetic images, then the decay
    assert [m["epoch"] for m in metrics] == [1, 2, 3, 4]
    card = json.loads((folder / "model.json").read_text())
    assert card["classes"] == list(CLASSES)


def test_synthetic_images_reach_the_network_as_they_were_made(
    crossed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    sound = train_classifier.augment

    def augment(counts: torch.Tensor, *given: Any) -> torch.Tensor:
        seen.append(counts)
        return sound(counts, *given)

    monkeypatch.setattr(train_classifier, "augment", augment)
    recipe = toy_generators(
        mixing__synthetic_share=1.0, mixing__final_share=1.0, mixing__cross_share=0.5
    )
    digest = Dataset.open(crossed).digest
    pool, _ = made(pipeline.synthesis(recipe, digest, 0), crossed, tmp_path)
    seen.clear()
    fitted(recipe, crossed, tmp_path)
    dataset = Dataset.open(pool / "dataset")
    which = {picture.astype(np.float32).tobytes(): i for i, picture in enumerate(dataset.counts)}
    rows = [which[picture.numpy().tobytes()] for batch in seen for picture in batch]
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
