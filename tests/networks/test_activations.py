"""Activations of networks of every kind, which gates rest on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from thyroid.networks.activations import activations
from thyroid.networks.build import build
from thyroid.networks.last_layer import features
from thyroid.networks.resnet import CROSS_FEATURES
from thyroid.recipe import NetworkConfig


@pytest.mark.parametrize("cross_feature", CROSS_FEATURES)
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet_small"])
def test_a_residual_network_has_as_many_of_one_image_as_of_several(
    name: str, cross_feature: str
) -> None:
    """Convolutions of x_i are never called as modules."""
    torch.manual_seed(0)
    network = build(NetworkConfig(name=name, width=4, cross_feature=cross_feature), 3).eval()
    x = torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        several, empty = activations(network, x), activations(network, torch.zeros(1, 1, 64, 64))
        last = features(network, x)
    assert several.shape[1] == empty.shape[1] > last.shape[1]
    length = last.norm(dim=1, keepdim=True)
    torch.testing.assert_close(several[:, : last.shape[1]], last / length)


def test_a_network_without_convolutions_has_its_features() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 2))
    found = activations(network, torch.rand(4, 1, 4, 4))
    assert found.shape == (4, 5)
