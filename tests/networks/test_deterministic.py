"""Operations whose gradients are deterministic on GPUs have the values and gradients of torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thyroid.augment import Resampled, draw
from thyroid.networks.deterministic import averaged, make_deterministic, maximal
from thyroid.recipe import AugmentationConfig

SIZES = [((8, 6), (4, 3)), ((7, 9), (4, 5)), ((5, 5), (1, 1)), ((2, 3), (5, 4)), ((6, 6), (6, 6))]


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
@pytest.mark.parametrize(
    ("own", "of_torch"), [(averaged, F.adaptive_avg_pool2d), (maximal, F.adaptive_max_pool2d)]
)
def test_pooling_is_torch_s(own, of_torch, inputs: tuple[int, int], outputs: tuple[int, int]):
    x = torch.randn(2, 3, *inputs, generator=torch.Generator().manual_seed(0))
    one, two = (x.clone().requires_grad_() for _ in range(2))
    a, b = own(one, *outputs), of_torch(two, outputs)
    torch.testing.assert_close(a, b)
    weights = torch.randn(b.shape, generator=torch.Generator().manual_seed(1))
    for y in (a, b):
        torch.autograd.backward((y * weights).sum())
    torch.testing.assert_close(one.grad, two.grad)


def test_adaptive_layers_are_replaced_and_compute_the_same() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d((None, 4)), nn.AdaptiveMaxPool2d(3), nn.ReLU())
    x = torch.randn(2, 3, 9, 9)
    before = network(x)
    kinds = [type(module) for module in network]
    make_deterministic(network)
    assert [type(module) is kind for module, kind in zip(network, kinds, strict=True)] == [
        *(False, False, True)
    ]
    assert torch.equal(network(x), before)


def test_resampling_has_the_gradient_of_grid_sample() -> None:
    """Also at and beyond the border, for maps that turn, mirror, shift and stretch."""
    strong = AugmentationConfig(rotation_deg=180, shift=0.4, zoom=1.0, anisotropy=0.5, mirror=0.5)
    affine = draw(24, strong, torch.Generator().manual_seed(0)).affine
    images = torch.randn(24, 2, 9, 12, generator=torch.Generator().manual_seed(1))
    grid = F.affine_grid(affine, [24, 2, 9, 12], align_corners=False)
    one, two = (images.clone().requires_grad_() for _ in range(2))
    a, b = Resampled.apply(one, grid), F.grid_sample(two, grid, align_corners=False)
    assert torch.equal(a, b)
    weights = torch.randn(b.shape, generator=torch.Generator().manual_seed(2))
    for y in (a, b):
        torch.autograd.backward((y * weights).sum())
    assert one.grad.abs().max() > 1
    torch.testing.assert_close(one.grad, two.grad, atol=1e-5, rtol=1e-5)
