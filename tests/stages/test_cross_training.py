"""Runs with a cross phase: what each phase sees and changes; the same key gives the same bits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.toy import made, toy_generators, toy_recipe, with_other_pixels, without_times
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.data.splits import LeakError, make_split
from thyroid.execution.in_process import in_process, opened
from thyroid.recipe import Recipe
from thyroid.runs.experiment import without_synthetic
from thyroid.stage import EpochMetrics, Stage
from thyroid.stages import train_classifier
from thyroid.storage.store import Store

LENGTH = {
    "cross__order": "retrain",
    "schedule__warmup_epochs": 0,
    "schedule__constant_epochs": 4,
    "schedule__decay_epochs": 1,
    "schedule__segment_epochs": 3,
    "cross__epochs": 3,
}
"""Two epochs of single images, then three of crosses, of which the last decays."""


def retraining(**changes: Any) -> Recipe:
    return toy_recipe(**LENGTH | changes)


def fitted(
    recipe: Recipe, dataset: Path, root: Path
) -> tuple[dict[str, Tensor], list[EpochMetrics], Stage]:
    """Weights, the metrics of its own epochs, and the last segment."""
    final = pipeline.classifier(recipe, Dataset.open(dataset).digest, 0)[-1]
    folder, metrics = made(final, dataset, root)
    return weights(folder), metrics[-recipe.schedule.epochs :], final


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def weights_of(stage: Stage, root: Path) -> dict[str, Tensor]:
    return weights(opened(stage, Store(root)))


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.fixture
def augmented(calls_of: Callable[..., list]) -> list[tuple[Any, ...]]:
    """The calls of the augmentation, one for each step; their first argument are the counts."""
    return calls_of(train_classifier, "augment")


def findings_of(dataset: Dataset) -> dict[bytes, str]:
    """Identify an image by its pixels."""
    pixels = [picture.astype(np.float32).tobytes() for picture in dataset.counts]
    return dict(zip(pixels, dataset.images["findings"], strict=True))


def shown(augmented: list[tuple[Any, ...]], *known: Dataset) -> list[Counter[str]]:
    """Kinds of images in each batch: `single`, `cross`, or `other` for unknown images."""
    findings = {pixels: text for dataset in known for pixels, text in findings_of(dataset).items()}
    kinds = []
    for counts, *_ in augmented:
        texts = [findings.get(picture.numpy().tobytes()) for picture in counts]
        kinds.append(
            Counter("other" if t is None else "cross" if ";" in t else "single" for t in texts)
        )
    return kinds


# What is seen


def test_each_phase_sees_its_own_images_in_as_many_steps(
    crossed: Path, tmp_path: Path, augmented: list[tuple[Any, ...]]
) -> None:
    dataset = Dataset.open(crossed)
    phases, steps = {}, {}
    for order in ("retrain", "mixed", "never"):
        augmented.clear()
        _, metrics, _ = fitted(retraining(cross__order=order), crossed, tmp_path)
        phases[order] = [m["phase"] for m in metrics]
        steps[order] = shown(augmented, dataset)
    train = make_split(dataset, retraining().split).train
    each = len(train) // 16
    assert each == 4
    assert all(len(counted) == 5 * each for counted in steps.values())
    assert phases == {
        "retrain": ["single"] * 2 + ["cross"] * 3,
        "mixed": ["mixed"] * 5,
        "never": ["single"] * 5,
    }
    assert steps["never"] == [{"single": 16}] * 20
    assert steps["retrain"] == [{"single": 16}] * 8 + [{"single": 8, "cross": 8}] * 12
    mixed = sum(steps["mixed"], Counter())
    share = dataset.is_cross[train].mean()
    assert mixed["cross"] / mixed.total() == pytest.approx(share, abs=0.03)
    assert steps["mixed"][0] != steps["never"][0]


def test_a_ramp_of_crosses_and_superpositions(
    crossed: Path, tmp_path: Path, augmented: list[tuple[Any, ...]]
) -> None:
    recipe = retraining(
        cross__share=1.0, cross__ramp="linear", cross__ramp_epochs=3, cross__superposed=0.5
    )
    fitted(recipe, crossed, tmp_path)
    counted = shown(augmented, Dataset.open(crossed))
    assert counted[:8] == [{"single": 16}] * 8
    for step, kinds in enumerate(counted[8:]):
        share = (step + 0.5) / 12
        assert abs(kinds["other"] - 8 * share) <= 1  # superpositions are new images
        assert abs(kinds["cross"] - 8 * share) <= 1
        assert kinds["single"] == 16 - kinds["other"] - kinds["cross"]
    assert counted[-1]["single"] <= 2


def test_synthetic_crosses_are_of_the_pool(
    crossed: Path, tmp_path: Path, augmented: list[tuple[Any, ...]]
) -> None:
    """The single phase does not depend on the cross images."""
    recipe = toy_generators(
        **LENGTH, cross__synthetic=0.5, mixing__synthetic_share=0.0, mixing__final_share=0.0
    )
    dataset = Dataset.open(crossed)
    pool, _ = made(pipeline.synthesis(recipe, dataset.digest, 0), crossed, tmp_path)
    augmented.clear()
    trained, metrics, _ = fitted(recipe, crossed, tmp_path)
    assert len(augmented) == 20
    real = shown(augmented, dataset)
    assert real[:8] == [{"single": 16}] * 8
    assert real[8:] == [{"single": 8, "cross": 4, "other": 4}] * 12
    synthetic = Dataset.open(pool / "dataset")
    made_crosses = {p for p, text in findings_of(synthetic).items() if ";" in text}
    drawn = {picture.numpy().tobytes() for counts, *_ in augmented for picture in counts}
    both = shown(augmented, dataset, synthetic)
    assert both[8:] == [{"single": 8, "cross": 8}] * 12
    assert len(drawn & made_crosses) > 8

    twin = without_synthetic(recipe)
    assert not twin.synthetic
    augmented.clear()
    plain, _, _ = fitted(twin, crossed, tmp_path)
    assert (
        shown(augmented, dataset) == [{"single": 8, "cross": 8}] * 12
    )  # it shares the single phase
    first, second = (pipeline.before_cross(r, dataset.digest, 0) for r in (recipe, twin))
    assert first.key == second.key
    assert not same(plain, trained)
    assert [m["epoch"] for m in metrics] == [1, 2, 3, 4, 5]


def test_secondary_findings_reach_the_loss_of_crosses_alone(
    crossed: Path, tmp_path: Path, calls_of: Callable[..., list]
) -> None:
    calls = calls_of(train_classifier.F, "cross_entropy")
    fitted(retraining(cross__secondary=0.25, cross__superposed=0.5), crossed, tmp_path)
    seen = [call[1] for call in calls]
    shares = [sorted({tuple(sorted(row)) for row in targets.tolist()}) for targets in seen]
    assert shares[:8] == [[(0.0, 0.0, 1.0)]] * 8
    assert shares[8:] == [[(0.0, 0.0, 1.0), (0.0, 0.25, 0.75)]] * 12
    assert all(int((targets.max(1).values < 1).sum()) == 8 for targets in seen[8:])


# What is learned, and from what


@pytest.mark.parametrize("source", ["input", "stem", "context"])
def test_x_i_opens_with_the_cross_phase(source: str, crossed: Path, tmp_path: Path) -> None:
    recipe = retraining(network__cross_feature=source, optimiser__label_smoothing=0.0)
    trained, _, final = fitted(recipe, crossed, tmp_path)
    before = pipeline.before_cross(recipe, final.dataset, 0)
    single = weights_of(before, tmp_path)
    assert not [name for name in single if ".cross." in name]
    gains = [tensor for name, tensor in trained.items() if name.endswith(".gain")]
    assert len(gains) == 4
    assert all(gain.abs().min() > 0 for gain in gains)
    assert set(trained) - set(single) == {name for name in trained if ".cross." in name}
    assert [s.config.epochs for s in final.lineage() if s.kind == "classifier"] == [2, 2, 1]


def test_x_i_in_a_mixed_run_is_open_from_the_start(crossed: Path, tmp_path: Path) -> None:
    recipe = retraining(cross__order="mixed", network__cross_feature="input")
    _, _, final = fitted(recipe, crossed, tmp_path)
    first = next(s for s in final.lineage() if s.kind == "classifier")
    gains = [t for name, t in weights_of(first, tmp_path).items() if name.endswith(".gain")]
    assert len(gains) == 4
    assert all(gain.abs().min() > 0 for gain in gains)


LATE = {"network__cross_feature": "context", "cross__superposed": 0.5, "cross__secondary": 0.2}
LATE |= {"cross__rehearsal": 0.5, "cross__ramp": "cosine", "cross__rate": 0.5}
LATE |= {"augmentation__thinning": 0.5, "schedule__warmup_epochs": 1, "cross__ramp_epochs": 2}


def test_a_run_cut_off_anywhere_goes_on_to_the_same_bits(crossed: Path, tmp_path: Path) -> None:
    recipe = retraining(**LATE)
    undisturbed, metrics, final = fitted(recipe, crossed, tmp_path / "a")
    where = {final.dataset: crossed}
    for cut in (2, 4, 5):  # in the single phase, at the end of a cross segment, and in the next
        running = in_process(Store(tmp_path / "b"), where)([final])
        epochs = (m for m in running if "epoch" in m)
        assert [next(epochs)["epoch"] for _ in range(cut)] == list(range(1, cut + 1))
        running.close()  # type: ignore[attr-defined]  # a generator
        assert not list((tmp_path / "b" / "building").iterdir())
    continued, again, _ = fitted(recipe, crossed, tmp_path / "b")
    assert without_times(again) == without_times(metrics)
    assert any(m["reused"] for m in again)
    assert same(continued, undisturbed)


def test_other_training_images_give_other_weights(crossed: Path, tmp_path: Path) -> None:
    """The counterpart: changing one cross image of the training part changes the cross phase, and
    only that.
    """
    recipe = retraining()
    dataset = Dataset.open(crossed)
    train = make_split(dataset, recipe.split).train
    one = train[dataset.is_cross[train]][:1]
    other = with_other_pixels(dataset, one, tmp_path / "data").folder
    before, _, final = fitted(recipe, crossed, tmp_path / "a")
    after, _, last = fitted(recipe, other, tmp_path / "b")
    assert not same(before, after)
    first = weights_of(pipeline.before_cross(recipe, final.dataset, 0), tmp_path / "a")
    second = weights_of(pipeline.before_cross(recipe, last.dataset, 0), tmp_path / "b")
    assert same(first, second)


# Predictions


def test_the_whole_of_another_data_set_is_predicted_and_never_the_training_data(
    crossed: Path, toy: Path, tmp_path: Path
) -> None:
    recipe = retraining(split__test=0.0)
    digest, elsewhere = Dataset.open(crossed).digest, Dataset.open(toy).digest
    where = {digest: crossed, elsewhere: toy}
    stage = pipeline.prediction(recipe, digest, 0, "test", test_set=elsewhere)
    store = Store(tmp_path)
    list(in_process(store, where)([stage]))
    lines = (opened(stage, store) / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + 90
    own = pipeline.prediction(recipe, digest, 0, "test", test_set=digest)
    with pytest.raises(LeakError, match="the data set that the network was trained on"):
        list(in_process(store, where)([own]))


def test_the_network_before_the_cross_phase_is_a_network_of_its_own(
    crossed: Path, tmp_path: Path
) -> None:
    recipe = retraining(network__cross_feature="input")
    digest = Dataset.open(crossed).digest
    before = pipeline.before_cross(recipe, digest, 0)
    stages = [
        pipeline.prediction(recipe, digest, 0, "validation", model=model)
        for model in (None, before)
    ]
    assert len({stage.key for stage in stages}) == 2
    written = [made(stage, crossed, tmp_path)[0] / "predictions.csv" for stage in stages]
    assert written[0].read_text() != written[1].read_text()
    card = json.loads((opened(before, Store(tmp_path)) / "model.json").read_text())
    assert card["network"]["cross_feature"] == "none"
