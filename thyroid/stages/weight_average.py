"""The moving average of a network's weights: it is used to predict, while the weights train on.

Averaging smooths the noise of single steps (Polyak & Juditsky 1992).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of a network, W <- d W + (1 - d) w, after each step t.

    The memory is short at first, d = min(decay, (1 + t) / (10 + t)), so that random initial weights
    are forgotten. t counts from the beginning of the run: a run in segments is the whole run.

    Statistics of batch normalisation are averaged like the weights. Estimating them anew, on an
    epoch of training batches, was better by 0.016 and 0.006 of macro-F1 while the learning rate is
    constant, and no better at the end (0.881 both); copies of the training network's statistics
    were worse (0.869). At the end of the constant part, macro-F1 was 0.47 without an average and
    0.84 with it (docs/results/measurements.md).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Update the average with the network's weights after step t, which counts from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        average, current = _tensors(self.network), _tensors(network)
        torch._foreach_lerp_(floats(average), floats(current), 1 - decay)
        mine, theirs = (
            [t for t in tensors if not t.is_floating_point()] for tensors in (average, current)
        )
        if mine:  # the number of batches seen
            torch._foreach_copy_(mine, theirs)

    @torch.no_grad()
    def settle(self, network: nn.Module) -> None:
        """Give the network's frozen modules their averages, which will not change any more.

        The modules that still train then learn from the features that they will be used with.
        """
        for average, module in zip(self.network.modules(), network.modules(), strict=True):
            own = list(module.parameters(recurse=False))
            if own and not any(parameter.requires_grad for parameter in own):
                for mine, theirs in zip(_own(average), _own(module), strict=True):
                    theirs.copy_(mine)


def floats(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return the tensors that can be averaged."""
    return [tensor for tensor in tensors if tensor.is_floating_point()]


def _tensors(network: nn.Module) -> list[Tensor]:
    return [t.detach() for t in chain(network.parameters(), network.buffers())]


def _own(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]
