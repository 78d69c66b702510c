"""Training sets of each phase: groups, their shares, superpositions, targets."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from tests.toy import CLASSES, made, toy_generators, toy_recipe
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.data.splits import make_split
from thyroid.recipe import Recipe
from thyroid.stage_config import CrossPhase, Ramp
from thyroid.stages.compute import start
from thyroid.stages.training_set import (
    Group,
    TrainingSet,
    rehearsed,
    targets_of,
    training_set,
)

LENGTH = {"schedule__constant_epochs": 4, "schedule__decay_epochs": 2, "cross__epochs": 4}
"""Epochs 0 to 2 are the single phase, 3 to 6 the cross phase."""


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def retraining(**changes: Any) -> Recipe:
    return toy_recipe(**{"cross__order": "retrain"} | LENGTH | changes)


def sets_of(
    recipe: Recipe, folder: Path, inputs: dict[str, Path] | None = None
) -> list[TrainingSet]:
    """The training set of every segment."""
    dataset = Dataset.open(folder)
    parts = make_split(dataset, recipe.split)
    on = start(recipe.execution)
    return [
        training_set(stage.config, inputs or {}, dataset, parts, on)
        for stage in pipeline.classifier(recipe, dataset.digest, 0)
    ]


def findings_of(folder: Path, recipe: Recipe) -> list[str]:
    """Rows of the training part, in its order."""
    dataset = Dataset.open(folder)
    return list(dataset.images["findings"].iloc[make_split(dataset, recipe.split).train])


def drawn(training: TrainingSet, epoch: int, batch: int = 16, steps: int = 4) -> Tensor:
    """(steps, batch) rows of one epoch."""
    return training.order(epoch, batch, steps, generator(epoch)).view(steps, batch)


def crosses_per_batch(training: TrainingSet, findings: list[str], epoch: int) -> list[int]:
    """The groups if all cross images are real."""
    cross = torch.tensor([";" in text for text in findings])
    return cross[drawn(training, epoch)].sum(1).tolist()


# Phases


def test_the_single_phase_draws_every_single_image_and_no_cross(crossed: Path) -> None:
    recipe = retraining()
    findings = findings_of(crossed, recipe)
    assert any(";" in text for text in findings)
    never = sets_of(toy_recipe(cross__order="never", **LENGTH), crossed)
    for training in [*sets_of(recipe, crossed)[:3], *never]:
        rows = torch.cat([drawn(training, epoch).flatten() for epoch in range(4)])
        single = {row for row, text in enumerate(findings) if ";" not in text}
        assert set(rows.tolist()) == single


def test_the_mixed_phase_draws_all_alike(crossed: Path) -> None:
    recipe = toy_recipe(**LENGTH)
    findings = findings_of(crossed, recipe)
    (training, *_) = sets_of(recipe, crossed)
    assert set(training.groups) == {"real"}
    steps = len(findings) // 16
    rows = drawn(training, 0, steps=steps).flatten()
    assert len(set(rows.tolist())) == len(rows) == steps * 16


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_the_cross_phases_share_is_met_in_every_batch(share: float, crossed: Path) -> None:
    recipe = retraining(cross__share=share)
    findings = findings_of(crossed, recipe)
    for training in sets_of(recipe, crossed)[3:]:
        for epoch in (3, 6):
            assert crosses_per_batch(training, findings, epoch) == [round(16 * share)] * 4


def test_a_share_of_no_whole_number_is_met_on_average(crossed: Path) -> None:
    recipe = retraining(cross__share=0.3)
    findings = findings_of(crossed, recipe)
    training = sets_of(recipe, crossed)[3]
    counted = crosses_per_batch(training, findings, 3)
    assert sum(counted) == int(0.3 * 64)
    assert set(counted) == {4, 5}


RAMPS = {
    # at the phase's beginning, a quarter, half, three quarters of the ramp, at its end, after it
    "constant": [0.5] * 6,
    "linear": [0.0, 0.125, 0.25, 0.375, 0.5, 0.5],
    "cosine": [0.0, *(0.25 * (1 - math.cos(math.pi * t)) for t in (0.25, 0.5, 0.75)), 0.5, 0.5],
}


@pytest.mark.parametrize("ramp", RAMPS)
def test_ramps(ramp: str, crossed: Path) -> None:
    recipe = retraining(cross__ramp=ramp, cross__ramp_epochs=2)
    for training in sets_of(recipe, crossed)[3:]:
        shares = [training.shares(epoch) for epoch in (3, 3.5, 4, 4.5, 5, 7)]
        assert [s["cross"] for s in shares] == pytest.approx(RAMPS[ramp])
        assert [s["single"] for s in shares] == pytest.approx([1 - s for s in RAMPS[ramp]])


def test_a_ramp_is_followed_within_and_across_segments(crossed: Path) -> None:
    recipe = retraining(cross__share=1.0, cross__ramp="linear", cross__ramp_epochs=4)
    findings = findings_of(crossed, recipe)
    counted = [
        crosses_per_batch(training, findings, epoch)
        for epoch, training in enumerate(sets_of(recipe, crossed)[3:], start=3)
    ]
    middle = [16 * (epoch + (step + 0.5) / 4) / 4 for epoch in range(4) for step in range(4)]
    flat = [number for of_epoch in counted for number in of_epoch]
    assert len(flat) == 16
    for number, wanted in zip(flat, middle, strict=True):
        assert abs(number - wanted) <= 1
    assert flat == sorted(flat)


def test_a_long_epoch_of_whole_numbers_misses_none() -> None:
    """A share such as 0.7 is not exact in binary; even after many steps, no image may be lost by
    that.
    """
    final = pipeline.classifier(retraining(cross__share=0.7), "d" * 64, 0)[-1]
    training = TrainingSet(
        counts=torch.zeros(40, 2, 2),
        targets=torch.zeros(40, 3),
        groups={
            "single": Group(rows=torch.arange(20)),
            "cross": Group(rows=torch.arange(20, 40)),
        },
        config=final.config,
    )
    order = training.order(5, 100, 400, generator()).view(400, 100)
    assert (order >= 20).sum(1).tolist() == [70] * 400


# Rehearsal


def table_of(sizes: dict[str, int]) -> np.ndarray:
    return np.array([name for name, n in sizes.items() for _ in range(n)], dtype=object)


@given(
    sizes=st.dictionaries(st.sampled_from("abc"), st.integers(1, 30), min_size=1),
    share=st.sampled_from([0.0, 0.01, 0.25, 0.5, 1.0]),
    seed=st.integers(0, 9),
)
def test_rehearsal_keeps_the_same_share_of_every_class(
    sizes: dict[str, int], share: float, seed: int
) -> None:
    labels = table_of(sizes)
    single = np.arange(len(labels))[::2]
    phase = CrossPhase(
        share=Ramp(), rehearsal=share, superposed=0.0, crosses="none", trainable="all"
    )
    kept = rehearsed(labels, single, phase, seed)
    there, left = Counter(labels[single]), Counter(labels[kept])
    assert all(left[name] == math.ceil(share * n) for name, n in there.items())
    assert set(kept) <= set(single)
    assert len(set(kept)) == len(kept)
    assert np.array_equal(kept, rehearsed(labels, single, phase, seed))


def test_rehearsal_depends_on_the_seed_alone() -> None:
    labels = table_of({"a": 30, "b": 30})
    few = CrossPhase(share=Ramp(), rehearsal=0.2, superposed=0.0, crosses="none", trainable="all")
    head = CrossPhase(
        share=Ramp(stop=0.2), rehearsal=0.2, superposed=0.5, crosses="seen", trainable="head"
    )
    first = rehearsed(labels, np.arange(60), few, 0)
    assert np.array_equal(first, rehearsed(labels, np.arange(60), head, 0))
    assert not np.array_equal(first, rehearsed(labels, np.arange(60), few, 1))


def test_all_segments_rehearse_the_same_images(crossed: Path) -> None:
    recipe = retraining(cross__rehearsal=0.25)
    findings = findings_of(crossed, recipe)
    rows = [t.groups["single"].rows.tolist() for t in sets_of(recipe, crossed)]
    assert len(rows[0]) == len(rows[2]) == sum(";" not in text for text in findings)
    assert rows[3] == rows[4] == rows[5] == rows[6]
    of_class = Counter(findings[row] for row in rows[3])
    there = Counter(text for text in findings if ";" not in text)
    assert of_class == {name: math.ceil(0.25 * n) for name, n in there.items()}


def test_without_rehearsal_there_are_crosses_alone(crossed: Path) -> None:
    recipe = retraining(cross__rehearsal=0.0, cross__share=0.25)
    findings = findings_of(crossed, recipe)
    training = sets_of(recipe, crossed)[3]
    assert training.shares(3) == {"cross": 1.0}
    assert crosses_per_batch(training, findings, 3) == [16] * 4


# Superpositions


def test_targets() -> None:
    classes = ("a", "b", "c")
    plain = targets_of(["a", "b;c", "c;a;b"], classes, 0.0)
    assert torch.equal(plain, torch.eye(3))
    shared = targets_of(["a", "b;c", "c;a;b"], classes, 0.5)
    assert shared.tolist() == [[1, 0, 0], [0, 0.5, 0.5], [0.25, 0.25, 0.5]]


@pytest.mark.parametrize("order", ["mixed", "retrain"])
def test_secondary_findings_are_in_the_targets_of_crosses(order: str, crossed: Path) -> None:
    recipe = retraining(cross__secondary=0.25, cross__order=order)
    training = sets_of(recipe, crossed)[-1]
    expected = {
        "left": (1, 0, 0),
        "right": (0, 1, 0),
        "below": (0, 0, 1),
        "left;right": (0.75, 0.25, 0),
        "right;below": (0, 0.75, 0.25),
    }
    findings = findings_of(crossed, recipe)
    assert set(findings) == set(expected)
    assert training.targets.tolist() == [list(expected[text]) for text in findings]


# Synthetic images


def test_the_single_phase_draws_synthetic_single_images_and_the_cross_phase_crosses(
    crossed: Path, tmp_path: Path
) -> None:
    recipe = toy_generators(
        cross__order="retrain", cross__synthetic=0.25, cross__superposed=0.25, **LENGTH
    )
    dataset = Dataset.open(crossed)
    folder, _ = made(pipeline.synthesis(recipe, dataset.digest, 0), crossed, tmp_path)
    pool = Dataset.open(folder / "dataset").images["findings"]
    assert pool.str.contains(";").nunique() == 2
    single, *_, cross = sets_of(recipe, crossed, {"synthetic": folder})
    real = len(findings_of(crossed, recipe))

    assert single.shares(0) == {"synthetic": 0.5, "single": 0.5}
    rows = drawn(single, 0).flatten()
    chosen = pool.iloc[rows[rows >= real].numpy() - real]
    assert len(chosen) == 32
    assert set(chosen) == set(CLASSES)

    wanted = {"superposed": 0.125, "synthetic": 0.125, "cross": 0.25, "single": 0.5}
    assert cross.shares(6) == pytest.approx(wanted)
    rows = drawn(cross, 6)
    of_pool = (rows >= real) & (rows < real + len(pool))
    assert of_pool.sum(1).tolist() == [2] * 4
    assert set(pool.iloc[rows[of_pool].numpy() - real]) == {"left;right", "right;below"}
    assert cross.groups["superposed"].rows[0] == real + len(pool)
