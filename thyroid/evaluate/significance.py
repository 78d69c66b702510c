"""Tests of two methods on the same images, and Holm's correction for several such tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from thyroid.evaluate.metrics import Floats, Ints


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """On how many images one of two methods alone is right."""

    only_first: int
    only_second: int
    p_value: float
    """Exact, two-sided, of both being right equally often."""


def mcnemar(labels: Ints, first: Ints, second: Ints) -> McNemar:
    """Exact test of whether two methods are right equally often (McNemar 1947).

    Only images on which one alone is right tell them apart. Where there is no difference, each of
    these n is a toss of a coin: p = P(|X - n/2| >= |only_first - n/2|), X ~ Binomial(n, 1/2).
    It takes images for independent, which several of one patient are not.

    Parameters
    ----------
    labels : (N,) int
    first, second : (N,) int
        Classes that each method names.

    >>> mcnemar(np.zeros(6, int), np.array([0, 0, 0, 0, 0, 1]), np.array([1, 1, 1, 1, 0, 0]))
    McNemar(only_first=4, only_second=1, p_value=0.375)
    """
    first_right, second_right = first == labels, second == labels
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    n = only_first + only_second
    p_value = float(binomtest(only_first, n, 0.5).pvalue) if n else 1.0
    return McNemar(only_first=only_first, only_second=only_second, p_value=p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of m tests, adjusted so that any false finding among them is as rare as each says.

    The k-th smallest becomes max over j <= k of (m - j + 1) p_j, at most 1 (Holm 1979). In the
    order given.

    >>> holm([0.25, 0.0625, 0.125])
    [0.25, 0.1875, 0.25]
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate((_left(p) * p)[order]).clip(max=1)
    return [float(value) for value in adjusted]


def holm_levels(p_values: Sequence[float], level: float = 0.95) -> list[float]:
    """Confidence level at which each test's own interval decides as Holm's step-down does.

    With alpha = 1 - level: a test that is k-th and rejected was held against alpha / (m - k + 1),
    one that is not against what the step-down stopped at. An interval of one less that leaves out
    zero where the adjusted p-value is at most alpha, and only there. In the order given.

    The intervals so agree with the tests; that all of them hold their truth at once is not as
    sure as `level`, which would take 1 - alpha / m for each.

    >>> holm_levels([0.5, 0.001, 0.75], level=0.75)
    [0.875, 0.9166666666666666, 0.875]
    """
    p, alpha = np.asarray(p_values, dtype=float), 1 - level
    rejected = np.asarray(holm(p_values)) <= alpha
    left = _left(p)
    # the step-down stops at the smallest of those not rejected, which has the most tests left
    left[~rejected] = left[~rejected].max(initial=1)
    return [float(value) for value in 1 - alpha / left]


def _left(p: Floats) -> Floats:
    """(m,) how many tests are left when the step-down comes to each: those not below it.

    Equal p-values have equal numbers, so that no result depends on the order given.
    """
    return len(p) - np.searchsorted(np.sort(p), p).astype(float)
