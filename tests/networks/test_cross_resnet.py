"""The improved residual block, H(x) = F(x) + x + x_i: without x_i until it is active, then by the
formula.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thyroid.errors import InputError
from thyroid.networks.build import build
from thyroid.networks.registry import NETWORKS
from thyroid.networks.resnet import (
    CROSS_FEATURES,
    BasicBlock,
    Bottleneck,
    CrossFeature,
    Halving,
    ResNet,
    freeze,
    train_mode,
)
from thyroid.recipe import NetworkConfig

SOURCES = CROSS_FEATURES[1:]
RESIDUAL = [name for name, entry in NETWORKS.items() if entry.residual]


def network_of(name: str, source: Any, *, gain: float = 0.0) -> ResNet:
    """A network of five classes and 8 channels, with all gains set to `gain`."""
    torch.manual_seed(0)
    network = build(NetworkConfig(name=name, width=8, cross_feature=source), classes=5)
    assert isinstance(network, ResNet)
    for parameter, values in network.named_parameters():
        if parameter.endswith(".gain"):
            nn.init.constant_(values, gain)
    return network


def pictures(n: int = 4, size: int = 64) -> Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(1))


def stepped(network: nn.Module) -> dict[str, Tensor]:
    """Do one step of gradient descent in training mode; return the state before it."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train_mode(network)
    trained = [p for p in network.parameters() if p.requires_grad]
    loss = F.cross_entropy(network(pictures()), torch.tensor([0, 1, 2, 3]))
    torch.autograd.backward(loss)
    torch.optim.SGD(trained, lr=0.1).step()
    return before


@pytest.mark.parametrize("name", RESIDUAL)
@pytest.mark.parametrize("source", SOURCES)
def test_with_gains_at_zero_the_network_is_the_plain_one(name: str, source: str) -> None:
    plain, improved = network_of(name, "none"), network_of(name, source)
    x = pictures()
    for training in (True, False):  # in training first: eval then has moved statistics
        plain.train(training)
        improved.train(training)
        with torch.no_grad():
            assert torch.equal(plain(x), improved(x))
    own, larger = plain.state_dict(), improved.state_dict()
    assert all(torch.equal(larger[entry], own[entry]) for entry in own)
    added = set(larger) - set(own)
    assert added
    assert all(".cross." in entry for entry in added)


@pytest.mark.parametrize("name", RESIDUAL)
@pytest.mark.parametrize("source", SOURCES)
def test_opened_gains_change_what_the_network_says(name: str, source: str) -> None:
    plain, improved = network_of(name, "none"), network_of(name, source, gain=0.5)
    x = pictures()
    with torch.no_grad():
        assert not torch.allclose(plain(x), improved(x), atol=1e-3)


@pytest.mark.parametrize("name", RESIDUAL)
def test_sources_differ_and_every_block_has_its_own_x_i(name: str) -> None:
    x = pictures()
    said = []
    for source in SOURCES:
        network = network_of(name, source, gain=0.5)
        blocks = [m for m in network.modules() if isinstance(m, BasicBlock | Bottleneck)]
        assert len({id(block.cross) for block in blocks}) == len(blocks)
        assert all(isinstance(block.cross, CrossFeature) for block in blocks)
        with torch.no_grad():
            said.append(network(x))
    assert not torch.allclose(said[0], said[1], atol=1e-3)
    assert not torch.allclose(said[1], said[2], atol=1e-3)
    assert not torch.allclose(said[0], said[2], atol=1e-3)


def standardised(x: Tensor) -> Tensor:
    """Normalise as batch normalisation without gain and bias does in training."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def averaged(x: Tensor, size: int) -> Tensor:
    """Mean of blocks of pixels; `size` divides the side."""
    n, c, side, _ = x.shape
    k = side // size
    return x.reshape(n, c, size, k, size, k).mean((3, 5))


def projected(x: Tensor, weight: Tensor) -> Tensor:
    """A 1x1 convolution, as a product of matrices."""
    return torch.einsum("nchw,pc->nphw", x, weight[:, :, 0, 0])


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("halving", ["no", "stride", "pool"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_block_is_the_formula(
    kind: type[BasicBlock] | type[Bottleneck], halving: Halving, source: str
) -> None:
    """H = relu(F(x) + shortcut(x) + gain * projection(BN(source)))."""
    torch.manual_seed(2)
    planes, inputs, side = 6, 6 * kind.expansion, 16
    block = kind(inputs, planes, halving)
    outputs = planes * kind.expansion
    given_x = torch.randn(4, inputs, side, side)
    stride = 2 if halving == "stride" else 1
    x = given_x
    if halving == "pool":  # the largest of each two by two pixels
        x = given_x.reshape(4, inputs, side // 2, 2, side // 2, 2).amax((3, 5))

    relu = torch.relu
    if isinstance(block, Bottleneck):
        inner = relu(standardised(F.conv2d(x, block.conv1.weight)))
        inner = relu(standardised(F.conv2d(inner, block.conv2.weight, None, stride, 1)))
        F_x = standardised(F.conv2d(inner, block.conv3.weight))
    else:
        inner = relu(standardised(F.conv2d(x, block.conv1.weight, None, stride, 1)))
        F_x = standardised(F.conv2d(inner, block.conv2.weight, None, 1, 1))
    shortcut = x
    if stride == 2:
        assert isinstance(block.downsample, nn.Sequential)
        shortcut = standardised(projected(x[:, :, ::2, ::2], block.downsample[0].weight))
    else:
        assert block.downsample is None

    channels = {"input": 1, "stem": 3, "context": outputs}[source]
    given = None if source == "context" else torch.randn(4, channels, *shortcut.shape[2:])
    origin = averaged(shortcut, 1) if given is None else given
    block.cross = CrossFeature(channels, outputs)
    gain = torch.randn(outputs)
    with torch.no_grad():
        block.cross.gain.copy_(gain)
        x_i = gain.view(1, -1, 1, 1) * projected(standardised(origin), block.cross.conv.weight)
        expected = relu(F_x + shortcut + x_i)
        assert not torch.allclose(expected, relu(F_x + shortcut), atol=0.1)
        torch.testing.assert_close(block(given_x, given), expected, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet_small"])
@pytest.mark.parametrize("source", SOURCES)
def test_every_block_sees_the_source_at_its_own_resolution(name: str, source: str) -> None:
    """The source of x_i: means over blocks of pixels of the image or of the stem's output, or the
    block's own mean.
    """
    network = network_of(name, source, gain=0.5).eval()
    seen: list[Tensor] = []
    inner: list[tuple[Tensor, Tensor]] = []
    for stage in network.stages:
        for block in getattr(network, stage):
            block.register_forward_hook(lambda _, given, out: inner.append((given[0], out)))
            block.cross.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    x = pictures()
    with torch.no_grad():
        network(x)
        stem = network.maxpool(torch.relu(network.bn1(network.conv1(x))))
        blocks = [block for stage in network.stages for block in getattr(network, stage)]
        assert len(seen) == len(inner) == len(blocks)
        for block, origin, (before, after) in zip(blocks, seen, inner, strict=True):
            if source == "context":
                before = block.pool(before)
                carried = before if block.downsample is None else block.downsample(before)
                expected = averaged(carried, 1)
            else:
                expected = averaged(x if source == "input" else stem, after.shape[-1])
            torch.testing.assert_close(origin, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("size", [33, 50, 63])
def test_sides_that_no_power_of_two_divides(source: str, size: int) -> None:
    with torch.no_grad():
        for name in ("resnet_small", "resnet50"):
            assert network_of(name, source, gain=0.5)(pictures(size=size)).isfinite().all()


@pytest.mark.parametrize("name", RESIDUAL)
@pytest.mark.parametrize("source", SOURCES)
def test_gains_open_first_and_then_every_parameter_has_a_gradient(name: str, source: str) -> None:
    def gradients(gain: float) -> dict[str, float]:
        network = network_of(name, source, gain=gain).train()
        torch.autograd.backward(F.cross_entropy(network(pictures()), torch.tensor([0, 1, 2, 3])))
        return {
            parameter: 0.0 if values.grad is None else values.grad.abs().max().item()
            for parameter, values in network.named_parameters()
        }

    assert all(size > 0 for size in gradients(0.1).values())
    closed = gradients(0.0)
    assert {p for p, size in closed.items() if not size} == {
        p for p in closed if p.endswith(".cross.conv.weight")
    }


def test_freezing_all_but_the_head_leaves_the_rest_as_it_was() -> None:
    network = network_of("resnet_small", "input", gain=0.1)
    freeze(network, "head")
    before = stepped(network)
    for entry, tensor in network.state_dict().items():
        moves = entry.startswith("fc.") or ".cross." in entry
        assert torch.equal(tensor, before[entry]) != moves, entry
    moved = network.state_dict()["layer2.0.cross.bn.running_mean"]
    assert not torch.equal(moved, before["layer2.0.cross.bn.running_mean"])


def test_freezing_all_but_the_last_stages() -> None:
    network = network_of("resnet18", "stem", gain=0.1)
    freeze(network, "last_stages")
    before = stepped(network)
    for entry, tensor in network.state_dict().items():
        moves = entry.startswith(("layer3.", "layer4.", "fc.")) or ".cross." in entry
        assert torch.equal(tensor, before[entry]) != moves, entry


def test_freezing_nothing_moves_everything() -> None:
    network = network_of("resnet_small", "context", gain=0.1)
    freeze(network, "all")
    before = stepped(network)
    assert not [e for e, t in network.state_dict().items() if torch.equal(t, before[e])]


@pytest.mark.parametrize("trainable", ["head", "last_stages"])
def test_a_network_that_is_not_residual_refuses_to_be_frozen_in_part(trainable: str) -> None:
    lenet = build(NetworkConfig(name="lenet5"), classes=3)
    freeze(lenet, "all")
    with pytest.raises(InputError, match=f"cross.trainable '{trainable}' needs a residual"):
        freeze(lenet, trainable)
    assert all(parameter.requires_grad for parameter in lenet.parameters())


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["lenet5", "vgg_small"])
def test_a_network_that_is_not_residual_refuses_x_i(name: str, source: Any) -> None:
    with pytest.raises(InputError, match=f"cross_feature {source} needs a residual network"):
        build(NetworkConfig(name=name, cross_feature=source), classes=3)
