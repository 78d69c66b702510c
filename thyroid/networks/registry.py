"""The registry of classifiers: each registers itself where it is defined."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

Constructor = TypeVar("Constructor", bound=Callable[..., nn.Module])


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One classifier: (N, 1, H, W) float32 -> logits (N, classes) from its last linear layer."""

    title: str
    constructor: Callable[..., nn.Module]
    """Takes `classes`, and `width` and `cross_feature` if its signature has them."""
    smallest: int
    """Least side of an image in pixels."""
    small: bool
    """True if two CPU cores train it in minutes."""
    published: bool
    """True if it is built as in its publication."""
    bf16: bool | None
    """True if bf16 makes its training faster on a processor with amx_bf16, as measured by
    tests/benchmarks/test_precision_table.py; None: true unless a convolution is depthwise."""

    @property
    def has_width(self) -> bool:
        """True if its number of channels can be chosen."""
        return "width" in inspect.signature(self.constructor).parameters

    @property
    def residual(self) -> bool:
        """True if it takes a cross-feature term x_i."""
        return "cross_feature" in inspect.signature(self.constructor).parameters


NETWORKS: dict[str, Entry] = {}
"""Entries by the constructor's name, which is the recipe's `network.name`."""


def classifier(
    title: str,
    *,
    smallest: int = 16,
    small: bool = True,
    published: bool = False,
    bf16: bool | None = None,
) -> Callable[[Constructor], Constructor]:
    """Register a constructor: `@classifier("My own")`, in any module of this folder."""

    def register(constructor: Constructor) -> Constructor:
        if constructor.__name__ in NETWORKS:
            raise ValueError(f"there are two networks called {constructor.__name__}")
        NETWORKS[constructor.__name__] = Entry(
            title=title,
            constructor=constructor,
            smallest=smallest,
            small=small,
            published=published,
            bf16=bf16,
        )
        return constructor

    return register
