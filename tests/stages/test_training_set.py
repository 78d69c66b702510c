"""Training sets of each phase: groups, their shares, superpositions, targets."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Generator, Tensor

from tests.toy import CLASSES, made, toy_generators, toy_recipe
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.data.splits import make_split
from thyroid.recipe import Recipe
from thyroid.stage_config import CrossPhase, Ramp
from thyroid.stages import training_set as module
from thyroid.stages.compute import start
from thyroid.stages.training_set import (
    Group,
    TrainingSet,
    rehearsed,
    superpose,
    superposition_pairs,
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
    """Where all the cross images are real ones."""
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
    """A share such as 0.7 is not exact in binary, and must not lose an image in time."""
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


def moments(x: Tensor) -> tuple[float, float]:
    return x.double().mean().item(), x.double().var().item()


@pytest.mark.parametrize(("p", "a", "b"), [(0.5, 6.0, 2.0), (0.7, 1.0, 9.0), (0.8, 4.0, 4.0)])
def test_a_superposition_of_poisson_images_is_a_poisson_image(
    p: float, a: float, b: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRIMARY_SHARE", (p, p))
    n = 40_000
    first = torch.poisson(torch.full((n, 1, 2), a), generator(1))
    second = torch.poisson(torch.full((n, 1, 2), b), generator(2))
    both = superpose(first, second, generator(3))
    activity = p * a + (1 - p) * b
    mean, variance = moments(both)
    error = math.sqrt(activity / (2 * n))
    assert mean == pytest.approx(activity, abs=4 * error)
    assert variance == pytest.approx(activity, abs=4 * activity * math.sqrt(2 / (2 * n)) + 0.01)
    # the whole distribution, and pixels that know nothing of each other
    top = int(stats.poisson(activity).ppf(0.9999))
    observed = np.bincount(both.flatten().clamp_max(top).int().numpy(), minlength=top + 1)
    expected = stats.poisson(activity).pmf(np.arange(top + 1)) * 2 * n
    expected[-1] = 2 * n - expected[:-1].sum()
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    left, right = both[:, 0, 0].double(), both[:, 0, 1].double()
    assert abs(torch.corrcoef(torch.stack([left, right]))[0, 1].item()) < 4 / math.sqrt(n)


def test_the_primary_finding_has_more_than_half_of_the_photons() -> None:
    """Its share p is uniform from 0.5 to 0.8, one for all pixels of an image."""
    n = 4_000
    first, second = torch.full((n, 4, 4), 1000.0), torch.zeros(n, 4, 4)
    kept = (superpose(first, second, generator()) / 1000).mean((1, 2))
    assert stats.kstest(kept.numpy(), stats.uniform(0.5, 0.3).cdf).pvalue > 1e-3
    other = superpose(second, first, generator()).mean((1, 2)) / 1000
    assert torch.allclose(kept + other, torch.ones(n), atol=0.03)  # the same p, and 1 - p


def test_a_superposition_is_of_whole_photons_that_were_there() -> None:
    first = torch.randint(0, 50, (300, 8, 8), generator=generator(1)).float()
    second = torch.randint(0, 50, (300, 8, 8), generator=generator(2)).float()
    both = superpose(first, second, generator(3))
    assert both.dtype == torch.float32
    assert torch.equal(both, both.round())
    assert (both >= 0).all()
    assert (both <= first + second).all()
    assert torch.equal(both, superpose(first, second, generator(3)))
    assert not torch.equal(both, superpose(first, second, generator(4)))


def images(sizes: dict[str, int]) -> pd.DataFrame:
    findings = [text for text, n in sizes.items() for _ in range(n)]
    return pd.DataFrame({"findings": findings, "label": [f.split(";")[0] for f in findings]})


@given(
    sizes=st.fixed_dictionaries(
        {"a": st.integers(1, 20), "b": st.integers(1, 20), "c": st.integers(0, 20)}
        | {"a;b": st.integers(0, 5), "c;a": st.integers(0, 5)}
    ),
    crosses=st.lists(
        st.sampled_from([("a", "b"), ("b", "a"), ("c", "a"), ("a", "b", "c"), ("b", "d")]),
        unique=True,
    ),
    seed=st.integers(0, 9),
)
def test_pairs_are_of_single_images_of_the_two_findings(
    sizes: dict[str, int], crosses: list[tuple[str, ...]], seed: int
) -> None:
    table = images(sizes)
    first, second = superposition_pairs(table, crosses, seed)
    shown = table["findings"].to_numpy()
    pairs = Counter(zip(shown[first.numpy()], shown[second.numpy()], strict=True))
    alone = {name for name in "abcd" if sizes.get(name)}
    possible = Counter(c[:2] for c in crosses if set(c[:2]) <= alone)
    assert set(pairs) == set(possible)
    if possible:
        single = sum(sizes[name] for name in "abc")
        each = math.ceil(single / sum(possible.values()))
        assert pairs == {pair: each * times for pair, times in possible.items()}
    again, _ = superposition_pairs(table, crosses, seed)
    assert torch.equal(first, again)


def test_superposed_images_stand_with_label_and_targets_of_the_primary_finding(
    crossed: Path,
) -> None:
    recipe = retraining(cross__superposed=0.5, cross__secondary=0.25)
    single_phase, *_, training = sets_of(recipe, crossed)
    findings = findings_of(crossed, recipe)
    assert "superposed" not in single_phase.groups
    rows = training.groups["superposed"].rows
    assert rows.tolist() == list(range(len(findings), len(training.counts)))
    targets = {tuple(row) for row in training.targets[rows].tolist()}
    assert targets == {(0.75, 0.25, 0.0), (0.0, 0.75, 0.25)}  # left;right and right;below
    counts = training.counts[rows]
    assert torch.equal(counts, counts.round())

    # What it shows: the primary finding's spot is the brighter one, on average
    y, x = np.mgrid[:32, :32]
    spot = {
        name: torch.from_numpy((y - cy) ** 2 + (x - cx) ** 2 < 9)
        for name, (cy, cx) in {"left": (8, 8), "right": (8, 24), "below": (24, 16)}.items()
    }
    for row, (primary, other, none) in {
        (0.75, 0.25, 0.0): ("left", "right", "below"),
        (0.0, 0.75, 0.25): ("right", "below", "left"),
    }.items():
        own = counts[(training.targets[rows] == torch.tensor(row)).all(1)].mean(0)
        bright, dim, dark = (own[spot[name]].mean() for name in (primary, other, none))
        assert bright > 1.4 * dim
        assert dim > 2 * dark


def test_all_segments_superpose_the_same_images(crossed: Path) -> None:
    trained = sets_of(retraining(cross__superposed=0.5), crossed)[3:]
    assert len(trained) == 4
    for training in trained[1:]:
        assert torch.equal(training.counts[:], trained[0].counts[:])


def test_which_crosses_are_superposed(crossed: Path, toy: Path) -> None:
    asked = retraining(cross__superposed=1.0, synthesis__crosses="below+left", cross__secondary=0.5)
    for folder in (crossed, toy):
        training = sets_of(asked, folder)[-1]
        rows = training.groups["superposed"].rows
        assert training.targets[rows].unique(dim=0).tolist() == [[0.5, 0.0, 0.5]]
        assert training.shares(6) == pytest.approx({"superposed": 0.5, "single": 0.5})


@pytest.mark.parametrize(
    ("superposed", "expected"),
    [
        (0.0, {"cross": 0.5, "single": 0.5}),
        (0.5, {"superposed": 0.25, "cross": 0.25, "single": 0.5}),
        (1.0, {"superposed": 0.5, "single": 0.5}),
    ],
)
def test_superpositions_are_a_share_of_the_crosses(
    superposed: float, expected: dict[str, float], crossed: Path
) -> None:
    training = sets_of(retraining(cross__superposed=superposed), crossed)[-1]
    assert training.shares(6) == pytest.approx(expected)
    kinds = {
        name: set(training.groups[name].rows.tolist())
        for name in training.groups
        if name in expected
    }
    rows = drawn(training, 6)
    for name, share in expected.items():
        assert [sum(row in kinds[name] for row in batch) for batch in rows.tolist()] == [
            round(16 * share)
        ] * 4


def test_where_nothing_can_be_superposed_real_crosses_take_the_place(
    crossed: Path, toy: Path
) -> None:
    recipe = retraining(cross__superposed=1.0, synthesis__crosses="none")
    assert sets_of(recipe, crossed)[-1].shares(6) == pytest.approx({"cross": 0.5, "single": 0.5})
    assert sets_of(recipe, toy)[-1].shares(6) == {"single": 1.0}


# Targets


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
