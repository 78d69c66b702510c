"""A worker whose gradients nobody averages, against which two that work together are held."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from thyroid.stages.compute import Compute


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lonely(Compute):
    """One of two workers, whose gradients nobody averages."""

    def parallel(self, network: nn.Module) -> nn.Module:
        return network

    def mean(self, value: Tensor) -> Tensor:
        return value

    @property
    def leads(self) -> bool:
        return True
