"""Cross images made by superposing single ones: their photons, targets and shares."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from tests.stages.test_training_set import drawn, findings_of, generator, retraining, sets_of
from thyroid.stages import training_set as module
from thyroid.stages.training_set import (
    superpose,
    superposition_pairs,
)


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
    # the whole distribution, and independent pixels
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

    # The spot of the primary finding is the brighter one, on average
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
