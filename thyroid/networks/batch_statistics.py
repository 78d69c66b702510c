"""Batch normalisation with the statistics of all workers' images: several workers train as one.

torch.nn.SyncBatchNorm does the same, but refuses CPUs. This module is tested on CPUs, with gloo,
and is the same code on GPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from thyroid.errors import InputError

AFTER = ("drop", "act")
"""Further layers within timm's normalisation layers, in this order."""


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(every, own)
        return torch.cat(every)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def gather(own: Tensor) -> Tensor:
    """Concatenate the workers' tensors in the order of their ranks, (n, ...) -> (workers * n, ...).

    All workers call it, with the same shape. The gradient of a part is the sum over the workers.
    """
    gathered: Tensor = _Gather.apply(own.contiguous())
    return gathered


class SharedStatistics(_BatchNorm):
    """Batch normalisation whose mean and variance are those of all workers' images.

    Each worker has the same number of images. With the workers' means m_r and variances v_r, the
    mean and variance of the batch are E[m_r] and E[v_r] + Var[m_r].
    """

    gather: Callable[[Tensor], Tensor]
    """The function `gather`, which compiled graphs leave out."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape and dtype; N images of each worker."""
        if not self.training:
            return super().forward(x)
        own = x.float()
        variance, mean = torch.var_mean(own, [0, *range(2, x.ndim)], correction=0)  # (C,)
        own_moments = torch.stack([mean, variance])[None]  # (1, 2, C)
        means, variances = self.gather(own_moments).unbind(1)  # (workers, C)
        mean = means.mean(0)
        variance = variances.mean(0) + means.var(0, correction=0)
        self._remember(mean.detach(), variance.detach(), len(means) * x[:, 0].numel())
        weight, bias = (self.weight, self.bias) if self.affine else (1.0, 0.0)
        scale = weight * torch.rsqrt(variance + self.eps)
        shift = bias - mean * scale
        each = (1, -1, *(1 for _ in x.shape[2:]))
        y: Tensor = torch.addcmul(shift.view(each), own, scale.view(each))
        y = y.to(x.dtype)
        for name in AFTER:
            if hasattr(self, name):
                y = getattr(self, name)(y)
        return y

    def _remember(self, mean: Tensor, variance: Tensor, n: int) -> None:
        """Update the running statistics with those of n numbers per channel."""
        if not self.track_running_stats:
            return
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        weight = self.momentum
        if weight is None:  # running statistics are the mean of all batches
            weight = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance * n / (n - 1), weight)


def share_statistics(network: nn.Module) -> None:
    """Let all batch normalisation of a network compute its statistics with the other workers.

    Parameters, their names and the results of evaluation stay as they are.

    Raises
    ------
    InputError
        When a layer computes batch statistics in its own way.
    """
    # Disabled here and not by a decorator: this imports the compiler, which takes a second
    outside = staticmethod(torch.compiler.disable(gather))  # type: ignore[no-untyped-call]
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, SharedStatistics):
            kind = type(module)
            if kind.forward is not _BatchNorm.forward and not hasattr(module, AFTER[-1]):
                raise InputError(
                    f"The network's {kind.__name__} computes batch statistics in its own way, "
                    "which several workers cannot share: set execution.workers to 1."
                )
            module.__class__ = type(
                f"Shared{kind.__name__}", (SharedStatistics, kind), {"gather": outside}
            )
