"""Batches of real and synthetic images: shares, and how often each image is drawn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Generator, Tensor

from thyroid.errors import InputError
from thyroid.stage_config import SyntheticShare
from thyroid.stages.batches import Source, epoch_order, synthetic_weights


def generator(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def real_order(real: int, batch: int, steps: int, generator: Generator) -> Tensor:
    """An epoch of real images alone."""
    whole = Source(rows=torch.arange(real), share=torch.ones(steps))
    return epoch_order([whole], batch, generator)


def mixed_order(
    real: int, batch: int, steps: int, share: float, weights: Tensor, generator: Generator
) -> Tensor:
    """An epoch of both; synthetic image k has the index real + k."""
    synthetic = torch.arange(len(weights)) + real
    return epoch_order(
        [
            Source(rows=synthetic, share=torch.full((steps,), share), weights=weights),
            Source(rows=torch.arange(real), share=torch.full((steps,), 1 - share)),
        ],
        batch,
        generator,
    )


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    parts=st.lists(st.integers(0, 5), min_size=4, max_size=4),
    batch=st.integers(2, 40),
    steps=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_every_source_gets_its_share_of_any_number(
    sizes: list[int], parts: list[int], batch: int, steps: int, seed: int
) -> None:
    parts = parts[: len(sizes)]
    parts[-1] += not sum(parts)
    shares = np.array(parts) / sum(parts)
    ends = np.cumsum(sizes)
    sources = [
        Source(
            rows=torch.arange(end - size, end),
            share=torch.full((steps,), float(share), dtype=torch.float64),
        )
        for size, end, share in zip(sizes, ends, shares, strict=True)
    ]
    order = epoch_order(sources, batch, generator(seed))
    assert order.shape == (steps * batch,)
    which = np.searchsorted(ends, order.numpy(), side="right")
    for k, (size, end, share) in enumerate(zip(sizes, ends, shares, strict=True)):
        own = which == k
        assert abs(own.sum() - steps * batch * share) <= len(sizes)
        times = np.bincount(order.numpy()[own] - (end - size), minlength=size)
        assert times.max() - times.min() <= 1  # none a second time before all came once


def test_a_share_that_rises_is_followed_step_by_step() -> None:
    rising = torch.linspace(0, 1, 11, dtype=torch.float64)
    sources = [
        Source(rows=torch.arange(20, 30), share=rising),
        Source(rows=torch.arange(20), share=1 - rising),
    ]
    order = epoch_order(sources, 20, generator(0)).view(11, 20)
    assert (order >= 20).sum(1).tolist() == [2 * step for step in range(11)]


@given(st.integers(2, 200), st.integers(1, 40), st.integers(0, 99))
def test_an_epoch_of_real_images_has_none_twice(real: int, batch: int, seed: int) -> None:
    batch = min(batch, real)
    steps = real // batch
    order = real_order(real, batch, steps, generator(seed))
    assert len(order) == steps * batch
    assert len(order.unique()) == len(order)
    assert order.min() >= 0
    assert order.max() < real


@given(
    real=st.integers(2, 200),
    batch=st.integers(2, 40),
    share=st.floats(0.001, 1.0),
    pool=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_each_batch_has_its_share_and_an_epoch_no_real_image_twice(
    real: int, batch: int, share: float, pool: int, seed: int
) -> None:
    batch = min(batch, real)
    steps = real // batch
    weights = torch.ones(pool, dtype=torch.float64)
    order = mixed_order(real, batch, steps, share, weights, generator(seed))
    assert order.shape == (steps * batch,)
    assert order.dtype == torch.int64
    assert order.min() >= 0
    assert order.max() < real + pool
    own = order[order < real]
    assert len(own.unique()) == len(own)
    synthetic = (order >= real).view(steps, batch).sum(1)
    wanted = batch * share
    assert ((synthetic - wanted).abs() < 1 + 1e-5).all()
    upto = synthetic.cumsum(0)
    exact = torch.arange(1, steps + 1) * wanted
    assert ((upto - exact).abs() < 1 + 1e-5).all()  # the mean is exact, and no batch is far from it


@pytest.mark.parametrize(
    ("batch", "share"), [(16, 0.5), (10, 0.3), (32, 0.25), (30, 1 / 3), (30, 2 / 3), (7, 1.0)]
)
def test_a_share_that_is_a_whole_number_is_met_in_every_batch(batch: int, share: float) -> None:
    order = mixed_order(640, batch, 20, share, torch.ones(5), generator(0))
    synthetic = (order >= 640).view(20, batch).sum(1)
    assert synthetic.tolist() == [round(batch * share)] * 20


def test_a_share_that_is_none_is_met_on_average() -> None:
    order = mixed_order(500, 5, 100, 0.33, torch.ones(5), generator(0))
    assert int((order >= 500).sum()) == 165


def test_synthetic_images_are_drawn_by_their_weights() -> None:
    weights = torch.tensor([1.0, 0.0, 3.0, 6.0])
    order = mixed_order(40_000, 100, 400, 0.5, weights, generator(0))
    observed = np.bincount(order[order >= 40_000].numpy() - 40_000, minlength=4)
    assert observed[1] == 0
    expected = 20_000 * np.array([0.1, 0.3, 0.6])
    assert stats.chisquare(observed[[0, 2, 3]], expected).pvalue > 1e-3


def test_every_worker_gets_some_of_both_kinds_at_random() -> None:
    order = mixed_order(6_400, 16, 400, 0.5, torch.ones(5), generator(0))
    first = (order >= 6_400).view(400, 2, 8)[:, 0].sum(1)  # of the first of two workers
    assert len(first.unique()) > 3
    assert first.double().mean().item() == pytest.approx(4, abs=0.3)
    # without replacement: of 16, 8 are synthetic, and 8 are this worker's
    assert first.double().var().item() == pytest.approx(stats.hypergeom(16, 8, 8).var(), rel=0.3)


def test_batches_repeat_with_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = mixed_order(100, 10, 10, 0.4, torch.ones(7), generator(3))
    torch.manual_seed(2)
    assert torch.equal(first, mixed_order(100, 10, 10, 0.4, torch.ones(7), generator(3)))
    assert not torch.equal(first, mixed_order(100, 10, 10, 0.4, torch.ones(7), generator(4)))


REAL = {"a": 60, "b": 20, "c": 4, "a;b": 12, "b;c": 4}
POOL = {"a": 10, "b": 5, "c": 20, "a;b": 8, "b;c": 3, "c;a": 6}


def table(sizes: dict[str, int]) -> pd.DataFrame:
    return pd.DataFrame({"findings": [text for text, n in sizes.items() for _ in range(n)]})


def chances(
    exponent: float,
    cross_share: float | None,
    real: dict[str, int] = REAL,
    pool: dict[str, int] = POOL,
) -> dict[str, float]:
    """How often each combination of findings is drawn."""
    config = SyntheticShare(
        share=0.5, class_exponent=exponent, cross_share=cross_share, label_filter_weight=0.0
    )
    weights = synthetic_weights(table(real), table(pool), config)
    assert weights.shape == (sum(pool.values()),)
    assert weights.sum().item() == pytest.approx(1)
    assert (weights >= 0).all()
    each: Counter[str] = Counter()
    for text, weight in zip(table(pool)["findings"], weights.tolist(), strict=True):
        each[text] += weight
    return dict(each)


def test_as_real_images_are() -> None:
    drawn = chances(1.0, None)
    total = 100  # 84 single and 16 cross images; c;a, never seen, counts as an average cross of 8
    singles = {"a": 60 / total, "b": 20 / total, "c": 4 / total}
    crosses = {text: 0.16 * n / 24 for text, n in {"a;b": 12, "b;c": 4, "c;a": 8}.items()}
    assert drawn == pytest.approx(singles | crosses)


def test_all_combinations_alike() -> None:
    drawn = chances(0.0, 0.25)
    singles = dict.fromkeys("abc", 0.75 / 3)
    assert drawn == pytest.approx(singles | dict.fromkeys(["a;b", "b;c", "c;a"], 0.25 / 3))


def test_the_rare_more_often() -> None:
    drawn = chances(-1.0, 0.0)
    inverse = {"a": 1 / 60, "b": 1 / 20, "c": 1 / 4}
    expected = {text: value / sum(inverse.values()) for text, value in inverse.items()}
    assert drawn == pytest.approx(expected | dict.fromkeys(["a;b", "b;c", "c;a"], 0.0))


def test_crosses_alone() -> None:
    drawn = chances(1.0, 1.0)
    assert sum(drawn[text] for text in ("a", "b", "c")) == 0
    assert sum(drawn[text] for text in ("a;b", "b;c", "c;a")) == pytest.approx(1)


@given(
    exponent=st.floats(-2, 2),
    cross_share=st.none() | st.floats(0.01, 0.99),
    real=st.dictionaries(
        st.sampled_from(list(POOL)), st.integers(1, 50), min_size=2, max_size=6
    ).filter(lambda sizes: any(";" not in text for text in sizes)),
    pool=st.dictionaries(
        st.sampled_from(list(POOL)), st.integers(1, 50), min_size=1, max_size=6
    ).filter(lambda sizes: any(";" not in text for text in sizes)),
)
def test_weights_are_a_distribution_whose_groups_follow_the_exponent(
    exponent: float, cross_share: float | None, real: dict[str, int], pool: dict[str, int]
) -> None:
    drawn = chances(exponent, cross_share, real, pool)
    of_real = sum(n for text, n in real.items() if ";" in text) / sum(real.values())
    wanted = of_real if cross_share is None else cross_share
    if any(";" in text for text in pool):  # otherwise there is nothing to divide
        crosses = sum(p for text, p in drawn.items() if ";" in text)
        assert crosses == pytest.approx(wanted)
    singles = [text for text in pool if ";" not in text and text in real]
    for one in singles:
        for other in singles:
            ratio = (real[one] / real[other]) ** exponent
            assert drawn[one] == pytest.approx(ratio * drawn[other])


def test_images_of_one_combination_are_drawn_alike() -> None:
    config = SyntheticShare(
        share=0.5, class_exponent=0.5, cross_share=None, label_filter_weight=0.0
    )
    weights = synthetic_weights(table(REAL), table(POOL), config)
    groups = table(POOL)["findings"]
    for text in POOL:
        of_group: Tensor = weights[torch.tensor((groups == text).tolist())]
        assert len(of_group.unique()) == 1


def test_crosses_that_nobody_made_are_refused() -> None:
    with pytest.raises(InputError, match=r"mixing.cross_share 1 needs single or cross images that"):
        chances(1.0, 1.0, REAL, {"a": 5, "b": 5})
