"""McNemar's test of two methods on the same images, and Holm's correction for several tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from thyroid.evaluate.metrics import Floats, Ints


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Numbers of images on which only one of two methods is right, and the test's p-value."""

    only_first: int
    only_second: int
    p_value: float
    """Exact and two-sided; the null hypothesis is that both are right equally often."""


def mcnemar(labels: Ints, first: Ints, second: Ints) -> McNemar:
    """Test exactly that two methods are right equally often (McNemar 1947).

    Only the n images on which one method alone is right tell them apart. Under the null hypothesis
    each is a coin toss: p = P(|X - n/2| >= |only_first - n/2|), X ~ Binomial(n, 1/2). The test
    assumes independent images, which several images of one patient are not.

    Parameters
    ----------
    labels : (N,) int
    first, second : (N,) int
        Classes that each method predicts.

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
    """Adjust the p-values of m tests for the family-wise error rate (Holm 1979).

    The k-th smallest becomes max over j <= k of (m - j + 1) p_j, at most 1. The order is kept.

    >>> holm([0.25, 0.0625, 0.125])
    [0.25, 0.1875, 0.25]
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate((_left(p) * p)[order]).clip(max=1)
    return [float(value) for value in adjusted]


def holm_levels(p_values: Sequence[float], level: float = 0.95) -> list[float]:
    """Return the confidence levels at which each test's interval decides as Holm's step-down does.

    With alpha = 1 - level: the k-th test, if rejected, is compared with alpha / (m - k + 1), and a
    test that is not rejected with the bound at which the step-down stopped. Its interval at
    1 minus that bound excludes zero exactly if the adjusted p-value is at most alpha. The order is
    kept.

    The intervals agree with the tests. Their simultaneous coverage is below `level`, which would
    take 1 - alpha / m for each.

    >>> holm_levels([0.5, 0.001, 0.75], level=0.75)
    [0.875, 0.9166666666666666, 0.875]
    """
    p, alpha = np.asarray(p_values, dtype=float), 1 - level
    rejected = np.asarray(holm(p_values)) <= alpha
    left = _left(p)
    # the step-down stops at the smallest p-value that is not rejected: it has most tests left
    left[~rejected] = left[~rejected].max(initial=1)
    return [float(value) for value in 1 - alpha / left]


def _left(p: Floats) -> Floats:
    """Count the tests that are left when the step-down comes to each, (m,).

    Equal p-values have equal counts, so that no result depends on the order.
    """
    return len(p) - np.searchsorted(np.sort(p), p).astype(float)
