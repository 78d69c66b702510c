"""Adaptive pooling whose gradients, unlike torch's, have the same bits in every run on a GPU.

Windows are torch's: output i of n spans floor(i size / n) to ceil((i + 1) size / n). On a CPU, and
without gradient, torch's own pooling is used.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = int | tuple[int | None, ...] | None
"""Height and width of the output; None: the input's."""


def adaptive_avg_pool2d(x: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) -> (N, C, *size), means of windows."""
    if x.is_cuda and x.requires_grad:
        return averaged(x, *_sides(x, size))
    return F.adaptive_avg_pool2d(x, size)  # type: ignore[arg-type]  # torch's own form


def adaptive_max_pool2d(x: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) -> (N, C, *size), maxima of windows."""
    if x.is_cuda and x.requires_grad:
        return maximal(x, *_sides(x, size))
    return F.adaptive_max_pool2d(x, size)  # type: ignore[arg-type]  # torch's own form


def averaged(x: Tensor, height: int, width: int) -> Tensor:
    """Means of windows as two products with matrices: columns, then rows."""
    by_row, by_column = (
        _means(inputs, outputs, x.device)
        for inputs, outputs in zip(x.shape[2:], (height, width), strict=True)
    )
    with torch.autocast(x.device.type, enabled=False):
        return (by_row @ (x.float() @ by_column.T)).to(x.dtype)


def maximal(x: Tensor, height: int, width: int) -> Tensor:
    """Maxima of windows, of rows and then of columns. Equal maxima share the gradient."""
    rows = _windows(x.shape[2], height, x.device)  # (height, longest)
    columns = _windows(x.shape[3], width, x.device)
    return x[:, :, rows].amax(3)[..., columns].amax(-1)


def make_deterministic(network: nn.Module) -> None:
    """Replace a network's adaptive pooling layers by those of this module."""
    for module in network.modules():
        if type(module) in _REPLACED:
            module.__class__ = _REPLACED[type(module)]


class _AvgPool(nn.AdaptiveAvgPool2d):
    def forward(self, x: Tensor) -> Tensor:
        return adaptive_avg_pool2d(x, self.output_size)


class _MaxPool(nn.AdaptiveMaxPool2d):
    def forward(self, x: Tensor) -> Tensor:
        return adaptive_max_pool2d(x, self.output_size)


_REPLACED: dict[type[nn.Module], type[nn.Module]] = {
    nn.AdaptiveAvgPool2d: _AvgPool,
    nn.AdaptiveMaxPool2d: _MaxPool,
}


def _sides(x: Tensor, size: Size) -> tuple[int, int]:
    asked = size if isinstance(size, tuple) else (size, size)
    height, width = (a or there for a, there in zip(asked, x.shape[2:], strict=True))
    return height, width


def _spans(inputs: int, outputs: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """First input of each window and the one after its last, (outputs,) int64."""
    i = torch.arange(outputs, device=device)
    return i * inputs // outputs, ((i + 1) * inputs + outputs - 1) // outputs


def _means(inputs: int, outputs: int, device: torch.device) -> Tensor:
    """The matrix (outputs, inputs) whose product with a column of pixels has the windows' means."""
    first, end = _spans(inputs, outputs, device)
    place = torch.arange(inputs, device=device)
    within = (place >= first[:, None]) & (place < end[:, None])
    return within / (end - first)[:, None]


def _windows(inputs: int, outputs: int, device: torch.device) -> Tensor:
    """The inputs of each window, (outputs, longest) int64; shorter ones repeat their last."""
    first, end = _spans(inputs, outputs, device)
    longest = max(-(-(i + 1) * inputs // outputs) - i * inputs // outputs for i in range(outputs))
    return torch.minimum(first[:, None] + torch.arange(longest, device=device), end[:, None] - 1)
