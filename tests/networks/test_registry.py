"""Every classifier of the table: shapes, gradients, what it takes."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torchvision.models
from torch import nn

from thyroid.errors import InputError
from thyroid.networks.registry import (
    BASELINES,
    NETWORKS,
    PUBLISHED,
    build,
    parameters,
    require_size,
)
from thyroid.recipe import NetworkConfig


@cache
def network_of(name: str) -> nn.Module:
    """One of each: VGG-16 alone takes half a gigabyte. Tests leave it as it was."""
    torch.manual_seed(0)
    return build(NetworkConfig(name=name, width=8 if NETWORKS[name].has_width else None), classes=5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [32, 64])
def test_every_network_gives_finite_logits_and_gradients(name: str, size: int) -> None:
    if size < NETWORKS[name].smallest:
        with pytest.raises(InputError, match=f"input.size {size} is too small for {name}"):
            require_size(NetworkConfig(name=name), size)
        return
    network = network_of(name).train()
    network.zero_grad()
    torch.manual_seed(1)
    logits = network(torch.rand(4, 1, size, size))
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    for parameter, values in network.named_parameters():
        assert values.grad is not None, parameter
        assert values.grad.isfinite().all(), parameter
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_deterministic_when_it_predicts(name: str) -> None:
    network = network_of(name).eval()
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        first, again, alone = network(x), network(x), network(x[:1])
    assert torch.equal(first, again)
    torch.testing.assert_close(alone, first[:1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_the_table_says_of_a_network_is_so(name: str) -> None:
    entry, network = NETWORKS[name], network_of(name)
    head = network.get_submodule(entry.head)
    assert isinstance(head, nn.Linear)
    assert head.out_features == 5
    config = NetworkConfig(name=name, width=8 if entry.has_width else None)
    assert parameters(config, 5) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_seed_gives_the_same_network(name: str) -> None:
    built = []
    for _ in range(2):
        torch.manual_seed(3)
        built.append(build(NetworkConfig(name=name), classes=5).state_dict())
    assert all(torch.equal(built[0][n], built[1][n]) for n in built[0])


@pytest.mark.parametrize("name", BASELINES)
def test_a_small_network_is_small_but_sees_small_things(name: str) -> None:
    assert 0.02e6 < parameters(NetworkConfig(name=name), 7) < 1e6
    if name == "lenet5":
        return  # as published
    torch.manual_seed(0)
    network = build(NetworkConfig(name=name), classes=7).eval()
    x = torch.rand(1, 1, 64, 64)
    y = x.clone()
    y[0, 0, 30:33, 30:33] = 0  # a nodule of three pixels
    with torch.no_grad():
        assert not torch.equal(network(x), network(y))


@pytest.mark.parametrize("name", [n for n in PUBLISHED if n not in ("lenet5", "googlenet")])
def test_published_networks_have_as_many_parameters_as_torchvisions(name: str) -> None:
    with torch.device("meta"):
        reference = getattr(torchvision.models, name)(num_classes=1000)
    first = next(m for m in reference.modules() if isinstance(m, nn.Conv2d))
    colours = 2 * first.weight[:, 0].numel()
    expected = sum(p.numel() for p in reference.parameters()) - colours
    assert parameters(NetworkConfig(name=name), 1000) == expected


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_a_resnet_equals_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    reference = getattr(torchvision.models, name)(num_classes=7)
    reference.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    ours = build(NetworkConfig(name=name), classes=7)
    ours.load_state_dict(reference.state_dict())
    x = torch.rand(2, 1, 64, 64)
    for network in (ours, reference):
        network.eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(x), reference(x), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (NetworkConfig(name="resnet19"), "choose one of lenet5, alexnet_small"),
        (NetworkConfig(name="vgg16", width=8), "network.width is not for vgg16"),
        (NetworkConfig(name="lenet5", cross_feature="input"), "is for residual networks"),
    ],
)
def test_what_a_network_does_not_take_is_a_sentence(config: NetworkConfig, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        build(config, classes=3)
