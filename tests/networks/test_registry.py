"""Every classifier of the registry: shapes, gradients, accepted inputs."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
import torchvision.models
from torch import nn

from thyroid.errors import InputError
from thyroid.networks import registry
from thyroid.networks.build import (
    BASELINES,
    PUBLISHED,
    build,
    parameters,
    require_fit,
    require_size,
)
from thyroid.networks.last_layer import features, width
from thyroid.networks.registry import NETWORKS, classifier
from thyroid.networks.resnet import ResNet
from thyroid.recipe import NetworkConfig


@cache
def network_of(name: str) -> nn.Module:
    """One network of each kind for all tests, because VGG-16 alone takes half a gigabyte. Tests
    must not change it.
    """
    torch.manual_seed(0)
    return build(NetworkConfig(name=name, width=8 if NETWORKS[name].has_width else None), classes=5)


SIZES = {(name, entry.smallest) for name, entry in NETWORKS.items()}
SIZES |= {(name, 64) for name in NETWORKS if name != "vgg16"}  # gradients of half a gigabyte


@pytest.mark.parametrize(("name", "size"), sorted(SIZES))
def test_every_network_gives_finite_logits_and_gradients(name: str, size: int) -> None:
    """It is tested at its minimum side and at the usual side."""
    require_size(NetworkConfig(name=name), size)
    network = network_of(name).train()
    network.zero_grad()
    torch.manual_seed(1)
    logits = network(torch.rand(2, 1, size, size))
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    for parameter, values in network.named_parameters():
        assert values.grad is not None, parameter
        assert values.grad.isfinite().all(), parameter
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_what_the_last_linear_layer_makes_logits_of(name: str) -> None:
    network = network_of(name).eval()
    x = torch.rand(2, 1, NETWORKS[name].smallest, NETWORKS[name].smallest)
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.inference_mode():
        seen = features(network, x)
        assert seen.shape == (2, width(network, classes=5))
        torch.testing.assert_close(linear(seen), network(x))
    assert not linear._forward_pre_hooks


def test_a_network_without_a_linear_layer_has_its_logits_for_features() -> None:
    network = nn.Sequential(nn.Conv2d(1, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(features(network, x), network(x))
    assert width(network, classes=5) == 5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_smaller_picture_is_refused(name: str) -> None:
    config, smallest = NetworkConfig(name=name), NETWORKS[name].smallest
    sentence = f"input.size {smallest - 1} is too small for {name}: it takes {smallest} pixels"
    with pytest.raises(InputError, match=sentence):
        require_size(config, smallest - 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_deterministic_when_it_predicts(name: str) -> None:
    network = network_of(name).eval()
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        first, again, alone = network(x), network(x), network(x[:1])
    assert torch.equal(first, again)
    torch.testing.assert_close(alone, first[:1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_the_registry_says_of_a_network_is_so(name: str) -> None:
    entry, network = NETWORKS[name], network_of(name)
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert [module.out_features for module in linear].count(5) == 1
    assert linear[-1].out_features == 5
    config = NetworkConfig(name=name, width=8 if entry.has_width else None)
    assert parameters(config, 5) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_seed_gives_the_same_network(name: str) -> None:
    config = NetworkConfig(name=name, width=8 if NETWORKS[name].has_width else None)
    torch.manual_seed(0)
    again = dict(build(config, classes=5).named_parameters())
    assert all(torch.equal(again[n], p) for n, p in network_of(name).named_parameters())


OWN = '''
"""A network of one's own: this file is all there is of it."""

from torch import nn

from thyroid.networks.registry import classifier


@classifier("Mean and one layer")
def network_of_a_test(classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, classes))
'''


def test_a_network_of_ones_own_takes_one_file(tmp_path: Path) -> None:
    (tmp_path / "network_of_a_test.py").write_text(OWN)
    code = f"""
import thyroid.networks
thyroid.networks.__path__.append({str(tmp_path)!r})
from tests.toy import toy_recipe
from thyroid.runs.compared_recipes import baseline_rows, named_models
name = "network_of_a_test"
names, small, published = (named_models(a).names for a in (name, "small", "published"))
print(names, name in small, published)
row, = baseline_rows(toy_recipe(), ["network_of_a_test"])
from thyroid.networks.build import parameters
print(row.title, parameters(row.recipe.network, 7))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = said.stdout.splitlines()
    assert first.startswith("('network_of_a_test',) True (")
    assert "network_of_a_test" not in first.removeprefix("('network_of_a_test',)")
    assert second == f"Mean and one layer {17 * 7}"


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (
            "nn.Linear(16, 3)",
            "must return a tensor of shape (images, 7 classes), but for 2 images it returned",
        ),
        ("nn.Linear(24, classes)", "cannot take images of 32 pixels: mat1 and mat2 shapes"),
    ],
)
def test_a_network_of_ones_own_with_a_mistake_is_a_sentence(
    layer: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a network is refused before any stage that it needs is trained."""
    source = OWN.replace("nn.Linear(16, classes)", layer).replace("network_of_a_test", "mistaken")
    monkeypatch.setattr(registry, "NETWORKS", dict(registry.NETWORKS))
    exec(compile(source, "mistaken.py", "exec"), {"__name__": "mistaken"})
    network = registry.NETWORKS["mistaken"].constructor(7)
    with pytest.raises(InputError) as told:
        require_fit(network, NetworkConfig(name="mistaken"), 32, 7)
    assert sentence in str(told.value)


OWN_RESIDUAL = """
from thyroid.networks.resnet import BasicBlock, ResNet
from thyroid.networks.registry import classifier


@classifier("Residual, of one's own")
def network_of_a_test(classes: int, cross_feature: str = "none") -> ResNet:
    return ResNet(BasicBlock, (1, 1, 1, 1), classes, 4, cross_feature=cross_feature)
"""


def test_x_i_is_searched_for_in_a_residual_network_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "network_of_a_test.py").write_text(OWN_RESIDUAL)
    code = f"""
import thyroid.networks
thyroid.networks.__path__.append({str(tmp_path)!r})
from tests.test_tune_spaces import proposals
from tests.toy import toy_recipe
recipe = toy_recipe(network__name="network_of_a_test", network__width=None)
found = proposals("cross_training", recipe)
print(sorted({{recipe.network.cross_feature for recipe in found}}))
print(sorted({{recipe.cross.trainable for recipe in found}}))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == [
        "['context', 'input', 'none', 'stem']",
        "['all', 'head', 'last_stages']",
    ]


def test_two_networks_of_one_name_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two networks called resnet18"):

        @classifier("Another")
        def resnet18(classes: int) -> nn.Module:
            return nn.Linear(1, classes)


SMALL = [name for name in BASELINES if name != "lenet5"]


@pytest.mark.parametrize("name", SMALL)
def test_a_small_network_has_the_budget_of_the_methods(name: str) -> None:
    """Numbers of parameters differ from the small ResNet's with x_i by at most a quarter, so that
    size decides no comparison.
    """
    method = parameters(NetworkConfig(name="resnet_small", cross_feature="input"), 7)
    assert parameters(NetworkConfig(name=name), 7) == pytest.approx(method, rel=0.25)


def test_only_lenet_stays_as_it_was_published_among_the_small_ones() -> None:
    assert set(BASELINES) & set(PUBLISHED) == {"lenet5"}


@pytest.mark.parametrize("name", SMALL)
def test_a_nodule_of_three_pixels_is_seen_wherever_it_lies(name: str) -> None:
    """The first convolution at most halves the image, and its kernels skip no pixel."""
    torch.manual_seed(0)
    network = build(NetworkConfig(name=name), classes=5)
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    assert max(first.stride) <= 2 <= min(first.kernel_size)
    assert max(first.kernel_size) <= 5
    pictures = torch.zeros(16, 1, 64, 64)
    for i, picture in enumerate(pictures):
        top, left = 24 + i // 4, 24 + i % 4
        picture[0, top : top + 3, left : left + 3] = 1
    with torch.no_grad():
        seen = first(pictures) - first(torch.zeros(1, 1, 64, 64))
    energy = seen.square().sum((1, 2, 3))
    assert energy.min() > 0.5 * energy.max()


@pytest.mark.parametrize(
    "name", ["alexnet", "googlenet", "densenet121", "efficientnet_b0", "convnext_tiny"]
)
def test_it_starts_as_torchvisions_does_with_grey_in_three_channels(name: str) -> None:
    sides = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    torch.manual_seed(0)
    reference = getattr(torchvision.models, name)(num_classes=5, **sides).eval()
    torch.manual_seed(0)
    ours = build(NetworkConfig(name=name), classes=5).eval()
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        expected = reference(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-4)


def test_what_is_small_is_seen_by_the_small_resnets_head() -> None:
    """The head gets each feature's mean and its maximum, which a single nodule changes."""
    torch.manual_seed(0)
    network = build(NetworkConfig(name="resnet_small"), classes=5).eval()
    assert isinstance(network, ResNet)
    last: list[torch.Tensor] = []
    network.layer4[-1].register_forward_hook(lambda _, __, out: last.append(out))
    with torch.no_grad():
        seen = network.features(torch.rand(3, 1, 64, 64))
    (maps,) = last
    assert maps.shape == (3, 256, 4, 4)
    assert torch.equal(seen[:, :256], maps.mean((2, 3)))
    assert torch.equal(seen[:, 256:], maps.flatten(2).max(2).values)


@pytest.mark.parametrize("name", [n for n in PUBLISHED if n != "lenet5"])
def test_published_networks_have_as_many_parameters_as_torchvisions(name: str) -> None:
    sides = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        reference = getattr(torchvision.models, name)(num_classes=1000, **sides)
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
        (NetworkConfig(name="resnet19"), "choose one of alexnet, vgg16"),
        (NetworkConfig(name="vgg16", width=8), "network.width has no meaning for vgg16"),
        (NetworkConfig(name="lenet5", cross_feature="input"), "needs a residual network"),
    ],
)
def test_what_a_network_does_not_take_is_a_sentence(config: NetworkConfig, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        build(config, classes=3)
